"""The sdist that a worker installs runs one bundle of each job, without this checkout."""

import json
import re
import subprocess
import sys
from importlib.metadata import distributions
from pathlib import Path

import pytest
from planet import micro_checkpoint

from pipeline.submit import SETUP_FILE, build_sdist

LISTS = ("worker", "torch-cpu")

ONE_BLOCK = """
import importlib, json, pkgutil, sys
from importlib.machinery import PathFinder

class OnlyWhatTheImageHas:
    foreign = frozenset(json.load(open(sys.argv[2])))

    @classmethod
    def find_spec(cls, name, path=None, target=None):
        spec = PathFinder.find_spec(name, path, target)
        if spec and spec.origin in cls.foreign:
            raise ModuleNotFoundError(f"the image has no {name}", name=name)
        return spec

sys.meta_path.insert(sys.meta_path.index(PathFinder), OnlyWhatTheImageHas)
import model, pipeline, transforms
for package in (model, pipeline, transforms):
    assert package.__file__.startswith(sys.argv[1]), package.__file__
    for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
from pipeline.cli import main
sys.exit(main(sys.argv[3:]))
"""
"""Every module is imported, then a run is made; libraries that no list names are not there."""


def foreign_files() -> list[str]:
    """Files of the libraries that are installed here and that the CPU image does not have."""
    texts = [(SETUP_FILE.parent / f"deploy/requirements-{n}.txt").read_text() for n in LISTS]
    listed = {normal(name) for text in texts for name in re.findall(r"(?m)^[\w.-]+", text)}
    return [
        str(distribution.locate_file(file))
        for distribution in distributions()
        if normal(distribution.name) not in listed
        for file in distribution.files or ()
    ]


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("worker")
    before = sorted(SETUP_FILE.parent.iterdir())
    sdist = build_sdist(SETUP_FILE, folder)
    assert sorted(SETUP_FILE.parent.iterdir()) == before, "the build left something behind"
    site = folder / "site"
    install = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation"]
    subprocess.run([*install, "--no-index", "--target", site, sdist], cwd=folder, check=True)
    return site


def test_a_worker_runs_one_bundle_of_each_job(installed, tmp_path):
    foreign = tmp_path / "foreign.json"
    foreign.write_text(json.dumps(foreign_files()))
    assert pytest.__file__ in foreign.read_text()
    weights = micro_checkpoint(tmp_path / "micro.safetensors")
    run = ["run", "--region=6.001,50.001,6.002,50.002", "--date=2024-06-15", "--threads=1"]
    run += ["--source=synthetic:seed=3", "--chip-size=96", "--halo=16", f"--checkpoint={weights}"]
    done = subprocess.run(
        [
            *(sys.executable, "-c", ONE_BLOCK, str(installed), str(foreign)),
            *(*run, f"--out={tmp_path / 'out'}"),
        ],
        cwd=tmp_path,
        env={"PYTHONPATH": str(installed), "PATH": ""},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    for line in ("ingest: 1 blocks", "classify: 1 blocks", "mosaic: 1 product tiles"):
        assert line in done.stderr
    assert list(tmp_path.glob("out/product/*/*_lulc.tif"))


def test_an_sdist_that_cannot_be_built_is_named(tmp_path):
    with pytest.raises(ValueError, match="--setup-file none"):
        build_sdist(tmp_path / "setup.py", tmp_path)
    (tmp_path / "setup.py").write_text("raise SystemExit('broken')")
    with pytest.raises(ValueError, match="builds no sdist: broken"):
        build_sdist(tmp_path / "setup.py", tmp_path)
