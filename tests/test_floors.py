"""Imports go down only: model < transforms < pipeline < deploy, and pixels stay plain."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FLOORS = ("model", "transforms", "pipeline", "deploy")
MODULES = sorted(p for floor in FLOORS for p in (ROOT / floor).rglob("*.py"))


def imported(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


def imports_any(path: Path, *packages: str) -> set[str]:
    found = imported(path)
    return {n for n in found if any(n == p or n.startswith(p + ".") for p in packages)}


def test_there_are_modules():
    assert len(MODULES) > 30


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_go_down_only(path):
    floor = FLOORS.index(path.relative_to(ROOT).parts[0])
    assert not imports_any(path, *FLOORS[floor + 1 :], "tests", "benchmarks")


@pytest.mark.parametrize("path", sorted((ROOT / "model").rglob("*.py")), ids=lambda p: p.name)
def test_the_model_floor_knows_neither_beam_nor_the_network(path):
    assert not imports_any(path, "apache_beam", "ee", "gcsfs", "requests", "pystac_client")


@pytest.mark.parametrize(
    "path", sorted((ROOT / "transforms/pixels").rglob("*.py")), ids=lambda p: p.name
)
def test_pixels_are_plain_numpy(path):
    assert not imports_any(
        path, "apache_beam", "torch", "transforms.sources", "rasterio", "zarr", "fsspec"
    )


def test_earth_engine_is_imported_in_one_place():
    users = {str(p.relative_to(ROOT)) for p in MODULES if imports_any(p, "ee")}
    assert users <= {"transforms/sources/earthengine.py"}


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_module_names_say_what_they_hold(path):
    assert path.stem not in {"utils", "common", "helpers", "base", "core", "manager"}
