import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from transforms.grid import GeoBox
from transforms.inspect import (
    findings_text,
    inspect_items,
    inspect_pair,
    inspect_scene,
    windows_of,
)
from transforms.scene import SENTINEL1, SENTINEL2, Asset, Raster, Scene
from transforms.sources.items import scene_from_item
from transforms.sources.windows import read_scene

SAMPLE = Path(__file__).parents[2] / "data" / "sample"
OPTICAL = next(SAMPLE.glob("*/*/S2A_MSIL2A_20170617T113321_36_85/*.json"))
SAR = next(SAMPLE.glob("*/*/S1A_IW_GRDH_1SDV_20170617T064724_29UPU_36_85/*.json"))


def scene_of(path):
    return scene_from_item(json.loads(path.read_text()), str(path))


def changed(**changes):
    """A `read` whose pixels are changed by a function of the sensor's name."""

    def read(scene, box, bands):
        raster = read_scene(scene, box, bands)
        return raster._replace(pixels=changes[scene.sensor.replace("-", "")](raster.pixels))

    return read


def test_sound_scenes_pass():
    for path in (OPTICAL, SAR):
        found = inspect_scene(scene_of(path), read_scene)
        assert (found.verdict, found.reasons) == ("ok", ())
        assert 0 < found.nodata < 0.2  # the box around a footprint that is turned in the zone
        assert set(found.defects.values()) == {0.0}
        assert json.loads(json.dumps(found.to_dict()))["scene"] == found.scene
    assert found.values["VV"][1] == pytest.approx(-12, abs=2)


def test_an_offset_that_the_metadata_denies_is_quarantined():
    read = changed(sentinel2=lambda p: np.where(p == 0, 0, p + 1000).astype(p.dtype))
    found = inspect_scene(scene_of(OPTICAL), read)
    assert found.verdict == "quarantine"
    assert "'no offset'" in found.reasons[0] and found.offset["state"] == "offset"
    assert f"quarantined: {found.reasons[0]}" in findings_text(found)


def test_linear_power_called_decibel_is_quarantined():
    found = inspect_scene(scene_of(SAR), changed(sentinel1=lambda p: 300 + 10 * p))
    assert found.verdict == "quarantine" and "a wrong unit" in found.reasons[0]


def test_a_wrong_scale_is_quarantined():
    scene = scene_of(OPTICAL)
    scene = scene._replace(assets=tuple(a._replace(scale=1e-3) for a in scene.assets))
    assert any("a wrong scale" in r for r in inspect_scene(scene, read_scene).reasons)


def test_zeros_that_pass_for_data_are_counted_and_then_quarantined():
    scene = Scene(
        "Z", SENTINEL2, None, None, None, (15.0, 48.0, 15.02, 48.02), level="L2A",
        assets=(Asset("B02", "", scale=1e-4), Asset("B12", "", scale=1e-4)),
    )  # fmt: skip

    def read(width):
        def give(scene, box, bands):
            rng = np.random.default_rng(1)
            pixels = rng.integers(100, 900, (2, *box.shape)).astype(np.uint16)
            pixels[:, :, :width] = 0
            return Raster(pixels, box, bands, np.nan)

        return give

    few, many = inspect_scene(scene, read(3)), inspect_scene(scene, read(40))
    assert few.verdict == "ok" and 0 < few.defects["zeros"] < 0.05
    assert many.verdict == "quarantine" and "zeros or stripes" in many.reasons[0]


def test_nothing_but_nodata_is_quarantined():
    found = inspect_scene(scene_of(SAR), read_scene, [GeoBox(32629, 0, 0, 10, 20, 20)])
    assert found.reasons[0] == "no data in any window" and found.nodata == 1


def test_the_shift_of_a_pair_follows_what_is_put_on_it():
    optical, sar = scene_of(OPTICAL), scene_of(SAR)
    own = inspect_pair(optical, sar, read_scene)

    def read(scene, box, bands):
        raster = read_scene(scene, box, bands)
        if scene.sensor == SENTINEL1:
            raster = raster._replace(pixels=np.roll(raster.pixels, (2, 1), (1, 2)))
        return raster

    found = inspect_pair(optical, sar, read)
    assert np.hypot(found.dy - own.dy - 2, found.dx - own.dx - 1) < 0.25


def test_scenes_apart_have_no_shift():
    optical, sar = scene_of(OPTICAL), scene_of(SAR)
    with pytest.raises(ValueError, match="do not overlap"):
        inspect_pair(optical, sar._replace(footprint=(0, 0, 1, 1)), read_scene)


def test_windows_cover_small_footprints_and_sample_large_ones():
    (small,) = windows_of((15.0, 48.0, 15.02, 48.01))
    assert small.epsg == 32633 and 140 < small.width < 160 and 105 < small.height < 120
    assert small.x0 % 10 == small.y0 % 10 == 0
    many = windows_of((-71.0, -34.0, -70.0, -33.0))
    assert len(many) == 9 and {b.shape for b in many} == {(512, 512)}
    assert {b.epsg for b in many} == {32719}
    assert len({(b.x0, b.y0) for b in many}) == 9
    (across,) = windows_of((179.999, 10.0, -179.999, 10.01))
    assert across.epsg in (32601, 32660) and across.width < 40


def test_items_are_printed_with_the_shift_of_their_pair(tmp_path):
    for path in (OPTICAL, SAR):
        shutil.copytree(path.parent, tmp_path / path.parent.name)
    text, quarantined = inspect_items([str(tmp_path)])
    assert quarantined == 0
    assert text.count(": ok\n") == 2
    assert "offset: ok; metadata: no offset, pixels: no offset" in text
    assert f"{SAR.stem} against {OPTICAL.stem}: shift (" in text
    with pytest.raises(ValueError, match="there is no file"):
        inspect_items([str(tmp_path / "nothing.json")])
