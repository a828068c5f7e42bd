"""Makes data/sample: real Sentinel-1/2 scenes as GeoTIFFs with a STAC catalog, and the demo's list.

    python -m benchmarks.make_sample DATA_FOLDER data/sample

DATA_FOLDER holds the original files as `pairs/bigearthnet`, `pairs/sen12mscr`,
`pairs/sen12mscr_nigeria` and `series/00002806639B424A`; data/sample/README.md says where they come
from. Needs rasterio (its GDAL with the netCDF driver), pyproj and s2cloudless. Same input, same
bytes; README.md and LICENSES of the output folder are written by hand and left alone.
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import rasterio
from affine import Affine

from benchmarks.sample_catalog import ORIGINS, write_catalog, write_demo
from benchmarks.sample_stac import Picture, Shot, write_item

TEN, TWENTY, SIXTY = (
    ("B02", "B03", "B04", "B08"),
    ("B05", "B06", "B07", "B8A", "B11", "B12"),
    ("B01", "B09"),
)
L1C_BANDS = tuple("B01 B02 B03 B04 B05 B06 B07 B08 B8A B09 B10 B11 B12".split())

FLANDERS = "00002806639B424A"
FLANDERS_DAYS = tuple(
    # clear, half cloudy, overcast, thin cirrus, cloud shadow, snow: chosen by shares of SCL
    "2017-11-12 2017-12-12 2018-04-16 2018-05-21 2018-06-03 2018-06-13 "
    "2018-06-15 2018-06-20 2018-06-28 2018-08-14 2018-09-18 2018-10-16".split()
)
SCL_CLOUD, SCL_SNOW = (8, 9, 10), 11

# Nothing says when a SEN12MS-CR scene was acquired: not before the first public Sentinel-2 data,
# not after the year of the data set's DOI.
SEN12MSCR_RANGE = ("2015-06-27T00:00:00Z", "2020-12-31T23:59:59Z")
SEN12MSCR = {  # name: (Sentinel-1, cloudy Sentinel-2, season in the file's name)
    "ROIs1970_fall_139_p839": ("pairs/sen12mscr/s1/{}.tif", "pairs/sen12mscr/s2_cloudy/{}.tif"),
    "ROIs2017_winter_112_p797": ("pairs/sen12mscr/s1/{}.tif", "pairs/sen12mscr/s2_cloudy/{}.tif"),
    "ROIs1868_summer_19_p30": (
        "pairs/sen12mscr_nigeria/ROIs1868_summer_s1_19_p30.tif",
        "pairs/sen12mscr_nigeria/ROIs1868_summer_s2_cloudy_19_p30.tif",
    ),
}


def read(path: Path) -> tuple[np.ndarray, str, Affine]:
    """(band, y, x) pixels as stored, "EPSG:..." and transform of a GeoTIFF."""
    with rasterio.open(path) as file:
        return file.read(), file.crs.to_string(), file.transform


def stacked(folder: Path, names: tuple[str, ...], roles: tuple[str, ...] = ("data",)) -> Picture:
    """One picture of the single-band files FOLDER/NAME_BAND.tif of one pixel size."""
    parts = [read(folder / f"{folder.name}_{name}.tif") for name in names]
    return Picture(names, np.concatenate([p[0] for p in parts]), parts[0][1], parts[0][2], roles)


def bigearthnet(root: Path) -> Iterator[Shot]:
    """Six dated L2A + GRD pairs of 1.2 km; the pair is named in the Sentinel-1 metadata."""

    def metadata(folder: Path) -> dict:
        return json.loads((folder / f"{folder.name}_labels_metadata.json").read_text())

    pairs = root / "pairs" / "bigearthnet"
    for folder in sorted((pairs / "BigEarthNet-S2-Example").iterdir()):
        about = metadata(folder)
        product = about["tile_source"].split("_")
        yield Shot(
            origin="bigearthnet",
            sensor="sentinel-2",
            id=folder.name,
            time=datetime.fromisoformat(about["acquisition_date"]),
            level="L2A",
            pictures={
                "optical_10m": stacked(folder, TEN),
                "optical_20m": stacked(folder, TWENTY),
                "optical_60m": stacked(folder, SIXTY),
            },
            properties={
                "platform": f"sentinel-{product[0][1:].lower()}",
                "sat:relative_orbit": int(product[4][1:]),
                "s2:processing_baseline": f"{product[3][1:3]}.{product[3][3:]}",
                "s2:product_uri": about["tile_source"],
            },
        )
    for folder in sorted((pairs / "BigEarthNet-S1-Example").iterdir()):
        about = metadata(folder)
        product = about["scene_source"].split("_")
        absolute_orbit = int(product[6])
        yield Shot(
            origin="bigearthnet",
            sensor="sentinel-1",
            id=folder.name,
            time=datetime.fromisoformat(about["acquisition_time"]),
            level="GRD",
            pictures={"sar": stacked(folder, ("VV", "VH"))},
            properties={
                "platform": f"sentinel-{product[0][1:].lower()}",
                "sat:absolute_orbit": absolute_orbit,
                # Sentinel-1A, see the Sentinel-1 product definition.
                "sat:relative_orbit": (absolute_orbit - 73) % 175 + 1,
                "s1:product_identifier": about["scene_source"],
            },
        )


class Series:
    """One netCDF file of the Flanders series; `times` are UTC."""

    def __init__(self, folder: Path, product: str):
        (path,) = folder.glob(f"{product}_{FLANDERS}_*.nc")
        self.path = path
        with rasterio.open(f"netcdf:{path}") as file:
            tags = {k.split("#")[-1]: v for k, v in file.tags().items()}
            variables = [name.rsplit(":", 1)[1] for name in file.subdatasets]
        size = float(tags["resolution"])
        left, _, _, top = (float(v) for v in tags["bounds"].strip("()").split(","))
        self.crs, self.transform = f"EPSG:{tags['epsg']}", Affine(size, 0, left, 0, -size, top)
        with rasterio.open(f"netcdf:{path}:{variables[0]}") as file:
            start = datetime.fromisoformat(file.tags()["timestamp#units"].split(" since ")[1])
            self.times = [
                start + timedelta(seconds=int(file.tags(i)["NETCDF_DIM_timestamp"]))
                for i in file.indexes
            ]

    def picture(self, time: datetime, names: tuple[str, ...], roles=("data",)) -> Picture:
        pixels = []
        for name in names:
            with rasterio.open(f"netcdf:{self.path}:{name}") as file:
                pixels.append(file.read(self.times.index(time) + 1))
        return Picture(names, np.stack(pixels), self.crs, self.transform, roles)


def flanders(root: Path) -> Iterator[Shot]:
    """A dozen L2A dates of one 640 m patch, from clear to overcast, each with its nearest GRD."""
    folder = root / "series" / FLANDERS
    ten, twenty = Series(folder, "S2_L2A_10m"), Series(folder, "S2_L2A_20m")
    sar = Series(folder, "S1_GRD-ASCENDING_20m")
    days = [t for t in ten.times if t.date().isoformat() in FLANDERS_DAYS]
    for time in days:
        scl = twenty.picture(time, ("SCL",), roles=("data", "metadata"))
        yield Shot(
            origin="flanders",
            sensor="sentinel-2",
            id=f"flanders_{FLANDERS}_S2_L2A_{time:%Y%m%dT%H%M%S}",
            time=time,
            level="L2A",
            pictures={
                "optical_10m": ten.picture(time, TEN),
                "optical_20m": twenty.picture(time, TWENTY),
                "SCL": scl,
            },
            properties={
                "eo:cloud_cover": round(100 * float(np.isin(scl.pixels, SCL_CLOUD).mean()), 1),
                "eo:snow_cover": round(100 * float((scl.pixels == SCL_SNOW).mean()), 1),
                "cloudlulc:cloud_cover_method": "share of SCL classes 8, 9, 10 in this crop",
                "cloudlulc:missing_bands": ["B01", "B09"],
            },
        )
    for time in sorted({min(sar.times, key=lambda t, day=day: abs(t - day)) for day in days}):
        yield Shot(
            origin="flanders",
            sensor="sentinel-1",
            id=f"flanders_{FLANDERS}_S1_GRD_{time:%Y%m%dT%H%M%S}",
            time=time,
            level="GRD",
            pictures={"sar": sar.picture(time, ("VV", "VH"))},
            properties={"sat:orbit_state": "ascending"},
        )


def sen12mscr(root: Path) -> Iterator[Shot]:
    """Three undated pairs of 2.56 km: GRD and a really cloudy or dark L1C image."""
    for name, (sar_path, optical_path) in SEN12MSCR.items():
        season = {"cloudlulc:season": name.split("_")[1]}
        optical = Picture(L1C_BANDS, *read(root / optical_path.format(name)))
        yield Shot(
            origin="sen12mscr",
            sensor="sentinel-2",
            id=f"sen12mscr_{name}_S2_L1C",
            range=SEN12MSCR_RANGE,
            level="L1C",
            pictures={"optical": optical},
            properties=season
            | {
                "eo:cloud_cover": round(100 * cloud_share(optical.pixels), 1),
                "cloudlulc:cloud_cover_method": "share of s2cloudless > 0.4 in this crop",
            },
        )
        yield Shot(
            origin="sen12mscr",
            sensor="sentinel-1",
            id=f"sen12mscr_{name}_S1_GRD",
            range=SEN12MSCR_RANGE,
            level="GRD",
            pictures={"sar": Picture(("VV", "VH"), *read(root / sar_path.format(name)))},
            properties=season | {"cloudlulc:backscatter": "sigma0"},
        )


def cloud_share(pixels: np.ndarray) -> float:
    """Share of cloudy pixels, 0-1, of an L1C image (13, y, x) uint16, reflectance x 1e4."""
    from s2cloudless import S2PixelCloudDetector

    reflectance = pixels.transpose(1, 2, 0)[None] / 1e4
    probability = S2PixelCloudDetector(all_bands=True).get_cloud_probability_maps(reflectance)
    return float((probability > 0.4).mean())


def main(root: Path, out: Path) -> None:
    for folder in (out / "regions", *(out / name for name in ORIGINS)):
        shutil.rmtree(folder, ignore_errors=True)
    shots = [*bigearthnet(root), *flanders(root), *sen12mscr(root)]
    items = [write_item(out, shot) for shot in shots]
    write_catalog(out, items)
    write_demo(out, items)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data_folder", type=Path)
    parser.add_argument("out", type=Path)
    arguments = parser.parse_args()
    main(arguments.data_folder, arguments.out)
