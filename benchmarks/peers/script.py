"""What a good engineer would write in a day: land cover of one scene by rasterio and torch.

Usage: PYTHONPATH=. python benchmarks/peers/script.py --scenes FOLDER --checkpoint FILE
         --epsg 32631 --bounds LEFT BOTTOM RIGHT TOP --out FOLDER

Requirements: rasterio, torch, safetensors; `model` of this repository holds the network.

Windows of 512 px with 32 px of overlap a side are read by a thread of its own while the network
(eager, fp32, channels last) runs; cores are written to tiled GeoTIFFs, which become COGs at the
end. What it does not do: choose scenes, measure or screen clouds, check metadata against pixels,
co-register, blend the borders of chips, resume, several scenes or zones, other layers, STAC, Zarr.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import rasterio
import rasterio.shutil
import torch
import torch.nn.functional as F
from rasterio import Affine
from rasterio.enums import Resampling
from rasterio.windows import Window, bounds

from model import checkpoint
from model.inputs import InputSpec

CHIP, HALO, PIXEL = 512, 32, 10.0  # px, px a side, m
CORE = CHIP - 2 * HALO
BOA_OFFSET = 1000  # DN
LAYERS = ("lulc", "confidence", "reliability")

Chip = tuple[Window, torch.Tensor, torch.Tensor]


class Scene:
    """All bands of both sensors, opened once; windows count in px of 10 m.

    Bands of 20 and 60 m are sampled by GDAL while it reads, which takes a third of what a
    `WarpedVRT` takes; the area and its halo have to lie inside the scene, in the scene's CRS.
    """

    def __init__(self, folder: Path, inputs: InputSpec, transform: Affine, stack: ExitStack):
        self.inputs, self.transform = inputs, transform
        self.bands = {}
        for name in (*inputs.optical.names, *inputs.sar.names):
            (path,) = folder.glob(f"*_{name}.tif")
            self.bands[name] = stack.enter_context(rasterio.open(path))

    def read(self, window: Window) -> tuple[torch.Tensor, torch.Tensor]:
        """(1, 12, y, x) and (1, 2, y, x) float32 as the network takes them."""
        optical, sar = (
            np.empty((1, len(spec.names), CHIP, CHIP), np.float32)
            for spec in (self.inputs.optical, self.inputs.sar)
        )
        where = bounds(window, self.transform)
        for plane, name in zip(optical[0], self.inputs.optical.names, strict=True):
            stored = self._band(name, where)
            plane[:] = np.where(stored == 0, 0, np.maximum(stored.astype(np.int32) - BOA_OFFSET, 1))
        for plane, name in zip(sar[0], self.inputs.sar.names, strict=True):
            decibel = self._band(name, where)
            nodata = self.inputs.sar.nodata
            plane[:] = np.where(np.isnan(decibel), nodata, np.rint(decibel * 100))
        return torch.from_numpy(optical), torch.from_numpy(sar)

    def _band(self, name: str, where: tuple[float, float, float, float]) -> np.ndarray:
        file = self.bands[name]
        return file.read(
            1,
            window=file.window(*where),
            out_shape=(CHIP, CHIP),
            resampling=Resampling.bilinear,
        )


def chips(scene: Scene, width: int, height: int) -> Iterator[Chip]:
    """Windows with what they show, one read ahead."""
    windows = [
        Window(col, row, CHIP, CHIP)
        for row in range(0, height, CORE)
        for col in range(0, width, CORE)
    ]
    with ThreadPoolExecutor(1) as reader:
        ahead = reader.submit(scene.read, windows[0])
        for number, window in enumerate(windows):
            images = ahead.result()
            if number + 1 < len(windows):
                ahead = reader.submit(scene.read, windows[number + 1])
            yield window, *images


@torch.inference_mode()
def predict(network, loaded, optical: torch.Tensor, sar: torch.Tensor) -> list[np.ndarray]:
    """Class codes, confidence and reliability, each (y, x) uint8, of the chip's core."""
    output = network(
        optical.contiguous(memory_format=torch.channels_last),
        sar.contiguous(memory_format=torch.channels_last),
    )
    highest, index = (output.logits / loaded.temperature).softmax(1).max(1)
    trust = output.reliability[1].sigmoid()
    trust = F.interpolate(trust, size=index.shape[1:], mode="bilinear", align_corners=False)[:, 0]
    layers = [index, (100 * highest).round(), (100 * trust).round()]
    core = slice(HALO, CHIP - HALO)
    index, *others = (layer[0, core, core].to(torch.uint8).numpy() for layer in layers)
    return [loaded.legend.codes(index), *others]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scenes", type=Path, required=True)
    parser.add_argument("--checkpoint", required=True)
    parser.add_argument("--epsg", type=int, required=True)
    parser.add_argument("--bounds", type=float, nargs=4, required=True, help="of the map, m")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--threads", type=int, help="of torch")
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    args.out.mkdir(parents=True)

    loaded = checkpoint.load(args.checkpoint)
    network = loaded.network().to(memory_format=torch.channels_last)
    left, bottom, right, top = args.bounds
    width, height = round((right - left) / PIXEL), round((top - bottom) / PIXEL)
    profile = {
        "driver": "GTiff",
        "dtype": "uint8",
        "count": 1,
        "crs": f"EPSG:{args.epsg}",
        "transform": Affine(PIXEL, 0, left, 0, -PIXEL, top),
        "width": width,
        "height": height,
        "tiled": True,
        "compress": "DEFLATE",
        "zlevel": 1,
    }
    plain = {name: args.out / f"{name}.plain.tif" for name in LAYERS}
    with ExitStack() as stack:
        halo = HALO * PIXEL
        around = Affine(PIXEL, 0, left - halo, 0, -PIXEL, top + halo)
        scene = Scene(args.scenes, loaded.inputs, around, stack)
        files = [
            stack.enter_context(rasterio.open(path, "w", nodata=nodata, **profile))
            for path, nodata in zip(plain.values(), (0, 255, 255), strict=True)
        ]
        for window, optical, sar in chips(scene, width, height):
            # The window's place in the map: the halo around the whole was read, too.
            rows, cols = (min(CORE, n - int(at)) for n, at in
                          ((height, window.row_off), (width, window.col_off)))  # fmt: skip
            inner = Window(window.col_off, window.row_off, cols, rows)
            for file, layer in zip(files, predict(network, loaded, optical, sar), strict=True):
                file.write(layer[:rows, :cols], 1, window=inner)
    for name, path in plain.items():
        rasterio.shutil.copy(
            path,
            args.out / f"{name}.tif",
            driver="COG",
            compress="DEFLATE",
            overview_resampling="MODE" if name == "lulc" else "NEAREST",
            num_threads="ALL_CPUS",
        )
        path.unlink()


if __name__ == "__main__":
    main()
