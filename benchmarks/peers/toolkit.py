"""The same map by TorchGeo: its datasets, its grid sampler, a data loader, patches put together.

Usage: PYTHONPATH=. TOOLKIT/bin/python benchmarks/peers/toolkit.py --scenes FOLDER
         --checkpoint FILE --epsg 32631 --bounds LEFT BOTTOM RIGHT TOP --out FOLDER

Requirements, in an environment of its own: torch==2.13.0 torchgeo==0.8.1 safetensors==0.8.0
requests; 0.8.1 is the last for Python 3.11. `model` of this repository holds the network.

As TorchGeo's documentation and its maintainers' examples do it: `Sentinel2` and `Sentinel1` find
the files by their names and resample bands to 10 m, their intersection is read in patches of 512 px
with a stride of 448 by `GridGeoSampler`, workers of a `DataLoader` read while the network runs (the
numbers of workers and of patches a batch were chosen by trial, the fastest on two cores), and the
middle of each prediction is laid into the map at the patch's bounds. It does what
`benchmarks.peers.script` does, and no more.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import rasterio
import rasterio.shutil
import shapely
import torch
import torch.nn.functional as F
from rasterio import Affine
from torch.utils.data import DataLoader

from model import checkpoint

# Where torchvision's compiled operators do not fit torch's build, its import stops at the
# description of two of them. Neither is used here.
for _name in ("nms", "qnms"):
    torch.library.define(f"torchvision::{_name}", "(Tensor dets, Tensor scores, float t) -> Tensor")

from torchgeo.datasets import Sentinel1, Sentinel2, stack_samples  # noqa: E402
from torchgeo.samplers import GridGeoSampler  # noqa: E402

CHIP, HALO, PIXEL = 512, 32, 10.0  # px, px a side, m
CORE = CHIP - 2 * HALO
BOA_OFFSET = 1000  # DN
LAYERS = {"lulc": 0, "confidence": 255, "reliability": 255}  # name -> nodata


class Adjacent(Sentinel1):
    """Scenes of any day: an intersection would else keep only what was taken in one second.

    (Its own `spatial_only` leaves an index without times, of which `bounds` fails in 0.8.1.)
    """

    filename_regex = Sentinel1.filename_regex.replace("(?P<date>", "(?:")


def to_reflectance(sample: dict) -> dict:
    image = sample["image"]
    sample["image"] = torch.where(image == 0, image, (image.round() - BOA_OFFSET).clamp(min=1))
    return sample


def to_hundredths(sample: dict) -> dict:
    sample["image"] = (100 * sample["image"]).round().nan_to_num(nan=-32768.0)
    return sample


@torch.inference_mode()
def predict(network, loaded, images: torch.Tensor) -> list[np.ndarray]:
    """Class codes, confidence and reliability, each (n, y, x) uint8, of the patches' middles."""
    optical, sar = images.split((len(loaded.inputs.optical.bands), 2), dim=1)
    output = network(optical, sar)
    highest, index = (output.logits / loaded.temperature).softmax(1).max(1)
    trust = output.reliability[1].sigmoid()
    trust = F.interpolate(trust, size=index.shape[1:], mode="bilinear", align_corners=False)[:, 0]
    layers = [index, (100 * highest).round(), (100 * trust).round()]
    inner = slice(HALO, CHIP - HALO)
    index, *others = (layer[:, inner, inner].to(torch.uint8).numpy() for layer in layers)
    return [loaded.legend.codes(index), *others]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scenes", type=Path, required=True)
    parser.add_argument("--checkpoint", required=True)
    parser.add_argument("--epsg", type=int, required=True)
    parser.add_argument("--bounds", type=float, nargs=4, required=True, help="of the map, m")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--threads", type=int, help="of torch")
    parser.add_argument("--workers", type=int, default=1, help="processes that read")
    parser.add_argument("--batch", type=int, default=1, help="patches a batch")
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    args.out.mkdir(parents=True)

    loaded = checkpoint.load(args.checkpoint)
    network = loaded.network()
    optical, sar = loaded.inputs.optical.names, loaded.inputs.sar.names
    dataset = Sentinel2(args.scenes, bands=optical, transforms=to_reflectance) & Adjacent(
        args.scenes, bands=sar, transforms=to_hundredths
    )
    left, bottom, right, top = args.bounds
    halo = HALO * PIXEL
    around = shapely.box(left - halo, bottom - halo, right + halo, top + halo)
    sampler = GridGeoSampler(dataset, size=CHIP, stride=CORE, roi=around)
    loader = DataLoader(
        dataset,
        batch_size=args.batch,
        sampler=sampler,
        num_workers=args.workers,
        collate_fn=stack_samples,
    )

    width, height = round((right - left) / PIXEL), round((top - bottom) / PIXEL)
    maps = {name: np.zeros((height, width), np.uint8) for name in LAYERS}
    for batch in loader:
        layers = predict(network, loaded, batch["image"])
        for number, (xs, ys, _) in enumerate(batch["bounds"]):
            row = round((top - ys.stop) / PIXEL) + HALO
            col = round((xs.start - left) / PIXEL) + HALO
            rows, cols = slice(row, row + CORE), slice(col, col + CORE)
            for whole, layer in zip(maps.values(), layers, strict=True):
                place = whole[rows, cols]
                place[:] = layer[number, : place.shape[0], : place.shape[1]]

    profile = {"driver": "GTiff", "dtype": "uint8", "count": 1, "crs": f"EPSG:{args.epsg}"}
    profile |= {"width": width, "height": height, "tiled": True}
    profile |= {"transform": Affine(PIXEL, 0, left, 0, -PIXEL, top)}
    for name, pixels in maps.items():
        plain = args.out / f"{name}.plain.tif"
        with rasterio.open(plain, "w", nodata=LAYERS[name], **profile) as file:
            file.write(pixels, 1)
        rasterio.shutil.copy(
            plain,
            args.out / f"{name}.tif",
            driver="COG",
            compress="DEFLATE",
            overview_resampling="MODE" if name == "lulc" else "NEAREST",
            num_threads="ALL_CPUS",
        )
        plain.unlink()


if __name__ == "__main__":
    main()
