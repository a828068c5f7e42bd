"""The synthetic planet: the same everywhere, with what is hidden in it known."""

from __future__ import annotations

from datetime import date

import numpy as np
import pytest
from pyproj import Transformer

from model.inputs import INPUTS
from transforms.grid import GeoBox
from transforms.period import Period
from transforms.scene import SENTINEL1, SENTINEL2
from transforms.sources.synthetic import SyntheticSource

JUNE = Period(date(2024, 6, 1), date(2024, 7, 1))
BOX = GeoBox(32633, 520_000.0, 5_150_000.0, 10.0, 240, 200)
HERE = (15.2, 46.4, 15.4, 46.6)


def first(source, sensor, bounds=HERE):
    return next(s for s in source.search(bounds, JUNE) if s.sensor == sensor)


def test_one_planet_in_every_crs():
    source = SyntheticSource(seed=1)
    degrees = GeoBox(4326, 17.95, 46.5, 1 / 12000, 200, 200)  # across the border of two zones
    truth = source.truth(degrees)
    x, y = np.meshgrid(
        17.95 + (np.arange(200) + 0.5) / 12000, 46.5 - (np.arange(200) + 0.5) / 12000
    )
    assert len(np.unique(truth)) > 1
    for epsg in (32633, 32634):
        east, north = Transformer.from_crs(4326, epsg, always_xy=True).transform(x, y)
        x0, y0 = np.floor(east.min()), np.ceil(north.max())
        box = GeoBox(epsg, x0, y0, 1.0, int(np.ptp(east)) + 2, int(np.ptp(north)) + 2)
        fine = source.truth(box)
        nearest = fine[np.floor(y0 - north).astype(int), np.floor(east - x0).astype(int)]
        assert (nearest == truth).mean() > 0.995  # metre pixels differ within a metre of borders


def test_the_planet_has_no_seam_at_the_antimeridian():
    source = SyntheticSource(seed=1)
    to_west = Transformer.from_crs(32660, 32601, always_xy=True)
    box = GeoBox(32660, 818_000.0, 8_150_000.0, 10.0, 300, 100)  # reaches beyond 180 degrees
    east, north = np.meshgrid(
        box.x0 + 10 * (np.arange(300) + 0.5), box.y0 - 10 * (np.arange(100) + 0.5)
    )
    x, y = to_west.transform(east, north)
    x0, y0 = np.floor(x.min() / 10) * 10, np.ceil(y.max() / 10) * 10
    other = GeoBox(32601, x0, y0, 10.0, int(np.ptp(x) / 10) + 3, int(np.ptp(y) / 10) + 3)
    nearest = source.truth(other)[((y0 - y) // 10).astype(int), ((x - x0) // 10).astype(int)]
    assert (nearest == source.truth(box)).mean() > 0.97


def test_every_pixel_belongs_to_one_scene_of_a_day():
    source = SyntheticSource(cloud=0.0)
    box = GeoBox(32633, 499_000.0, 5_094_400.0 + 1000, 10.0, 200, 200)  # around 15 E, 46 N
    scenes = source.search((14.9, 45.9, 15.1, 46.1), Period(date(2024, 6, 2), date(2024, 6, 3)))
    optical = [s for s in scenes if s.sensor == SENTINEL2]
    valid = [source.read(s, box, ("B02",)).pixels[0] > 0 for s in optical]
    assert len(optical) == 4 and all(0 < v.mean() < 1 for v in valid)
    np.testing.assert_array_equal(np.sum(valid, axis=0), 1)


def test_classes_show_in_both_sensors():
    source = SyntheticSource(cloud=0.0)
    box = BOX._replace(width=800, height=800)
    truth = source.truth(box)
    assert set(np.unique(truth)) == set(range(6))
    nir = source.read(first(source, SENTINEL2), box, ("B08",)).pixels[0]
    vv = source.read(first(source, SENTINEL1), box, ("VV",)).pixels[0]
    brightest = max(range(6), key=lambda c: np.median(vv[truth == c]))
    assert brightest == 4  # built-up
    assert min(range(6), key=lambda c: np.median(nir[truth == c])) == 0  # water


def test_clouds_are_where_the_mask_says():
    source = SyntheticSource(seed=2, cloud=0.5)
    scene = first(source, SENTINEL2)
    box = BOX._replace(width=600, height=600)
    cloud, shadow = source.cloud_mask(scene, box)
    raster = source.read(scene, box, ("B02", "SCL", "CLOUD_PROBABILITY"))
    blue, scl, probability = raster.pixels
    clear = SyntheticSource(seed=2, cloud=0.0).read(scene, box, ("B02",)).pixels[0]
    assert 0 < cloud.mean() < 1 and shadow.any() and not (cloud & shadow).any()
    np.testing.assert_array_equal(scl == 9, cloud)
    np.testing.assert_array_equal(scl == 3, shadow)
    assert (probability[cloud] >= 50).all() and (probability[~cloud] <= 50).all()
    assert (blue[cloud] > clear[cloud]).mean() > 0.99
    assert (blue[shadow] < clear[shadow]).mean() > 0.9
    np.testing.assert_array_equal(blue[~cloud & ~shadow], clear[~cloud & ~shadow])


@pytest.mark.parametrize("cloud", [0.0, 0.3, 0.9, 1.0])
def test_share_of_cloud(cloud):
    source = SyntheticSource(cloud=cloud)
    box = GeoBox(32633, 500_000.0, 5_190_000.0, 60.0, 500, 500)
    scenes = [s for s in source.search(HERE, JUNE) if s.sensor == SENTINEL2]
    shares = [source.cloud_mask(s, box)[0].mean() for s in scenes]
    assert np.mean(shares) == pytest.approx(cloud, abs=0.06)
    assert all(s.cloud == cloud for s in scenes)


def test_the_sar_is_shifted_as_asked():
    straight, shifted = SyntheticSource(cloud=0.0), SyntheticSource(cloud=0.0, shift=(2.0, -3.0))
    # Of two days: speckle belongs to the pixel, not to the place, and does not shift.
    one, two = [s for s in straight.search(HERE, JUNE) if s.sensor == SENTINEL1][:2]
    a = straight.read(one, BOX, ("VH",)).pixels[0]
    b = shifted.read(two, BOX, ("VH",)).pixels[0]
    spectra = [np.fft.rfft2(image - image.mean()) for image in (a, b)]
    correlation = np.fft.irfft2(spectra[0].conj() * spectra[1], s=BOX.shape)
    found = np.unravel_index(correlation.argmax(), BOX.shape)
    assert found == (2, BOX.width - 3)
    optical = first(straight, SENTINEL2)
    for source in (straight, shifted):
        assert source.read(optical, BOX, ("B02",)).pixels[0, 0, 0] > 0
    np.testing.assert_array_equal(
        straight.read(optical, BOX, ("B02",)).pixels, shifted.read(optical, BOX, ("B02",)).pixels
    )


def test_speckle_is_gamma_of_four_looks():
    source = SyntheticSource()
    pixels = source.read(first(source, SENTINEL1), BOX, ("VV",)).pixels[0]
    near = 10 ** ((pixels[:, 1:] - pixels[:, :-1]) / 10)  # ratio of neighbours: texture cancels
    # The log of gamma of 4 looks has a variance of 0.2838 (trigamma of 4).
    assert np.var(np.log(near)[source.truth(BOX)[:, 1:] == source.truth(BOX)[:, :-1]]) == (
        pytest.approx(2 * 0.2838, rel=0.05)
    )


def test_revisit_orbits_and_absent_sensors():
    scenes = SyntheticSource().search(HERE, JUNE)
    days = {
        sensor: [s.day for s in scenes if s.sensor == sensor] for sensor in (SENTINEL1, SENTINEL2)
    }
    assert set(np.diff(days[SENTINEL2])) == {np.timedelta64(5, "D").astype(object)}
    assert set(np.diff(days[SENTINEL1])) == {np.timedelta64(6, "D").astype(object)}
    orbits = [s.orbit for s in scenes if s.sensor == SENTINEL1]
    assert all(a != b for a, b in zip(orbits, orbits[1:], strict=False))
    alone = SyntheticSource(without=(SENTINEL1,)).search(HERE, JUNE)
    assert alone == [s for s in scenes if s.sensor == SENTINEL2]


def test_the_antimeridian_has_cells_on_both_sides():
    found = SyntheticSource().search((179.5, -17.0, -179.5, -16.5), JUNE)
    assert {s.footprint[0] for s in found} == {179.0, -180.0}


def test_seeds_make_other_planets_and_other_days_other_noise():
    one, two = SyntheticSource(seed=1), SyntheticSource(seed=2)
    assert (one.truth(BOX) != two.truth(BOX)).any()
    scenes = [s for s in SyntheticSource(cloud=0.0).search(HERE, JUNE) if s.sensor == SENTINEL2]
    a, b = (SyntheticSource(cloud=0.0).read(s, BOX, ("B04",)).pixels for s in scenes[:2])
    assert (a != b).mean() > 0.9
    bands = INPUTS.optical.names
    every = SyntheticSource(cloud=0.0).read(scenes[0], BOX, bands).pixels
    assert every.dtype == np.uint16 and every.min() >= 1 and every.shape[0] == 12


@pytest.mark.parametrize(("field", "value"), [("cloud", 1.5), ("without", ("landsat",))])
def test_bad_settings(field, value):
    with pytest.raises(ValueError, match=str(value if field == "cloud" else "landsat")):
        SyntheticSource(**{field: value})
