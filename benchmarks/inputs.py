"""The offset state of every real scene, and planted edge defects: what is found and what is not.

    python -m benchmarks.inputs DATA [--only offsets|defects|clouds] > results.jsonl

DATA holds `pairs/`, `optical/`, `clouds/` and `series/`. Offset: every scene as it is and with the
offset added (or removed) by hand. "crop" are the dates of 640 m series, most of them cloudy, some
without any visible band: no scenes, but a hard test of never being wrong. Defects: a swath's edge
slants through the scene; beyond it lie zeros that nobody declared, along it stripes of DN 1
(1-3 px in every band, then 2 px in half of them) or SAR noise (normal, -38 +- 4 dB, 5-40 px deep).
False alarms are counted on the scenes as they are and with the same edge declared as nodata. "in
chips" is what the planted scene's chips flag as without data, beside what a clean edge leaves.
"""

from __future__ import annotations

import argparse
import json
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import rasterio

from benchmarks.real_scenes import scenes as real_scenes
from model.inputs import INPUTS
from transforms.grid import GeoBox
from transforms.pixels.cloudmask import UKIS_CSMASK, check_cloud_mask, cloud_and_shadow
from transforms.pixels.edges import find_defects
from transforms.pixels.offset import ABSENT, PRESENT, UNDETERMINED, find_offset
from transforms.pixels.prepare import PixelOptions, optical_pass
from transforms.pixels.sentinel2 import optical_valid
from transforms.scene import SENTINEL1, SENTINEL2, Asset, Raster, Scene

L2A = INPUTS.optical.names
L1C = (*L2A[:10], "B10", *L2A[10:])
WITH_OFFSET = ("patch_0", "patch_1", "patch_100", "patch_1000", "patch_100000")  # of hydro
CLEAR_SCL = (2, 4, 5, 6, 7, 11)
ALARMS = ("false", "false, clean", "false, cut")
NOISE_DB = (-38.0, 4.0)  # mean and deviation of the planted noise


class Sample(NamedTuple):
    name: str
    kind: str  # "scene" or "crop"
    level: str
    bands: tuple[str, ...]
    stored: np.ndarray  # (band, y, x) int32, reflectance x 1e4 as stored, 0 nodata
    truth: str | None  # None: nobody knows
    clear: float | None = None  # share that is screened as clear


def samples(data: Path) -> Iterator[Sample]:
    def pixels(path: Path, **how) -> np.ndarray:
        with rasterio.open(path) as file:
            return file.read(**how).astype(np.int32).clip(0)

    pairs = data / "pairs"
    files = [*pairs.glob("sen12mscr/s2*/*.tif"), *pairs.glob("sen12mscr_nigeria/*s2*.tif")]
    files += [*pairs.glob("sen1floods11/S2/*.tif"), *data.glob("optical/copernicusfm_nz/*.tif")]
    for path in sorted(files):
        yield Sample(f"{path.parent.name} {path.stem}", "scene", "L1C", L1C, pixels(path), ABSENT)
    for scene in real_scenes(data):
        if "ssl4eo" in scene.name or "bigearthnet" in scene.name:
            level = "L1C" if "s2c" in scene.name else "L2A"
            yield Sample(scene.name, "scene", level, L2A, scene.optical.astype(np.int32), ABSENT)
    with np.load(data / "optical/slovenia_l1c_5dates.npz") as z:
        for image, date in zip(z["l1c"], z["timestamps"], strict=True):
            stored = np.rint(1e4 * image.transpose(2, 0, 1)).astype(np.int32)
            yield Sample(f"slovenia {date}", "scene", "L1C", L1C, stored, ABSENT)
    for path in sorted((data / "optical/hydro").glob("*.tif")):
        truth = PRESENT if path.stem in WITH_OFFSET else ABSENT
        truth = None if path.stem == "patch_10000" else truth  # cloud from edge to edge, undated
        yield Sample(f"hydro {path.stem}", "scene", "L2A", L2A, pixels(path), truth)
    for folder in sorted((data / "optical/majortom_s2l2a").glob("*/*/*")):
        planes = [pixels(folder / f"{b}.tif", out_shape=(1, 534, 534))[0] for b in L2A]
        truth = PRESENT if "_N0400_" in folder.name else ABSENT
        yield Sample(folder.name, "scene", "L2A", L2A, np.stack(planes), truth)
    with np.load(data / "clouds/s2_512_reflectance_and_mask.npz") as z:
        stored = np.rint(1e4 * z["img"].transpose(2, 0, 1)).astype(np.int32)
        bands = ("B02", "B03", "B04", "B08", "B11", "B12")
        yield Sample("ukis-csmask", "scene", "L1C", bands, stored, ABSENT)
    yield from _crops(data)


def _crops(data: Path) -> Iterator[Sample]:
    for path in sorted(data.glob("series/*/S2_L2A_20m*.nc")):
        ten = path.with_name(path.name.replace("20m", "10m"))
        planes = {}
        for file, names in ((path, L2A[4:7] + L2A[8:9] + L2A[10:] + ("SCL",)), (ten, L2A[1:8])):
            for band in names if file.exists() else ():
                if file is path or band in ("B02", "B03", "B04", "B08"):
                    with rasterio.open(f"netcdf:{file}:{band}") as opened:
                        step = 1 if file is path else 2
                        planes[band] = opened.read()[:, ::step, ::step].astype(np.int32)
        scl = planes.pop("SCL")
        for date, classes in enumerate(scl):
            stored = np.stack([p[date] for p in planes.values()])
            clear = float(np.isin(classes, CLEAR_SCL).mean())
            name = f"{path.parent.name[:16]} date {date}"
            yield Sample(name, "crop", "L2A", tuple(planes), stored, ABSENT, clear)


def scene_of(bands: tuple[str, ...], sensor: str, level: str = "", nodata=None) -> Scene:
    scale, unit = (1e-4, "") if sensor == SENTINEL2 else (1.0, "dB")
    assets = tuple(Asset(b, "", scale=scale, nodata=nodata) for b in bands)
    return Scene("", sensor, None, None, None, (0, 0, 1, 1), level=level, unit=unit, assets=assets)


def raster_of(pixels: np.ndarray, bands: tuple[str, ...], nodata: float) -> Raster:
    return Raster(pixels, GeoBox(32633, 0, 0, 10, *pixels.shape[:0:-1]), bands, nodata)


def offsets(every: list[Sample]) -> None:
    counts: dict[tuple[str, str], Counter] = {}
    for sample in every:
        data = sample.stored > 0
        added = np.where(data, sample.stored + 1000, 0)
        removed = np.where(data, np.maximum(sample.stored - 1000, 1), 0)
        states = [("as it is", sample.stored, sample.truth)]
        if sample.truth == ABSENT:
            states.append(("offset added", added, PRESENT))
        elif sample.truth == PRESENT:
            states.append(("offset removed", removed, ABSENT))
        for how, stored, truth in states:
            found = find_offset(
                raster_of(stored, sample.bands, 0),
                scene_of(sample.bands, SENTINEL2, sample.level, 0),
                sample.clear,
            )
            wrong = truth and found.state not in (truth, UNDETERMINED)
            result = "wrong" if wrong else "right" if found.state == truth else UNDETERMINED
            counts.setdefault((sample.kind, how), Counter())[result] += 1
            if result == "wrong" or (result == UNDETERMINED and sample.kind == "scene"):
                line = {"scene": sample.name, "how": how, "result": result, "why": found.reason}
                print(json.dumps(line))
    for (kind, how), count in counts.items():
        print(json.dumps({"offset": kind, "how": how} | count))


def edge(shape: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """(y, x) int, columns from a slanting edge; negative outside of the swath."""
    start, slope = shape[1] * rng.uniform(0.1, 0.3), rng.uniform(-0.2, 0.2)
    line = start + slope * np.arange(shape[0])
    return np.arange(shape[1])[None] - np.rint(line).astype(int)[:, None]


def recall(found: np.ndarray, planted: np.ndarray) -> float:
    return float(found[planted].mean())


def defects(every: list[Sample], sar: list[tuple[str, np.ndarray]]) -> None:
    lines = []
    for number, sample in enumerate(s for s in every if s.kind == "scene"):
        rng = np.random.default_rng(number)
        stored, count = sample.stored, len(sample.bands)
        if (stored == 0).all(axis=0).any():
            continue
        clean = find_defects(
            raster_of(stored, sample.bands, np.nan), scene_of(sample.bands, SENTINEL2)
        )
        column = edge(stored.shape[1:], rng)
        outside, width = column < 0, int(rng.integers(1, 4))
        whole = (column >= 0) & (column < width)
        half = (column >= width) & (column < width + 2)
        planted = np.where(outside, 0, np.where(whole, 1, stored))
        cut = np.where(outside, 0, stored)
        some = rng.permutation(count)[: -(-count // 2)]
        planted[some] = np.where(half, 1, planted[some])
        scene, declared = (scene_of(sample.bands, SENTINEL2, nodata=n) for n in (None, 0))
        found = find_defects(raster_of(planted, sample.bands, np.nan), scene)
        again = find_defects(raster_of(cut, sample.bands, np.nan), declared)
        empty, bare = (in_chips(p, sample) for p in (planted, cut))
        lines.append(
            {
                "scene": sample.name,
                "zeros": recall(found.zeros, outside),
                "stripes": recall(found.stripes, whole | half),
                "stripes in chips": recall(empty, whole | half),
                "false in chips": float((empty & ~bare)[column >= width + 2].mean()),
                "false": float(found.any[column >= width + 2].mean()),
                "false, clean": float(clean.any.mean()),
                "false, cut": float(again.any.mean()),
            }
        )
    chips = ("stripes in chips",), ("false in chips",)
    _report("optical", lines, ("zeros", "stripes", *chips[0]), (*ALARMS, *chips[1]))
    lines = []
    for number, (name, decibel) in enumerate(sar):
        rng = np.random.default_rng(number)
        scene = scene_of(("VV", "VH"), SENTINEL1)
        column = edge(decibel.shape[1:], rng)
        outside, depth = column < 0, int(rng.integers(5, 41))
        noise = (column >= 0) & (column < depth)
        cut = np.where(outside, np.nan, decibel)
        planted = np.where(noise, rng.normal(*NOISE_DB, decibel.shape), cut)
        zeroed = np.where(outside, 0, decibel)
        found, again, clean, zeros = (
            find_defects(raster_of(p, ("VV", "VH"), np.nan), scene)
            for p in (planted, cut, decibel, zeroed)
        )
        lines.append(
            {
                "scene": name,
                "noise": recall(found.noise, noise),
                "zeros": recall(zeros.zeros, outside),
                "false": float(found.any[column >= depth].mean()),
                "false, clean": float(clean.any.mean()),
                "false, cut": float(again.any.mean()),
            }
        )
    _report("SAR", lines, ("noise", "zeros"), ALARMS)


def in_chips(stored: np.ndarray, sample: Sample) -> np.ndarray:
    """(y, x) bool, what chips made of these stored numbers flag as without optical data."""
    scene = scene_of(sample.bands, SENTINEL2, sample.level)
    scene = scene._replace(missing=tuple(b for b in L2A if b not in sample.bands))
    raster = raster_of(stored, sample.bands, 0)

    def read(scene: Scene, box: GeoBox, bands: tuple[str, ...]) -> Raster:
        planes = raster.pixels[[sample.bands.index(b) for b in bands]]
        return raster._replace(pixels=planes, bands=bands, geobox=box)

    # Without what screens for clouds: its bands are not looked at here.
    scene = scene._replace(level="L2A")
    seen = optical_pass((scene,), raster.geobox, read, PixelOptions())
    return ~optical_valid(seen.pixels)


def clouds(data: Path) -> None:
    """The deep cloud mask on its package's reference scene, whose pixels are taken for 10 m."""
    try:
        check_cloud_mask(UKIS_CSMASK)
    except ValueError as error:
        print(json.dumps({"clouds": "skipped", "why": str(error)}))
        return
    with np.load(data / "clouds/s2_512_reflectance_and_mask.npz") as z:
        stored, truth = np.rint(1e4 * z["img"]).astype(np.uint16), z["msk"][..., 0]
    found = cloud_and_shadow(np.moveaxis(stored, -1, 0), "L1C")
    for name, mask, code in zip(("cloud", "shadow"), found, (4, 0), strict=True):
        true = truth == code
        hit = float((mask & true).sum())
        line = {"clouds": name, "recall": hit / true.sum(), "precision": hit / mask.sum()}
        line["iou"] = hit / (mask | true).sum()
        print(json.dumps({k: v if k == "clouds" else round(float(v), 3) for k, v in line.items()}))


def _report(
    kind: str, lines: list[dict], planted: tuple[str, ...], alarms: tuple[str, ...]
) -> None:
    for line in lines:
        if min(line[p] for p in planted) < 0.95 or max(line[a] for a in alarms) > 0:
            print(json.dumps(line))
    result = {"defects": kind, "scenes": len(lines)}
    result |= {f"recall of {p}": round(float(np.mean([x[p] for x in lines])), 4) for p in planted}
    result |= {f"worst recall of {p}": round(min(x[p] for x in lines), 4) for p in planted}
    for alarm in alarms:
        shares = np.array([x[alarm] for x in lines])
        result[f"{alarm}, pixels"] = round(float(shares.mean()), 6)
        result[f"{alarm}, scenes with > 0.1 %"] = int((shares > 1e-3).sum())
    print(json.dumps(result))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--only", choices=("offsets", "defects", "clouds"))
    args = parser.parse_args()
    if args.only in (None, "clouds"):
        clouds(args.data)
    if args.only == "clouds":
        return
    warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
    every = list(samples(args.data))
    if args.only != "defects":
        offsets(every)
    if args.only == "offsets":
        return
    sar = {
        scene.sar.tobytes(): (scene.name, scene.sar / 100.0)
        for scene in real_scenes(args.data)
        # Warped without nodata, the SAR of ssl4eo has real zeros that pass for data: read below.
        if (scene.sar != INPUTS.sar.nodata).all() and not scene.name.startswith("ssl4eo")
    }
    for folder in sorted((args.data / "pairs/ssl4eo/s1").iterdir()):
        planes = [rasterio.open(folder / f"{p}.tif").read(1) for p in ("VV", "VH")]
        sar[folder.name] = folder.name, np.stack(planes).astype(float)
    defects(every, list(sar.values()))


if __name__ == "__main__":
    main()
