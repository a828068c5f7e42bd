"""Real scenes that no training sample was made from, with the best labels that they have.

Read from a folder that holds `pairs/`, `teacher/`, `optical/` and `clouds/`. What the labels are
differs: "teacher" is Dynamic World's network on the clear image where it is surer than 0.5: another
network's opinion, not truth; "WorldCover" and "hand" are maps and digitised outlines; "patch" lists
the CORINE classes of a whole patch.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import rasterio
from rasterio.enums import Resampling
from rasterio.vrt import WarpedVRT

from model.inputs import INPUTS
from model.legend import DYNAMIC_WORLD_TO_LULC6, IGNORE_INDEX, WORLDCOVER_TO_LULC6, crosswalk

BANDS = INPUTS.optical.names
L1C_BANDS = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 12]  # of B1 ... B8, B8A, B9, B10, B11, B12
SLOVENIA_TO_LULC6 = {1: 5, 2: 1, 3: 2, 4: 2, 8: 4}
CORINE_TO_LULC6 = {  # the names that the six patches use
    "Non-irrigated arable land": {5},
    "Complex cultivation patterns": {5, 2},
    "Land principally occupied by agriculture, with significant areas of natural vegetation": {
        5, 2, 1,
    },
    "Pastures": {2},
    "Coniferous forest": {1},
    "Mixed forest": {1},
    "Broad-leaved forest": {1},
    "Transitional woodland/shrub": {1, 2},
    "Peatbogs": {2},
    "Water bodies": {0},
}  # fmt: skip


class RealScene(NamedTuple):
    name: str
    optical: np.ndarray  # (12, y, x) uint16, reflectance x 1e4, 0 nodata
    sar: np.ndarray  # (2, y, x) int16, dB x 100, -32768 nodata
    label: np.ndarray | None  # (y, x) uint8, class index, 255 unknown
    source: str  # what the label is
    clear: bool  # clouds may be simulated over it
    among: frozenset[int] = frozenset()  # classes of the whole patch, where that is all we know
    cloud: np.ndarray | None = None  # (y, x) uint8: 0 clear, 1 cloud or shadow, 255 unknown


def decibel(a: np.ndarray) -> np.ndarray:
    """(2, y, x) float dB, nan nodata -> int16 dB x 100."""
    known = np.isfinite(a)
    coded = np.rint(100 * np.where(known, a, 0)).clip(-10000, 10000)
    return np.where(known, coded, INPUTS.sar.nodata).astype(np.int16)


def l1c(a: np.ndarray) -> np.ndarray:
    """13 L1C bands -> the 12 of a chip."""
    return a[L1C_BANDS].clip(0, 65535).astype(np.uint16)


def read(path: Path) -> np.ndarray:
    with rasterio.open(path) as file:
        return file.read()


def teacher(data: Path, name: str) -> np.ndarray:
    with np.load(data / "teacher" / f"{name}.npz") as z:
        label = crosswalk(z["label"], DYNAMIC_WORLD_TO_LULC6)
        return np.where(z["probability"] > 127, label, IGNORE_INDEX).astype(np.uint8)


def scenes(data: Path) -> Iterator[RealScene]:
    yield from _sen12mscr(data)
    yield from _ssl4eo(data)
    yield from _sen1floods11(data)
    yield from _m3mcr(data)
    yield from _slovenia(data)
    yield from _bigearthnet(data)
    yield _cloud_reference(data)


def _sen12mscr(data: Path) -> Iterator[RealScene]:
    pairs = data / "pairs"
    for name in ("ROIs1970_fall_139_p839", "ROIs2017_winter_112_p797"):
        label = teacher(data, f"sen12mscr_{name}")
        sar = decibel(read(pairs / "sen12mscr" / "s1" / f"{name}.tif"))
        for kind in ("cloudfree", "cloudy"):
            optical = l1c(read(pairs / "sen12mscr" / f"s2_{kind}" / f"{name}.tif"))
            yield RealScene(f"{name} {kind}", optical, sar, label, "teacher", kind == "cloudfree")
    folder = pairs / "sen12mscr_nigeria"
    optical = l1c(read(folder / "ROIs1868_summer_s2_cloudy_19_p30.tif"))
    sar = decibel(read(folder / "ROIs1868_summer_s1_19_p30.tif"))
    yield RealScene("nigeria cloudy", optical, sar, None, "none", False)


def _ssl4eo(data: Path) -> Iterator[RealScene]:
    folder = data / "pairs" / "ssl4eo"
    for product, date, sar_date, label in (
        ("s2c", "20200604", "20200607", "20200604T054639_20200604T054831_T43RCP"),
        ("s2a", "20200604", "20200607", "20200604T054639_20200604T054831_T43RCP"),
        ("s2c", "20200823", "20200903", "20200823T054639_20200823T055618_T43RCP"),
        ("s2a", "20200813", "20200903", None),
    ):
        (optical,) = (folder / product).glob(f"{date}*")
        (sar,) = (folder / "s1").glob(f"S1A_IW_GRDH_1SDV_{sar_date}*")
        with rasterio.open(optical / "B2.tif") as grid:
            where = {
                "crs": grid.crs,
                "transform": grid.transform,
                "width": grid.width,
                "height": grid.height,
                "resampling": Resampling.bilinear,
            }
        names = [b.replace("B0", "B") for b in BANDS]
        yield RealScene(
            f"ssl4eo {product} {date}",
            np.stack([_warped(optical / f"{b}.tif", where) for b in names]).astype(np.uint16),
            decibel(np.stack([_warped(sar / f"{p}.tif", where) for p in ("VV", "VH")])),
            label and teacher(data, f"ssl4eo_{label}"),
            "teacher" if label else "none",
            date == "20200604",
        )


def _warped(path: Path, where: dict) -> np.ndarray:
    with rasterio.open(path) as file, WarpedVRT(file, **where) as warped:
        return warped.read(1)


def _sen1floods11(data: Path) -> Iterator[RealScene]:
    folder = data / "pairs" / "sen1floods11"
    optical = l1c(read(folder / "S2" / "Spain_7370579_S2Hand.tif"))
    sar = decibel(read(folder / "S1" / "Spain_7370579_S1Hand.tif"))
    name = "sen1floods11_Spain_7370579"
    yield RealScene(name, optical, sar, teacher(data, name), "teacher", True)
    water = read(folder / "Labels" / "Spain_7370579_LabelHand.tif")[0]
    label = np.full(water.shape, IGNORE_INDEX, np.uint8)
    label[water == 1] = 0
    yield RealScene(f"{name} water", optical, sar, label, "hand (water only)", False)


def _m3mcr(data: Path) -> Iterator[RealScene]:
    folder = data / "pairs" / "m3mcr_s1_worldcover"
    for name in ("fall_1_p_457", "summer_33_p_1"):
        sar = decibel(read(folder / f"S1_{name}.tif"))
        label = crosswalk(read(folder / f"landcover_{name}.tif")[0], WORLDCOVER_TO_LULC6)
        optical = np.zeros((12, *label.shape), np.uint16)
        yield RealScene(f"m3mcr {name} (S1 only)", optical, sar, label, "WorldCover", False)


def _slovenia(data: Path) -> Iterator[RealScene]:
    with np.load(data / "optical" / "slovenia_l1c_5dates.npz") as z:
        label = crosswalk(z["lulc"].astype(np.uint8), SLOVENIA_TO_LULC6)
        cover = z["cloud_mask_s2cloudless"].mean(axis=(1, 2))
        masks = z["cloud_mask_s2cloudless"].astype(np.uint8)
        dates = zip(z["l1c"], z["timestamps"], cover, masks, strict=True)
        for image, date, share, cloud in dates:
            optical = l1c(np.rint(1e4 * image).transpose(2, 0, 1))
            sar = np.full((2, *label.shape), INPUTS.sar.nodata, np.int16)
            name = f"slovenia {date[:10]} (S2 only, {100 * share:.0f} % cloud)"
            source = "national LULC map"
            yield RealScene(name, optical, sar, label, source, False, cloud=cloud)


def _cloud_reference(data: Path) -> RealScene:
    """A scene of six bands with its reference mask of clouds and shadows."""
    with np.load(data / "clouds" / "s2_512_reflectance_and_mask.npz") as z:
        image, mask = z["img"], z["msk"][..., 0]
    optical = np.zeros((len(BANDS), *mask.shape), np.uint16)
    for i, band in enumerate(("B02", "B03", "B04", "B08", "B11", "B12")):
        optical[BANDS.index(band)] = np.rint(1e4 * image[..., i]).clip(1, 65535)
    cloud = np.select([mask == 3, (mask == 0) | (mask == 4)], [0, 1], 255).astype(np.uint8)
    sar = np.full((2, *mask.shape), INPUTS.sar.nodata, np.int16)
    return RealScene("cloud reference (S2 only)", optical, sar, None, "none", False, cloud=cloud)


def _bigearthnet(data: Path) -> Iterator[RealScene]:
    folder = data / "pairs" / "bigearthnet"
    for about in sorted(folder.glob("BigEarthNet-S1-Example/*/*_labels_metadata.json")):
        metadata = json.loads(about.read_text())
        patch = metadata["corresponding_s2_patch"]
        s2 = folder / "BigEarthNet-S2-Example" / patch
        s1 = about.parent / about.parent.name
        optical = []
        for band in BANDS:
            with rasterio.open(s2 / f"{patch}_{band}.tif") as file:
                optical.append(file.read(1, out_shape=(120, 120), resampling=Resampling.bilinear))
        yield RealScene(
            f"bigearthnet {patch}",
            np.stack(optical),
            decibel(np.concatenate([read(Path(f"{s1}_{p}.tif")) for p in ("VV", "VH")])),
            None,
            f"patch: {metadata['labels']}",
            True,
            frozenset().union(*(CORINE_TO_LULC6[c] for c in metadata["labels"])),
        )
