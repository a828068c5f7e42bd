"""What can be checked of the images without building them."""

import ast
import json
import re
import shlex
import subprocess
import sys
from importlib.metadata import requires
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from deploy import size_budget
from deploy.size_budget import BUDGET, FOLDER, REQUIREMENTS, estimate, measured, pins
from pipeline.cli import build_parser

ROOT = FOLDER.parent
SECRET = re.compile(r"(?i)(secret|passw|token|api_?key|private_key|credential)")


def instructions() -> list[tuple[str, str]]:
    """(INSTRUCTION, rest) of the Dockerfile, continuation lines joined, comments left out."""
    lines = (FOLDER / "Dockerfile").read_text().splitlines()
    text = "\n".join(line for line in lines if not line.lstrip().startswith("#"))
    joined = text.replace("\\\n", " ").splitlines()
    return [tuple(line.split(maxsplit=1)) for line in joined if line.strip()]


def stages() -> dict[str, tuple[str, list[tuple[str, str]]]]:
    """Stage -> (what it starts from, its instructions)."""
    found = {}
    for name, rest in instructions():
        if name == "FROM":
            base, as_, stage = rest.split()
            assert as_ == "AS"
            found[stage] = (base, [])
        else:
            found[stage][1].append((name, rest))
    return found


def lineage(stage: str) -> list[tuple[str, str]]:
    """All instructions that make a stage, from its outermost base on."""
    known = stages()
    base, own = known[stage]
    return (lineage(base) if base in known else []) + own


def lock() -> dict[str, str]:
    return pins(ROOT / "requirements.lock")


def setup_arguments() -> dict[str, ast.expr]:
    tree = ast.parse((ROOT / "setup.py").read_text())
    call = next(n for n in ast.walk(tree) if isinstance(n, ast.Call) and n.keywords)
    return {k.arg: k.value for k in call.keywords}


def runtime_closure() -> set[str]:
    """Every package that setup.py needs on a worker, and what those need."""
    arguments = setup_arguments()
    wanted = ast.literal_eval(arguments["install_requires"])
    wanted += ast.literal_eval(arguments["extras_require"])["gcp"]
    todo, seen = [Requirement(text) for text in wanted], set()
    while todo:
        requirement = todo.pop()
        key = (canonicalize_name(requirement.name), frozenset(requirement.extras))
        if key in seen:
            continue
        seen.add(key)
        for text in requires(requirement.name) or []:
            needed = Requirement(text)
            extras = requirement.extras or {""}
            if not needed.marker or any(needed.marker.evaluate({"extra": e}) for e in extras):
                todo.append(needed)
    return {name for name, _ in seen}


def test_every_runtime_requirement_is_pinned_at_the_version_of_the_lock():
    worker, torch = pins(FOLDER / "requirements-worker.txt"), {"torch"}
    missing = runtime_closure() - set(worker) - torch
    assert not missing, f"deploy/requirements-worker.txt says how to make it again: {missing}"
    assert {name: lock().get(name) for name in worker} == worker
    for kind in ("cpu", "cuda"):
        version = pins(FOLDER / f"requirements-torch-{kind}.txt")["torch"]
        assert version.split("+")[0] == lock()["torch"]


def test_images_hold_nothing_but_runtime_requirements():
    worker = set(pins(FOLDER / "requirements-worker.txt"))
    assert worker <= runtime_closure()
    assert not worker & {"pytest", "ruff", "hypothesis", "jsonschema", "python-hcl2"}
    cuda = set(pins(FOLDER / "requirements-torch-cuda.txt"))
    assert not cuda & worker
    assert all(n.startswith(("nvidia-", "cuda-")) for n in cuda - {"torch", "triton"})


def test_bases_are_pinned_and_fit_beam_and_python():
    bases = [base for base, _ in stages().values() if base not in stages()]
    assert len(bases) == 3
    for base in bases:
        assert "$" not in base
        tag = base.rsplit(":", 1)[1]
        assert re.search(r"\d", tag) and tag != "latest"
    assert stages()["beam"][0] == f"apache/beam_python3.11_sdk:{lock()['apache-beam']}"
    assert stages()["system"][0].startswith("python:3.11.")
    assert "python311-" in stages()["template-launcher"][0]


@pytest.mark.parametrize("stage", ["cpu", "gpu", "launcher"])
def test_images_run_as_a_user_without_rights(stage):
    users = [rest for name, rest in lineage(stage) if name == "USER"]
    assert users[-1] == "worker"
    made = [rest for name, rest in lineage(stage) if name == "RUN" and "useradd" in rest]
    assert "--uid 10001" in made[0]


def test_workers_start_with_beams_entrypoint_and_the_launcher_with_its_own():
    for stage, binary in {
        "cpu": "/opt/apache/beam/boot",
        "gpu": "/opt/apache/beam/boot",
        "launcher": "/opt/google/dataflow/python_template_launcher",
    }.items():
        *_, entrypoint = [rest for name, rest in lineage(stage) if name == "ENTRYPOINT"]
        assert json.loads(entrypoint) == [binary]
        copied = [rest.split()[-1] for name, rest in lineage(stage) if name == "COPY"]
        assert any(binary == path or binary.startswith(f"{path}/") for path in copied)


def test_nothing_is_added_from_the_web_and_no_secret_is_baked_in():
    for name, rest in instructions():
        assert name != "ADD"
        assert not re.search(r"\b(curl|wget)\b|https?://", rest)
        assert name != "ARG" or not SECRET.search(rest)
        assert name != "ENV" or not SECRET.search(rest)
    copied = [p for name, rest in instructions() if name == "COPY" for p in rest.split()[:-1]]
    assert "." not in copied and ".git" not in copied


def test_what_changes_least_comes_first():
    for stage in ("cpu", "gpu"):
        installs = [
            rest for name, rest in lineage(stage) if name == "RUN" and "install --no-deps" in rest
        ]
        order = ["requirements-torch", "requirements-worker", "*.whl"]
        assert len(installs) == 3
        assert all(what in rest for what, rest in zip(order, installs, strict=True))


def test_copied_files_exist_and_are_sent_to_the_builder():
    lines = (FOLDER / "Dockerfile.dockerignore").read_text().splitlines()
    kept = [line for line in lines if not line.startswith("#")]
    assert kept[0] == "*"
    allowed = {line[1:] for line in kept if line.startswith("!")}
    for name, rest in instructions():
        if name == "COPY" and not rest.startswith("--from"):
            for source in rest.split()[:-1]:
                assert (ROOT / source).exists(), source
                assert any(source == a or source.startswith(f"{a}/") for a in allowed), source


def test_the_wheel_is_made_from_every_package_and_file_that_setup_names():
    copied = {
        path
        for name, rest in stages()["package"][1]
        if name == "COPY"
        for path in rest.split()[:-1]
    }
    packages = ast.literal_eval(setup_arguments()["packages"])
    needed = {name.split(".")[0] for name in packages} | {"data/regions"}
    needed |= set(ast.literal_eval(setup_arguments()["license_files"])) | {"README.md", "setup.py"}
    assert needed <= copied


def test_the_file_that_the_launcher_starts_is_in_its_image():
    own = stages()["launcher"][1]
    (path,) = re.findall(r"FLEX_TEMPLATE_PYTHON_PY_FILE=(\S+)", " ".join(r for _, r in own))
    assert ("COPY", f"deploy/launch_template.py {path}") in own


def test_the_launcher_starts_our_module_and_says_what_it_lacks():
    done = subprocess.run(
        [sys.executable, FOLDER / "launch_template.py", "--job=nothing"],
        capture_output=True,
        text=True,
    )
    assert done.returncode != 0
    assert "parameter job: got 'nothing'" in done.stderr


@pytest.mark.parametrize("image", list(BUDGET))
def test_images_are_within_their_size_budget(image):
    assert estimate(image) <= BUDGET[image]


def test_the_estimate_counts_every_package(monkeypatch):
    largest = max(size_budget.wheel_sizes().values())
    assert estimate("gpu") - estimate("cpu") > largest
    sizes = size_budget.wheel_sizes()
    del sizes["rasterio", lock()["rasterio"]]
    monkeypatch.setattr(size_budget, "wheel_sizes", lambda: sizes)
    with pytest.raises(ValueError, match="rasterio==.* is not in deploy/wheel_sizes.csv"):
        estimate("cpu")


def test_the_table_of_sizes_has_no_row_too_many():
    used = {p for files in REQUIREMENTS.values() for f in files for p in pins(FOLDER / f).items()}
    assert set(size_budget.wheel_sizes()) == used


def test_a_pushed_image_is_measured_by_its_manifest(tmp_path, capsys):
    manifest = tmp_path / "gpu.json"
    manifest.write_text(json.dumps({"layers": [{"size": 3_000_000_000}, {"size": 900_000_000}]}))
    assert size_budget.main([f"--manifest=gpu={manifest}"]) == 0
    assert capsys.readouterr().out == "gpu: 3.90 GB of 4.0 GB, compressed\n"
    assert size_budget.main([f"--manifest=cpu={manifest}"]) == 1
    with pytest.raises(ValueError, match="layers"):
        measured({"manifests": []})


def test_sizes_are_read_from_a_lock():
    name = "https://example.org/x-1-cp311-cp311-{}.whl"
    wheels = [
        {"url": name.format("manylinux_2_28_x86_64"), "size": 5},
        {"url": name.format("manylinux_2_28_aarch64"), "size": 9},
        {"url": "https://example.org/x-1-cp312-cp312-manylinux_2_28_x86_64.whl", "size": 9},
    ]
    lock = {
        "package": [
            {"name": "x", "version": "1", "wheels": wheels},
            {"name": "only-sdist", "version": "2", "sdist": {"size": 3}},
            {"name": "the-project-itself", "version": "0"},
        ]
    }
    assert size_budget.table_from_lock(lock) == [("only-sdist", "2", 3), ("x", "1", 5)]


def test_a_requirement_that_is_not_pinned_is_refused(tmp_path):
    path = tmp_path / "requirements.txt"
    path.write_text("numpy>=2\n")
    with pytest.raises(ValueError, match="got 'numpy>=2', expected name==version"):
        pins(path)


BUILD = yaml.safe_load((FOLDER / "cloudbuild.yaml").read_text())
STEPS = {step["id"]: step for step in BUILD["steps"]}


def before(step: str) -> set[str]:
    """Every step that must have ended before this one starts."""
    waits = [s for s in STEPS[step]["waitFor"] if s != "-"]
    return set(waits).union(*(before(s) for s in waits))


def test_build_steps_make_targets_that_exist_and_wait_for_steps_that_exist():
    built = {}
    for name, step in STEPS.items():
        assert set(step["waitFor"]) <= set(STEPS) | {"-"}
        flags = [a[2:] for a in step["args"] if a.startswith("--") and "=" in a]
        options = dict(flag.split("=", 1) for flag in flags)
        if step["args"][0] == "build":
            assert (ROOT / options["file"]).is_file()
            assert options["tag"] == f"${{_REPOSITORY}}/{options['target']}:${{_VERSION}}"
            built[name] = options["target"]
    assert set(built.values()) == {"cpu", "gpu", "launcher"} <= set(stages())


def test_nothing_is_published_before_it_was_tried_and_weighed():
    for image in ("cpu", "gpu", "launcher"):
        assert STEPS[f"push-{image}"]["args"] == ["push", f"${{_REPOSITORY}}/{image}:${{_VERSION}}"]
        assert {image, "try-cpu"} <= before(f"push-{image}")
    assert before("templates") == set(STEPS) - {"templates"}


def test_the_trial_of_the_image_is_a_command_that_exists(capsys):
    step = STEPS["try-cpu"]
    assert "--entrypoint=cloudlulc" in step["args"]
    command = step["args"][step["args"].index("${_REPOSITORY}/cpu:${_VERSION}") + 1 :]
    args = build_parser().parse_args(command)
    assert args.command == "run" and args.source.startswith("synthetic")


def test_commands_of_the_build_name_files_and_substitutions_that_exist():
    text = (FOLDER / "cloudbuild.yaml").read_text()
    assert set(re.findall(r"\$\{(_\w+)\}", text)) == set(BUILD["substitutions"])
    script = STEPS["templates"]["args"][-1]
    (jobs,) = re.findall(r"for job in (.*); do", script)
    for job in jobs.split():
        path = re.search(r'--metadata-file="([^"]+)"', script)[1].replace("$$job", job)
        assert (ROOT / path).is_file()
    assert jobs.split() == ["ingest", "classify", "mosaic"]
    size = STEPS["size-budget"]["args"]
    assert (ROOT / size[0]).is_file()
    written = re.findall(r"> (\S+)", STEPS["manifests"]["args"][-1])
    assert [a.split("=", 2)[2] for a in size[1:]] == written


def commands_of(document: Path) -> list[list[str]]:
    """The `cloudlulc ...` command lines in the code blocks of a Markdown file."""
    blocks = re.findall(r"```sh\n(.*?)```", document.read_text(), re.DOTALL)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    commands = [line.split(" > ")[0] for line in lines if line.startswith("cloudlulc ")]
    return [shlex.split(command)[1:] for command in commands]


def test_commands_of_the_readme_are_commands_of_the_command_line():
    commands = commands_of(FOLDER / "README.md")
    assert {"submit", "schedule", "info"} <= {command[0] for command in commands}
    for command in commands:
        build_parser().parse_args(command)


def test_files_that_the_readme_names_exist():
    text = (FOLDER / "README.md").read_text()
    for path in re.findall(r"\]\((?!http|#)([^)#]+)\)", text):
        assert (FOLDER / path).exists(), path
