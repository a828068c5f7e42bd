"""Versions of a scheduled country: each run over what was known, and what changed since."""

from datetime import date

import numpy as np
import pytest
import rasterio
from made_products import layers, make_product

from pipeline.cli import main
from pipeline.dated import make_versions
from pipeline.schedule import read_schedule
from transforms.product import ProductGrid, ProductTile

GRID = ProductGrid()
WEST = ProductTile("N03E000", GRID.geobox(0, 60000, 80, 60))
EAST = ProductTile("N03E003", GRID.geobox(36000, 60000, 50, 40))
DAYS = [date(2024, 6, 15), date(2024, 7, 15), date(2024, 8, 15)]


def run_of(series, day: date, code: int, clouded: int = 0, scenes: dict | None = None) -> None:
    """West: one class, nothing in the first rows; east: never anything new."""
    west = np.full((60, 80), code)
    west[:clouded] = 0
    east = layers(np.full((40, 50), 80), 90)
    make_product(
        str(series / day.isoformat()),
        day,
        {WEST: layers(west, 90), EAST: east},
        {EAST.name: ["S2_once"]} | (scenes or {}),
    )


def pixels(version: str, tile: str, layer: str) -> np.ndarray:
    with rasterio.open(f"{version}/product/{tile}/{tile}_{layer}.tif") as raster:
        return raster.read(1)


@pytest.fixture
def series(tmp_path):
    folder = tmp_path / "togo-12345678"
    for day, code, clouded in zip(DAYS, (10, 40, 50), (0, 0, 20), strict=True):
        run_of(folder, day, code, clouded)
    (folder / "2024-09-15").mkdir()  # a run that has no product yet
    return folder


def test_every_run_makes_a_version_and_the_change_since_the_one_before(series):
    made = make_versions(str(series), "newest")
    assert made == [f"{series}-versions/{day}/map" for day in DAYS]
    assert [pixels(version, WEST.name, "lulc")[0, 0] for version in made] == [10, 40, 40]
    assert (pixels(made[2], WEST.name, "date")[:20] == 20240715).all()
    assert (pixels(made[2], WEST.name, "date")[20:] == 20240815).all()
    change = pixels(made[2].removesuffix("map") + "change", WEST.name, "change")
    # What August did not see is no change, and none that is confident of being none.
    assert (change[:20] == 0).all() and (change[20:] == 45).all()


def test_the_command_does_so_for_runs_that_a_workflow_made(series, tmp_path, capsys):
    assert main(["versions", f"{series}/", "--rule", "best-evidence"]) == 0
    assert capsys.readouterr().out.split() == [f"{series}-versions/{day}/map" for day in DAYS]
    assert main(["versions", str(tmp_path / "nothing")]) == 2
    assert "holds no finished run" in capsys.readouterr().err


def test_what_has_no_news_is_linked_and_a_late_scene_reaches_later_versions(series):
    made = make_versions(str(series), "newest")
    east = [f"{version}/product/{EAST.name}/{EAST.name}_lulc.tif" for version in made]
    first = series / "2024-06-15" / "product" / EAST.name / f"{EAST.name}_lulc.tif"
    assert all(first.samefile(path) for path in east)

    def times():
        files = sorted(series.parent.glob("*-versions/**/*.tif"))
        return {path: path.stat().st_mtime_ns for path in files}

    before = times()
    assert make_versions(str(series), "newest") == made
    assert before and times() == before

    run_of(series, DAYS[1], 60, scenes={WEST.name: ["S2_late"]})
    make_versions(str(series), "newest")
    assert (pixels(made[2], WEST.name, "lulc")[:20] == 60).all()
    after = times()
    changed = {path for path in before if after[path] != before[path]}
    assert {path.parent.name for path in changed} == {WEST.name}
    assert {path for path in before if "2024-06-15" in str(path)} & changed == set()


def test_the_schedule_names_the_rule(tmp_path):
    text = 'source = "synthetic:seed=1"\nout = "runs"\ncadence = "monthly"\ndate = "20 days ago"\n'
    path = tmp_path / "schedule.toml"
    path.write_text(f'[defaults]\n{text}[[country]]\nname = "togo"\nversions = "best-evidence"\n')
    (country,) = read_schedule(str(path))
    assert country.versions == "best-evidence"
    path.write_text(f'[defaults]\n{text}[[country]]\nname = "togo"\nversions = "latest"\n')
    with pytest.raises(ValueError, match="newest or best-evidence"):
        read_schedule(str(path))
