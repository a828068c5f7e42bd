"""Scores and pictures of a checkpoint on real scenes that no training sample was made from.

    python -m benchmarks.score_real DATA CHECKPOINT [--pictures FOLDER] [--calibrate]

DATA holds the folders `pairs/`, `teacher/`, `optical/` and `clouds/`. Prints one JSON line per
scene, one of how well the written reliability parts clear pixels from masked ones (the dates of a
place together) and, if asked, a last one: the temperature that calibrates the development scenes
best, and the calibration error of each group. Checkpoints may be chosen by the scores of
`DEVELOPMENT` places; the others are held out. What the labels are differs and is printed with each
score: "teacher" is Dynamic World's network on the clear image where it is surer than 0.5: another
network's opinion, not truth; "WorldCover" and "hand" are maps and digitised outlines; "patch"
lists the CORINE classes of a whole patch, so only the share of pixels that fall in any of them
can be told.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import rasterio
import torch
from PIL import Image
from rasterio.enums import Resampling
from rasterio.vrt import WarpedVRT

from model.checkpoint import load
from model.clouds import simulate_clouds
from model.inputs import INPUTS
from model.legend import (
    DYNAMIC_WORLD_TO_LULC6,
    IGNORE_INDEX,
    LULC6,
    WORLDCOVER_TO_LULC6,
    crosswalk,
)
from model.metrics import (
    area_under_curve,
    confusion_matrix,
    expected_calibration_error,
    scores,
)
from model.predict import Prediction, Predictor

BANDS = INPUTS.optical.names
L1C_BANDS = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 12]  # of B1 ... B8, B8A, B9, B10, B11, B12
COVERS = (0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 1.0)
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


DEVELOPMENT = ("ROIs1970_fall_139_p839", "ssl4eo", "nigeria")
"""How the names of the scenes start that checkpoints are chosen by."""


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


def predict(predictor: Predictor, optical: np.ndarray, sar: np.ndarray) -> Prediction:
    """One scene of any size, padded to a multiple of 32 with its own mirror image."""
    height, width = optical.shape[1:]
    pad = ((0, 0), (0, -height % 32), (0, -width % 32))
    chips = (np.pad(a, pad, mode="symmetric")[None] for a in (optical, sar))
    return Prediction(*(a[0, :height, :width] for a in predictor.predict(*chips)))


def score(scene: RealScene, predictor: Predictor) -> tuple[dict, Prediction]:
    whole = predict(predictor, scene.optical, scene.sar)
    role = "development" if scene.name.startswith(DEVELOPMENT) else "held out"
    line: dict = {"scene": scene.name, "role": role, "labels": scene.source}
    line["map"] = {
        c.name: round(float((whole.lulc == c.code).mean()), 3)
        for c in LULC6.classes
        if (whole.lulc == c.code).any()
    }
    line["reliability"] = round(float(whole.reliability[whole.reliability <= 100].mean()), 1)
    if scene.among:
        index = LULC6.indices(whole.lulc)
        line["in patch's classes"] = round(float(np.isin(index, list(scene.among)).mean()), 3)
    if scene.label is None:
        return line, whole
    no_optical = np.zeros_like(scene.optical)
    no_sar = np.full_like(scene.sar, INPUTS.sar.nodata)
    inputs = {"S1+S2": (scene.optical, scene.sar)}
    if scene.optical.any() and (scene.sar != INPUTS.sar.nodata).any():
        inputs |= {"S1": (no_optical, scene.sar), "S2": (scene.optical, no_sar)}
    for name, (optical, sar) in inputs.items():
        line[name] = _scores(scene.label, predict(predictor, optical, sar))
    if scene.clear:
        line["simulated cover %"] = {}
        for cover in COVERS[1:]:
            under = simulate_clouds(
                scene.optical, np.random.default_rng(int(100 * cover)), cover, "thick"
            )
            line["simulated cover %"][int(100 * cover)] = {
                "S1+S2": _scores(scene.label, predict(predictor, under.optical, scene.sar))["oa"],
                "S2": _scores(scene.label, predict(predictor, under.optical, no_sar))["oa"],
            }
    return line, whole


def _scores(label: np.ndarray, prediction: Prediction) -> dict:
    index = LULC6.indices(prediction.lulc)
    s = scores(confusion_matrix(np.where(index == 255, 255, label), index, len(LULC6.classes)))
    recall = {c.name: round(float(s.recall[c.index]), 2) for c in LULC6.classes}
    return {
        "oa": round(s.overall_accuracy, 3),
        "miou": round(s.mean_iou, 3),
        "classes": s.present,
        "pixels": s.pixels,
        "ece": round(_calibration_error(label, prediction), 3),
        "recall": {k: v for k, v in recall.items() if not np.isnan(v)},
    }


def _calibration_error(label: np.ndarray, prediction: Prediction) -> float:
    known = (label != IGNORE_INDEX) & (prediction.confidence <= 100)
    right = LULC6.indices(prediction.lulc)[known] == label[known]
    return expected_calibration_error(prediction.confidence[known] / 100, right)


def calibrate(predictor: Predictor, among: list[RealScene]) -> dict:
    """The temperature at which the calibration error of the development scenes is least.

    Every labelled scene counts three times: with both sensors, and with each of them alone.
    """
    logits: dict[str, list] = {"development": [], "held out": []}
    labels: dict[str, list] = {"development": [], "held out": []}
    for scene in among:
        if scene.label is None or scene.source == "hand (water only)":
            continue
        role = "development" if scene.name.startswith(DEVELOPMENT) else "held out"
        no_optical = np.zeros_like(scene.optical)
        no_sar = np.full_like(scene.sar, INPUTS.sar.nodata)
        inputs = [(scene.optical, scene.sar)]
        if scene.optical.any() and (scene.sar != INPUTS.sar.nodata).any():
            inputs += [(no_optical, scene.sar), (scene.optical, no_sar)]
        known = scene.label != IGNORE_INDEX
        for optical, sar in inputs:
            logits[role].append(_logits(predictor, optical, sar)[:, known])
            labels[role].append(scene.label[known])

    def error(role: str, temperature: float) -> float:
        scaled = np.exp(np.concatenate(logits[role], 1) / temperature)  # (6, pixels)
        right = scaled.argmax(0) == np.concatenate(labels[role])
        return expected_calibration_error(scaled.max(0) / scaled.sum(0), right)

    best = min(np.geomspace(0.5, 4.0, 61).tolist(), key=lambda t: error("development", t))
    return {
        "temperature": round(best, 3),
        "stored temperature": round(predictor.temperature, 3),
        "ece at 1, stored, best": {
            role: [round(error(role, t), 3) for t in (1.0, predictor.temperature, best)]
            for role in logits
        },
    }


def _logits(predictor: Predictor, optical: np.ndarray, sar: np.ndarray) -> np.ndarray:
    """Of one scene, (6, y, x) float32."""
    height, width = optical.shape[1:]
    pad = ((0, 0), (0, -height % 32), (0, -width % 32))
    chips = (np.pad(a, pad, mode="symmetric")[None].astype(np.float32) for a in (optical, sar))
    with torch.inference_mode():
        output = predictor.network(*map(torch.from_numpy, chips))
    return output.logits[0, :, :height, :width].float().numpy()


def picture(scene: RealScene, result: Prediction) -> Image.Image:
    """True colour, SAR, map, label, confidence and reliability side by side."""

    def stretch(a: np.ndarray, low: float, high: float) -> np.ndarray:
        return (255 * np.clip((a - low) / (high - low), 0, 1)).astype(np.uint8)

    optical, sar = scene.optical.astype(float), scene.sar / 100.0
    rgb = optical[[3, 2, 1]]
    shown = rgb[:, optical.any(axis=0)]
    low, high = np.percentile(shown, [1, 98]) if shown.size else (0, 1)
    palette = np.zeros((256, 3), np.uint8)
    for c in LULC6.classes:
        palette[c.code] = c.color
    label = np.full(result.lulc.shape, IGNORE_INDEX, np.uint8)
    label = label if scene.label is None else scene.label
    ratio = np.stack(
        [stretch(sar[0], -20, 0), stretch(sar[1], -27, -8), stretch(sar[0] - sar[1], 2, 14)], -1
    )
    panels = [
        np.moveaxis(stretch(rgb, low, high), 0, -1),
        ratio,
        palette[result.lulc],
        palette[LULC6.codes(label)],
        *(np.repeat(stretch(a, 0, 100)[..., None], 3, -1) for a in result[1:]),
    ]
    return Image.fromarray(np.hstack(panels))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--pictures", type=Path, help="folder for one PNG per scene")
    parser.add_argument("--calibrate", action="store_true", help="find the temperature, too")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    predictor = Predictor(load(args.checkpoint), threads=args.threads, batch=1)
    masked: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {}
    for scene in scenes(args.data):
        line, result = score(scene, predictor)
        print(json.dumps(line), flush=True)
        if scene.cloud is not None:
            known = scene.cloud != IGNORE_INDEX
            parts = masked.setdefault(scene.name.split()[0], [])
            parts.append((result.reliability[known], scene.cloud[known] == 0))
        if args.pictures:
            args.pictures.mkdir(parents=True, exist_ok=True)
            name = scene.name.replace(" ", "_").replace("%", "").replace("/", "_")
            picture(scene, result).save(args.pictures / f"{name}.png")
    pooled = {name: map(np.concatenate, zip(*p, strict=True)) for name, p in masked.items()}
    auc = {name: round(area_under_curve(*both), 3) for name, both in pooled.items()}
    print(json.dumps({"reliability AUC, clear against cloud and shadow": auc}))
    if args.calibrate:
        print(json.dumps(calibrate(predictor, list(scenes(args.data)))))


if __name__ == "__main__":
    main()
