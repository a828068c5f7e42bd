"""Scores and pictures of a checkpoint on real scenes that no training sample was made from.

    python -m benchmarks.score_real DATA CHECKPOINT [--pictures FOLDER] [--calibrate]

DATA holds the folders `pairs/`, `teacher/`, `optical/` and `clouds/`. Prints one JSON line per
scene, one of how well the written reliability parts clear pixels from masked ones (the dates of a
place together) and, if asked, a last one: the temperature that calibrates the development scenes
best, and the calibration error of each group. Checkpoints may be chosen by the scores of
`DEVELOPMENT` places; the others are held out. What the labels are differs (`real_scenes`) and is
printed with each score; of "patch" only the share of pixels that fall in any of its classes can be
told.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from benchmarks.real_scenes import RealScene, scenes
from model.checkpoint import load
from model.clouds import simulate_clouds
from model.inputs import INPUTS
from model.legend import IGNORE_INDEX, LULC6
from model.metrics import (
    area_under_curve,
    confusion_matrix,
    expected_calibration_error,
    scores,
)
from model.predict import Prediction, Predictor

COVERS = (0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 1.0)

DEVELOPMENT = ("ROIs1970_fall_139_p839", "ssl4eo", "nigeria")
"""How the names of the scenes start that checkpoints are chosen by."""


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
