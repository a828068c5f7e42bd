"""What is shipped is what a worker needs."""

import ast
import subprocess
import sys
import tarfile
import venv
from pathlib import Path

ROOT = Path(__file__).parent.parent


def test_packages_are_listed_by_hand_and_complete():
    setup = ast.parse((ROOT / "setup.py").read_text())
    call = next(n for n in ast.walk(setup) if isinstance(n, ast.Call) and n.keywords)
    listed = {k.arg: k.value for k in call.keywords}["packages"]
    packages = set(ast.literal_eval(listed))
    there = {
        ".".join(p.parent.relative_to(ROOT).parts)
        for top in ("model", "transforms", "pipeline", "deploy")
        for p in (ROOT / top).rglob("__init__.py")
    }
    assert packages == there


def test_the_sdist_installs_into_an_empty_folder_and_every_module_imports(tmp_path):
    build = [sys.executable, "setup.py", "-q", "egg_info", f"--egg-base={tmp_path}"]
    build += ["sdist", f"--dist-dir={tmp_path}"]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (sdist,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.split("/", 1)[-1] for name in archive.getnames()}
    assert {"LICENSE", "NOTICE", "model/weights/tiny.safetensors"} <= names
    assert {"pipeline/prices.toml", "benchmarks/rates.json"} <= names
    names.remove("benchmarks/rates.json")  # what `cloudlulc plan` reckons with
    assert not any(name.startswith(("tests/", "benchmarks/", "data/sample/")) for name in names)

    # The environment's own libraries, but not this checkout: only the sdist can give the modules.
    venv.create(tmp_path / "env", with_pip=False)
    target = tmp_path / "site"
    install = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation"]
    install += ["--no-index", "--target", str(target), str(sdist)]
    subprocess.run(install, cwd=tmp_path, check=True, capture_output=True)
    code = (
        "import importlib, pkgutil, sys\n"
        "import model, pipeline, transforms\n"
        "count = 0\n"
        "for package in (model, transforms, pipeline):\n"
        "    assert package.__file__.startswith(sys.argv[1]), package.__file__\n"
        "    walk = pkgutil.walk_packages(package.__path__, package.__name__ + '.')\n"
        "    for module in walk:\n"
        "        if not module.name.endswith('__main__'):\n"
        "            importlib.import_module(module.name)\n"
        "            count += 1\n"
        "print(count)\n"
        "from pipeline.config import DEFAULT_CHECKPOINT\n"
        "from pipeline.region import load_region\n"
        "open(DEFAULT_CHECKPOINT, 'rb').close()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(target)],
        cwd=tmp_path,
        env={"PYTHONPATH": str(target), "PATH": ""},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.split()[0]) > 30
