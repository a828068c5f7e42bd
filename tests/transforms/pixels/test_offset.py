"""The offset of every shipped scene, as it is, with 1000 added, and with the metadata lying."""

import json
from pathlib import Path

import numpy as np
import pytest
import rasterio

from transforms.grid import GeoBox
from transforms.pixels.clouds import S2CLOUDLESS_BANDS
from transforms.pixels.offset import ABSENT, CONTRADICTION, OK, PRESENT, UNDETERMINED, find_offset
from transforms.scene import SENTINEL2, Asset, Raster, Scene
from transforms.sources.items import scene_from_item

SAMPLE = Path(__file__).parents[3] / "data" / "sample"
ITEMS = sorted(SAMPLE.glob("*/*sentinel-2*/*/*.json"))

TRUTH = {  # item -> what is found of it as it is, and with the offset added by hand
    "S2A_MSIL2A_20170613T101031_87_48": (ABSENT, PRESENT),
    "S2A_MSIL2A_20170617T113321_36_85": (ABSENT, PRESENT),
    "S2A_MSIL2A_20170617T113321_4_55": (ABSENT, PRESENT),
    "S2A_MSIL2A_20171221T112501_56_35": (ABSENT, PRESENT),
    "S2B_MSIL2A_20170924T93020_69_24": (ABSENT, PRESENT),
    "S2B_MSIL2A_20180204T94161_57_38": (ABSENT, UNDETERMINED),  # snow
    "sen12mscr_ROIs1868_summer_19_p30_S2_L1C": (ABSENT, PRESENT),
    "sen12mscr_ROIs1970_fall_139_p839_S2_L1C": (ABSENT, PRESENT),
    "sen12mscr_ROIs2017_winter_112_p797_S2_L1C": (ABSENT, PRESENT),
    "flanders_00002806639B424A_S2_L2A_20171112T105302": (ABSENT, PRESENT),
    "flanders_00002806639B424A_S2_L2A_20171212T105436": (ABSENT, UNDETERMINED),  # 81 % cloud
    "flanders_00002806639B424A_S2_L2A_20180416T105619": (ABSENT, UNDETERMINED),  # 71 % cloud
    "flanders_00002806639B424A_S2_L2A_20180521T105416": (UNDETERMINED, UNDETERMINED),  # 87 %
    "flanders_00002806639B424A_S2_L2A_20180603T110035": (ABSENT, PRESENT),
    "flanders_00002806639B424A_S2_L2A_20180613T105737": (ABSENT, UNDETERMINED),  # 55 % cloud
    "flanders_00002806639B424A_S2_L2A_20180615T105401": (ABSENT, UNDETERMINED),  # 100 % cloud
    "flanders_00002806639B424A_S2_L2A_20180620T105211": (UNDETERMINED, UNDETERMINED),  # 100 %
    "flanders_00002806639B424A_S2_L2A_20180628T110617": (ABSENT, PRESENT),
    "flanders_00002806639B424A_S2_L2A_20180814T105021": (ABSENT, PRESENT),
    "flanders_00002806639B424A_S2_L2A_20180918T105420": (ABSENT, UNDETERMINED),  # 47 % cloud
    # 29 % cloud over dry bare fields: nothing darker than 0.12 in the short-wave infrared
    "flanders_00002806639B424A_S2_L2A_20181016T110523": (ABSENT, UNDETERMINED),
}
CLEAR = {
    name: 1 - percent / 100
    for path in ITEMS
    for item in [json.loads(path.read_text())]
    for name, percent in [(item["id"], item["properties"].get("eo:cloud_cover"))]
    if percent is not None
}


def load(path):
    """The scene of an item and its pixels, those of 20 and 60 m repeated to 10 m."""
    scene = scene_from_item(json.loads(path.read_text()), str(path))
    bands = tuple(b for b in scene.bands if b != "SCL")
    planes = []
    for band in bands:
        asset = scene.asset(band)
        with rasterio.open(asset.href) as file:
            planes.append(file.read(asset.index))
    side = max(len(p) for p in planes)
    planes = [np.kron(p, np.ones((side // len(p),) * 2, p.dtype)) for p in planes]
    box = GeoBox(32633, 0, 0, 10, side, side)
    return scene, Raster(np.stack(planes), box, bands, 0)


def add(raster, offset=1000):
    return raster._replace(
        pixels=np.where(raster.pixels == 0, 0, raster.pixels + np.uint16(offset))
    )


def declare(scene, offset):
    return scene._replace(assets=tuple(a._replace(offset=offset) for a in scene.assets))


@pytest.mark.parametrize("path", ITEMS, ids=lambda p: p.stem)
def test_state_of_every_shipped_scene(path):
    scene, raster = load(path)
    as_it_is, with_offset = TRUTH[scene.id]
    clear = CLEAR.get(scene.id)
    found = find_offset(raster, scene, clear)
    assert found.state == as_it_is, found
    assert found.declared == ABSENT
    assert found.verdict == (OK if as_it_is == ABSENT else UNDETERMINED)
    assert find_offset(add(raster), scene, clear).state == with_offset


def test_every_shipped_scene_has_its_truth():
    assert {p.stem for p in ITEMS} == set(TRUTH)
    # Never the wrong state; undetermined only under cloud or snow.
    assert all(
        a in (ABSENT, UNDETERMINED) and b in (PRESENT, UNDETERMINED) for a, b in TRUTH.values()
    )


@pytest.mark.parametrize(
    ("stored", "declared", "verdict"),
    [(0, 0.0, OK), (1000, -0.1, OK), (0, -0.1, CONTRADICTION), (1000, 0.0, CONTRADICTION)],
)
def test_lying_metadata_is_a_contradiction(stored, declared, verdict):
    scene, raster = load(next(p for p in ITEMS if "36_85" in p.stem))
    found = find_offset(add(raster, stored), declare(scene, declared))
    assert found.verdict == verdict
    assert found.reason


def test_bands_that_differ_in_their_declaration_declare_nothing():
    scene, raster = load(next(p for p in ITEMS if "36_85" in p.stem))
    first, *rest = scene.assets
    found = find_offset(raster, scene._replace(assets=(first._replace(offset=-0.1), *rest)))
    assert (found.declared, found.verdict) == (UNDETERMINED, UNDETERMINED)


@pytest.mark.parametrize("date", [0, 1])
def test_l1c_of_slovenia(date):
    with np.load(Path(__file__).with_name("slovenia_l1c.npz")) as data:
        stored = data["l1c"][date]
    bands = S2CLOUDLESS_BANDS
    scene = Scene(
        "L1C", SENTINEL2, None, None, None, (0, 0, 1, 1), level="L1C",
        assets=tuple(Asset(b, "", scale=1e-4, nodata=0) for b in bands),
    )  # fmt: skip
    raster = Raster(stored, GeoBox(32633, 0, 0, 10, stored.shape[2], stored.shape[1]), bands, 0)
    assert find_offset(raster, scene).state == ABSENT
    assert find_offset(add(raster), scene).state == PRESENT


def test_too_few_pixels_say_nothing():
    scene, raster = load(next(p for p in ITEMS if "36_85" in p.stem))
    few = raster._replace(pixels=raster.pixels[:, :10, :10])
    found = find_offset(few, scene)
    assert (found.state, found.verdict, found.floors) == (UNDETERMINED, UNDETERMINED, {})
    assert "100 pixels" in found.reason
