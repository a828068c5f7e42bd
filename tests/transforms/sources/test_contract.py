"""What every imagery source keeps: run for the synthetic planet, for files and for the sample."""

from __future__ import annotations

import pickle
from datetime import timedelta

import numpy as np
import pytest

from transforms.period import Period
from transforms.scene import SENTINEL1, SENTINEL2, overlap


def scene_of(case, sensor):
    return next(s for s in case.source.search(case.bounds, case.period) if s.sensor == sensor)


def same(a, b):
    return a.dtype == b.dtype and np.array_equal(a, b, equal_nan=a.dtype.kind == "f")


def missing(raster):
    pixels = raster.pixels
    return np.isnan(pixels) if np.isnan(raster.nodata) else pixels == raster.nodata


def test_scenes_of_both_sensors_are_sorted_unique_and_touch_the_bounds(case):
    scenes = case.source.search(case.bounds, case.period)
    assert {s.sensor for s in scenes} == {SENTINEL1, SENTINEL2}
    assert [(s.start, s.id) for s in scenes] == sorted((s.start, s.id) for s in scenes)
    assert len({s.id for s in scenes}) == len(scenes)
    assert all(overlap(s.footprint, case.bounds) and s.within(case.period) for s in scenes)


def test_periods_are_half_open(case, sensor):
    scene = scene_of(case, sensor)
    day = timedelta(days=1)
    on = case.source.search(case.bounds, Period(scene.day, scene.day + day))
    before = case.source.search(case.bounds, Period(scene.day - day, scene.day))
    after = case.source.search(case.bounds, Period(scene.day + day, scene.day + 2 * day))
    assert scene in on
    assert scene.id not in {s.id for s in before + after}


def test_scenes_carry_what_later_steps_need(case):
    for scene in case.source.search(case.bounds, case.period):
        assert scene.start <= (scene.time or scene.start) <= scene.end
        assert scene.start.tzinfo is not None and scene.assets
        assert scene.cloud is None or 0 <= scene.cloud <= 1
        if scene.sensor == SENTINEL1:
            assert scene.unit in ("dB", "linear") and scene.level in ("sigma0", "gamma0", "")
        else:
            assert scene.level in ("L1C", "L2A") and scene.unit == ""


def test_raster_has_the_geobox_bands_and_nodata_asked_for(case, sensor):
    scene = scene_of(case, sensor)
    bands = scene.bands[:3][::-1]
    raster = case.source.read(scene, case.geobox, bands)
    assert raster.geobox == case.geobox and raster.bands == bands
    assert raster.pixels.shape == (len(bands), *case.geobox.shape)
    if raster.pixels.dtype.kind == "f":
        assert np.isnan(raster.nodata)
    else:
        assert raster.pixels.dtype.type(raster.nodata) == raster.nodata
    assert not missing(raster).all()
    for number, band in enumerate(bands):
        alone = case.source.read(scene, case.geobox, (band,))
        np.testing.assert_array_equal(raster.pixels[number], alone.pixels[0])


def test_outside_of_the_scene_all_is_nodata(case, sensor):
    scene = scene_of(case, sensor)
    far = case.geobox._replace(y0=case.geobox.y0 + 300_000)
    raster = case.source.read(scene, far, scene.bands)
    assert raster.pixels.shape[1:] == far.shape
    assert missing(raster).all()


# On the pixel grid, off it, at twice its resolution, and in the neighbouring zone.
@pytest.mark.parametrize("moved", [0.0, 3.0])
@pytest.mark.parametrize("finer", [1, 2])
@pytest.mark.parametrize("zones", [0, 1])
def test_overlapping_windows_agree(case, sensor, moved, finer, zones):
    from pyproj import Transformer

    scene = scene_of(case, sensor)
    box = case.geobox._replace(resolution=case.geobox.resolution / finer)
    x0, y0 = box.x0 + moved, box.y0 + moved
    if zones:
        to_next = Transformer.from_crs(box.epsg, box.epsg + zones, always_xy=True)
        x0, y0 = (round(v, -1) + moved for v in to_next.transform(x0, y0))
    box = box._replace(epsg=box.epsg + zones, x0=x0, y0=y0)
    down, right = 17, 23
    other = box._replace(x0=x0 + right * box.resolution, y0=y0 - down * box.resolution)
    first = case.source.read(scene, box, scene.bands)
    second = case.source.read(scene, other, scene.bands)
    assert not missing(first).all()
    assert same(first.pixels[:, down:, right:], second.pixels[:, :-down, :-right])


def test_source_and_scenes_are_pickled_before_and_after_use(case, sensor):
    fresh = pickle.loads(pickle.dumps(case.source))
    scene = scene_of(case, sensor)
    expected = case.source.read(scene, case.geobox, scene.bands[:2])
    used = pickle.dumps(case.source)
    assert len(used) < 1000  # neither catalogue nor pixels travel
    for source in (fresh, pickle.loads(used)):
        assert source.search(case.bounds, case.period) == case.source.search(
            case.bounds, case.period
        )
        again = source.read(pickle.loads(pickle.dumps(scene)), case.geobox, scene.bands[:2])
        assert same(again.pixels, expected.pixels)


def test_unknown_band_is_an_error_that_names_it(case, sensor):
    scene = scene_of(case, sensor)
    with pytest.raises(ValueError, match="B99"):
        case.source.read(scene, case.geobox, (scene.bands[0], "B99"))
