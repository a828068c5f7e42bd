"""The peer of the mosaic job: gdalwarp onto the product's grid, gdal_translate to a COG, per layer.

Usage: python benchmarks/peers/mosaic_gdal.py MAPS OUT --te W S E N --size WIDTH HEIGHT
         --class-layer lulc LAYER ... [--programs FOLDER] [--at-once 1] [--exact]

MAPS holds what a script that classifies leaves: a GeoTIFF per layer and UTM tile,
`<layer>_<tile>.tif`. Needs GDAL: its programs in FOLDER, or, where none is named, the library that
rasterio (any recent one from PyPI) brings along, whose GDALWarp and GDALTranslate are all that the
programs consist of: same build as ours, none of whose choices can then make a difference.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

Run = Callable[[str, list[str], list[Path], Path], None]
"""(program, its options, files to read, file to write)"""


def make_layer(
    run: Run,
    sources: list[Path],
    target: Path,
    box: list[str],
    size: list[str],
    classes: bool,
    exact: bool,
) -> None:
    """One layer of all UTM tiles as a COG, by way of a tiled, quickly compressed GeoTIFF."""
    warped = target.with_suffix(".warped.tif")
    # By default gdalwarp interpolates coordinates to an eighth of a pixel.
    tolerance = ["-et", "0"] if exact else []
    warp = ["-t_srs", "EPSG:4326", "-te", *box, "-ts", *size, "-r", "near"]
    warp += ["-multi", "-wo", "NUM_THREADS=2", "-wm", "256", "-co", "TILED=YES"]
    warp += ["-co", "BLOCKXSIZE=512", "-co", "BLOCKYSIZE=512"]
    warp += ["-co", "COMPRESS=ZSTD", "-co", "ZSTD_LEVEL=1", "-co", "NUM_THREADS=2"]
    run("gdalwarp", warp + tolerance, sources, warped)
    cog = ["-of", "COG", "-co", "COMPRESS=DEFLATE", "-co", "BLOCKSIZE=512"]
    cog += ["-co", "NUM_THREADS=2"]
    cog += ["-co", f"OVERVIEW_RESAMPLING={'MODE' if classes else 'NEAREST'}"]
    run("gdal_translate", cog, [warped], target)
    warped.unlink()


def by_programs(folder: str) -> Run:
    def run(program: str, options: list[str], sources: list[Path], target: Path) -> None:
        subprocess.run([f"{folder}/{program}", "-q", *options, *sources, target], check=True)

    return run


def by_library() -> Run:
    """As the programs do it, in this process, by the library that rasterio brings along."""
    import rasterio

    package = Path(rasterio.__file__).parent
    os.environ |= {f"{n}_DATA": str(package / f"{n.lower()}_data") for n in ("GDAL", "PROJ")}
    (path,) = package.with_name("rasterio.libs").glob("libgdal*")
    gdal = ctypes.CDLL(str(path))
    for name in ("GDALOpenEx", "GDALWarpAppOptionsNew", "GDALTranslateOptionsNew"):
        getattr(gdal, name).restype = ctypes.c_void_p
    gdal.GDALWarp.restype = gdal.GDALTranslate.restype = ctypes.c_void_p
    gdal.GDALAllRegister()

    def run(program: str, options: list[str], sources: list[Path], target: Path) -> None:
        texts = (ctypes.c_char_p * (len(options) + 1))(*[o.encode() for o in options], None)
        opened = [
            ctypes.c_void_p(gdal.GDALOpenEx(str(s).encode(), 2, *[None] * 3)) for s in sources
        ]
        name, wrong = str(target).encode(), ctypes.c_int()
        if program == "gdalwarp":
            given = ctypes.c_void_p(gdal.GDALWarpAppOptionsNew(texts, None))
            handles = (ctypes.c_void_p * len(opened))(*opened)
            made = gdal.GDALWarp(name, None, len(opened), handles, given, ctypes.byref(wrong))
        else:
            given = ctypes.c_void_p(gdal.GDALTranslateOptionsNew(texts, None))
            made = gdal.GDALTranslate(name, opened[0], given, ctypes.byref(wrong))
        if not made:
            raise RuntimeError(f"{program} {options} {sources} failed")
        for dataset in (ctypes.c_void_p(made), *opened):
            gdal.GDALClose(dataset)

    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("maps", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("layers", nargs="+")
    parser.add_argument("--te", nargs=4, required=True)
    parser.add_argument("--size", nargs=2, required=True)
    parser.add_argument("--class-layer", required=True)
    parser.add_argument("--programs")
    parser.add_argument("--at-once", type=int, default=1, help="layers at a time")
    parser.add_argument("--exact", action="store_true", help="project every pixel by itself")
    args = parser.parse_args()
    run = by_programs(args.programs) if args.programs else by_library()

    def make(layer: str) -> None:
        sources = sorted(args.maps.glob(f"{layer}_*.tif"))
        target, classes = args.out / f"{layer}.tif", layer == args.class_layer
        make_layer(run, sources, target, args.te, args.size, classes, args.exact)

    began = time.perf_counter()
    with ThreadPoolExecutor(args.at_once) as pool:
        list(pool.map(make, args.layers))
    print(json.dumps({"seconds": time.perf_counter() - began}))


if __name__ == "__main__":
    main()
