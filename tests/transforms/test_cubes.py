"""Cubes in a local folder and in an object store (fsspec's in-memory one)."""

import pytest

from transforms import cubes, store
from transforms.cubes import ArraySpec

SPEC = ArraySpec((40, 60), (10, 10), (20, 20), "int16", -5, ("y", "x"), {"unit": "d"})
SHIFT = ArraySpec((4,), (2,), None, "float32", float("nan"), ("chip",), {})


@pytest.fixture(params=["local", "memory"])
def root(request, tmp_path):
    return str(tmp_path) if request.param == "local" else f"memory://{tmp_path.name}"


def test_creating_again_keeps_what_is_there(root):
    url = store.join(root, "a.zarr")
    cubes.create_cube(url, {"shift": SHIFT}, {"grid": (1, 2)})
    # As after a kill between two arrays: the second one is added, the first one is kept.
    cubes.open_group(url, "r+")["shift"][:2] = 7
    cubes.create_cube(url, {"shift": SHIFT, "age": SPEC}, {"grid": [1, 2]})
    group = cubes.open_group(url, "r")
    assert group["shift"][:2].tolist() == [7, 7]
    assert group["age"].attrs.asdict() == {"unit": "d"}


def test_another_cube_in_the_same_place_is_an_error_that_shows_both(root):
    url = store.join(root, "a.zarr")
    cubes.create_cube(url, {"age": SPEC}, {"grid": [1, 2], "date": "2024-06-15"})
    with pytest.raises(ValueError, match=r"grid = \[1, 2\], expected \[1, 3\]"):
        cubes.create_cube(url, {"age": SPEC}, {"grid": [1, 3], "date": "2024-06-15"})
    with pytest.raises(ValueError, match="date = 2024-06-15, expected None"):
        cubes.create_cube(url, {"age": SPEC}, {"grid": [1, 2]})
    with pytest.raises(ValueError, match=r"\(40, 60\).*\(60, 60\)"):
        spec = SPEC._replace(shape=(60, 60))
        cubes.create_cube(url, {"age": spec}, {"grid": [1, 2], "date": "2024-06-15"})


def test_a_group_that_is_not_there(root):
    with pytest.raises(FileNotFoundError):
        cubes.open_group(store.join(root, "none.zarr"), "r")
