"""Renders a training set in CloudLULC-Set's layout from public single-pixel and 30 m data.

    python -m benchmarks.render_dataset DATA OUT [--train 2000 --val 200 --test 100 --size 128]

DATA holds `pixels/*.parquet` (WorldCereal's Sentinel-1 and -2 pixels), `labels/*.tif` (ESA
WorldCover) and `optical/hls_worldcover_306.npz` (harmonised Landsat and Sentinel-2 with WorldCover
labels). Nothing rendered is an observation: labels and spectra are real, their arrangement and
the backscatter are not. Places are split by groups of neighbouring images and pixels, so that val
and test are drawn from places that train never saw. `--real` of the train samples are no
renderings but mosaics of `series/` (real Sentinel-1 and -2 of every cloud cover with crop
declarations), `--scene` are crops of a real clear scene with rendered backscatter, and a part of
the cloudy images shows real cloud decks (`optical/`).
"""

from __future__ import annotations

import argparse
import csv
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import rasterio
from rasterio.windows import Window

from benchmarks.real_patches import read_clear_scene, read_decks, read_series, series_sample
from model.clouds import simulate_clouds
from model.inputs import INPUTS, SENTINEL2_L2A
from model.layout import BARREN, BUILT, CROP, FOREST, GRASS, WATER, layout
from model.legend import IGNORE_INDEX, WORLDCOVER_TO_LULC6, crosswalk
from model.render import Sample, Signatures, observe, render_image, render_layout, signatures

SPLITS = {"train": 1, "val": 2, "test": 3}
# WorldCereal's land-cover legend, where it agrees with WorldCover: (theirs, WorldCover's) -> ours.
_AGREED = {
    WATER: ({70}, {80}),
    FOREST: ({40, 41, 42, 98, 99}, {10}),
    GRASS: ({13, 20, 30}, {20, 30}),
    BARREN: ({50}, {60, 30, 40}),
    BUILT: ({60}, {50, 60}),
    CROP: ({10, 11, 12}, {40}),
}
_MONTH_COLUMNS = {
    "B02": "OPTICAL-B02-ts{}-10m",
    "B03": "OPTICAL-B03-ts{}-10m",
    "B04": "OPTICAL-B04-ts{}-10m",
    "B05": "OPTICAL-B05-ts{}-20m",
    "B06": "OPTICAL-B06-ts{}-20m",
    "B07": "OPTICAL-B07-ts{}-20m",
    "B08": "OPTICAL-B08-ts{}-10m",
    "B8A": "OPTICAL-B8A-ts{}-20m",
    "B11": "OPTICAL-B11-ts{}-20m",
    "B12": "OPTICAL-B12-ts{}-20m",
    "VV": "SAR-VV-ts{}-20m",
    "VH": "SAR-VH-ts{}-20m",
}


def read_pixels(folder: Path) -> pd.DataFrame:
    """One row per pixel and month: bands, VV and VH (coded), label (class index), season, place."""
    tables = []
    for path in sorted(folder.glob("*.parquet")):
        raw = pd.read_parquet(path)
        label = _labels(raw)
        place = np.floor(raw.lat) * 1000 + np.floor(raw.lon)
        if "timestamp" in raw:
            one = raw.rename(columns=lambda c: c.replace("S2-L2A-", "").replace("S1-SIGMA0-", ""))[
                [b for b in _MONTH_COLUMNS if b != "B8A"]
            ].astype(float)
            one["B8A"] = one.B08 * 1.04
            months = pd.to_datetime(raw.timestamp).dt.month - 1
            tables.append(one.assign(label=label, season=_season(months, raw.lat), place=place))
            continue
        start = pd.to_datetime(raw.start_date).dt.month - 1
        for step in range(12):
            one = pd.DataFrame({b: raw[c.format(step)] for b, c in _MONTH_COLUMNS.items()})
            season = _season((start + step) % 12, raw.lat)
            tables.append(one.assign(label=label, season=season, place=place))
    return _without_junk(pd.concat(tables, ignore_index=True))


def _season(month: pd.Series, lat: pd.Series) -> np.ndarray:
    """Months since January (north) or July (south)."""
    return np.where(lat >= 0, month, (month + 6) % 12).astype(np.int64)


def _labels(raw: pd.DataFrame) -> np.ndarray:
    if "finetune_class" in raw:
        return (
            raw.finetune_class.map({"temporary_crops": CROP, "trees": FOREST, "built_up": BUILT})
            .fillna(IGNORE_INDEX)
            .to_numpy(np.uint8)
        )
    label = np.full(len(raw), IGNORE_INDEX, np.uint8)
    for index, (theirs, worldcover) in _AGREED.items():
        both = raw.LANDCOVER_LABEL.isin(theirs) & raw["WORLDCOVER-LABEL-10m"].isin(worldcover)
        label[both.to_numpy()] = index
    return label


def _without_junk(t: pd.DataFrame) -> pd.DataFrame:
    """Drops missing values (65535, 0), snow, cloud left in the composites, and odd backscatter."""
    bands = list(_MONTH_COLUMNS)
    t = t[(t[bands] < 65535).all(axis=1) & (t[bands] > 0).all(axis=1) & (t.label != 255)].copy()
    t[["VV", "VH"]] = 20.0 * np.log10(t[["VV", "VH"]]) - 83.0
    brightest = t.label.map({WATER: 1600, FOREST: 900, GRASS: 1500, BARREN: 3500, BUILT: 3000})
    keep = t.B02 < brightest.fillna(1600)
    keep &= (t.B03 - t.B11) / (t.B03 + t.B11) < np.where(t.label == WATER, 2.0, 0.1)
    keep &= (t.label != WATER) | ((t.B11 < 900) & (t.VV < -11))
    keep &= (t.label == WATER) | ((t.B11 > 500) & (t.VV > -20))
    keep &= (t.label != FOREST) | ((t.B08 > 1200) & (t.VH > -19))
    keep &= (t.VV - t.VH).between(0, 18)
    return t[keep]


def to_signatures(t: pd.DataFrame, rng: np.random.Generator) -> Signatures:
    """Signatures of at most 4,000 rows per class."""
    rows = []
    for index in sorted(t.label.unique()):
        at = np.flatnonzero(t.label == index)
        rows.append(rng.choice(at, min(len(at), 4000), replace=False))
    t = t.iloc[np.concatenate(rows)]
    t = t.assign(
        B01=t.B02 * rng.normal(0.82, 0.06, len(t)).clip(0.6, 1.0),
        B09=t.B8A * rng.normal(1.0, 0.05, len(t)).clip(0.8, 1.1),
    )
    return signatures(
        t[list(SENTINEL2_L2A.names)].to_numpy(np.float32),
        t[["VV", "VH"]].to_numpy(np.float32),
        t.label.to_numpy(np.uint8),
        t.season.to_numpy(),
    )


def read_images(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Images (n, 7, y, x) float32 reflectance x 1e4 > 0 and their labels (n, y, x) uint8."""
    with np.load(path) as z:
        optical, fmask, worldcover = z["optical"], z["fmask"], z["worldcover"]
    label = crosswalk(worldcover, WORLDCOVER_TO_LULC6)
    # HLS Fmask bits: 1 cloud, 3 shadow, 4 snow; 255 no data.
    label[((fmask & 0b11010) > 0) | (fmask == 255) | (optical <= 0).any(axis=1)] = IGNORE_INDEX
    usable = (label != IGNORE_INDEX).mean(axis=(1, 2)) > 0.6
    return np.maximum(optical[usable], 10).astype(np.float32), label[usable]


def read_tile_crops(folder: Path, rng: np.random.Generator, count: int) -> list[np.ndarray]:
    """Crops (size, size) uint8 class index of WorldCover tiles that hold more than one class."""
    crops = []
    with rasterio.open(sorted(folder.glob("*.tif"))[-1]) as tile:
        small = tile.read(1, out_shape=(tile.height // 100, tile.width // 100))
        land = np.argwhere((small != 0) & (small != 80))
        for y, x in land[rng.permutation(len(land))[: 4 * count]]:
            codes = tile.read(1, window=Window(int(x) * 100 - 64, int(y) * 100 - 64, 256, 256))
            label = crosswalk(codes, WORLDCOVER_TO_LULC6)
            common = np.bincount(label.ravel(), minlength=256).max() / label.size
            if label.shape == (256, 256) and common < 0.97:
                crops.append(label)
    return crops[:count]


class Material:
    """What one split is rendered from; read once in each worker process."""

    def __init__(self, data: Path, split: str):
        rng = np.random.default_rng(SPLITS[split])
        pixels = read_pixels(data / "pixels")
        group = (pixels.place.to_numpy().astype(np.int64) * 2654435761 >> 7) % 10
        part = {"train": group < 8, "val": group == 8, "test": group == 9}[split]
        self.known = to_signatures(pixels[part], rng)
        images, labels = read_images(data / "optical" / "hls_worldcover_306.npz")
        group = np.arange(len(images)) // 9 % 10  # neighbours in the file may be neighbours outside
        part = {"train": group < 8, "val": group == 8, "test": group == 9}[split]
        self.images, self.labels = images[part], labels[part]
        share = np.stack([(self.labels == c).mean(axis=(1, 2)) for c in range(6)], 1)
        weight = 1.0 + share @ np.array([4.0, 0.0, 0.5, 40.0, 25.0, 0.0])
        self.weight = weight / weight.sum()
        self.crops = read_tile_crops(data / "labels", rng, 60)
        self.decks = read_decks(data)
        self.scene = read_clear_scene(data)

    def sample(self, size: int, rng: np.random.Generator) -> Sample:
        recipe = rng.uniform()
        i = rng.choice(len(self.images), p=self.weight)
        if recipe < 0.55:
            zoom = int(rng.choice([1, 2, 3], p=[0.35, 0.4, 0.25]))
            image, label = _crop(self.images[i], self.labels[i], -(-size // zoom), rng)
            sample = render_image(image, label, self.known, rng, zoom)
            sample = Sample(*(a[..., :size, :size] for a in sample))
            return self._with_hamlets(sample, rng) if rng.uniform() < 0.4 else sample
        base = None
        if recipe < 0.75:
            side = size // int(rng.integers(2, 5))
            _, base = _crop(self.images[i], self.labels[i], side, rng)
        elif recipe < 0.85 and self.crops:
            side = int(rng.integers(size // 2, size + 1))
            crop = self.crops[rng.integers(len(self.crops))]
            _, base = _crop(crop[None], crop, side, rng)
        return render_layout(layout((size, size), rng, base), self.known, rng)

    def _with_hamlets(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Hamlets, roads and rivers at 10 m, which images of 30 m do not show."""
        nothing = np.full((2, 2), IGNORE_INDEX, np.uint8)
        drawn = render_layout(layout(sample.label.shape, rng, nothing), self.known, rng)
        there = drawn.label != IGNORE_INDEX
        return Sample(*(np.where(there, b, a) for a, b in zip(sample, drawn, strict=True)))

    def of_scene(self, size: int, rng: np.random.Generator) -> Sample:
        """A crop of the real clear scene, with backscatter of the likes of its pixels."""
        image, likely, sure = self.scene
        y, x = (int(rng.integers(n - size + 1)) for n in likely.shape)
        window = (..., slice(y, y + size), slice(x, x + size))
        sample = render_image(image[window], likely[window], self.known, rng, 1)
        return sample._replace(label=sure[window])

    def under_deck(self, optical: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """A crop of a real cloud deck over an image (12, y, x) uint16, nearly opaque."""
        deck = self.decks[rng.integers(len(self.decks))]
        size = optical.shape[1]
        y, x = (int(rng.integers(n - size + 1)) for n in deck.shape[1:])
        deck = np.rot90(deck[:, y : y + size, x : x + size], int(rng.integers(4)), (1, 2))
        seen = rng.uniform(0.0, 0.35)
        cloudy = rng.uniform(0.7, 1.5) * (1 - seen) * deck + seen * optical
        return np.clip(np.rint(cloudy), 1, 20000).astype(np.uint16)


def _crop(image: np.ndarray, label: np.ndarray, side: int, rng: np.random.Generator):
    side = min(side, *label.shape)
    y, x = (int(rng.integers(n - side + 1)) for n in label.shape)
    return image[:, y : y + side, x : x + side], label[y : y + side, x : x + side]


def render(
    data: Path, out: Path, split: str, numbers: range, size: int, seed: int, real: int, scene: int
) -> list[dict]:
    """Writes samples of one split, of which the first `real` are of the series and the next `scene`
    of the clear scene; returns their rows of the split's CSV."""
    material = Material(data, split)
    places = [read_series(folder) for folder in sorted((data / "series").iterdir())]
    rows = []
    for number in numbers:
        rng = np.random.default_rng([seed, SPLITS[split], number])
        if number < real:
            cloudy, optical, sar, label = series_sample(places, size, rng)
        else:
            of_scene = number < real + scene
            sample = material.of_scene(size, rng) if of_scene else material.sample(size, rng)
            optical, sar = observe(sample, rng)
            label, cloudy, how = sample.label, optical, rng.uniform()
            if how < 0.2:
                cloudy = material.under_deck(optical, rng)
            elif how < 0.85:
                cloudy = simulate_clouds(optical, rng, rng.uniform()).optical
        name = f"{split}_{number:05d}.tif"
        row = {"split_id": SPLITS[split]}
        for column, folder, array in (
            ("sar_vh", "SAR_S1/VH", sar[1:2]),
            ("sar_vv", "SAR_S1/VV", sar[0:1]),
            ("opt_cloudy", "Opt_S2_cloudy", cloudy),
            ("opt_clear", "Opt_S2_clear", optical),
            ("label", "Label", label[None]),
        ):
            row[column] = f"{folder}/{name}"
            _write(out / row[column], array)
        rows.append(row)
    return rows


def _write(path: Path, array: np.ndarray) -> None:
    nodata = {"uint8": IGNORE_INDEX, "int16": INPUTS.sar.nodata, "uint16": 0}[array.dtype.name]
    path.parent.mkdir(parents=True, exist_ok=True)
    bands, height, width = array.shape
    with rasterio.open(
        path, "w", driver="GTiff", count=bands, height=height, width=width, dtype=array.dtype,
        nodata=nodata, compress="zstd", zstd_level=1, predictor=2,
        crs="EPSG:32633", transform=rasterio.transform.from_origin(500000, 5000000, 10, 10),
    ) as file:  # fmt: skip
        file.write(array)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("data", type=Path, help="folder with pixels/, labels/, optical/, series/")
    parser.add_argument("out", type=Path, help="folder to write")
    for split, count in (("train", 2000), ("val", 200), ("test", 100)):
        parser.add_argument(f"--{split}", type=int, default=count, help="samples")
    parser.add_argument("--real", type=int, default=0, help="of the train samples, from series/")
    parser.add_argument("--scene", type=int, default=0, help="of the train samples, from T48QUE")
    parser.add_argument("--size", type=int, default=128, help="pixels per side")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2)
    args = parser.parse_args()
    (args.out / "split").mkdir(parents=True, exist_ok=True)
    for split in SPLITS:
        count = getattr(args, split)
        taken = (args.real, args.scene) if split == "train" else (0, 0)
        edges = np.linspace(0, count, args.workers + 1).astype(int)
        common = args.data, args.out, split
        with ProcessPoolExecutor(args.workers) as pool:
            parts = [
                pool.submit(render, *common, range(a, b), args.size, args.seed, *taken)
                for a, b in zip(edges[:-1], edges[1:], strict=True)
            ]
            rows = [row for part in parts for row in part.result()]
        with open(args.out / "split" / f"{split}.csv", "w", newline="") as file:
            writer = csv.DictWriter(
                file, ["split_id", "sar_vh", "sar_vv", "opt_cloudy", "opt_clear", "label"]
            )
            writer.writeheader()
            writer.writerows(rows)
        print(f"{split}: {count} samples", flush=True)


if __name__ == "__main__":
    main()
