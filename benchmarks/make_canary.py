"""Makes model/canary.npz: golden chips, cut from the real scenes in data/sample.

    python -m benchmarks.make_canary

Every optical scene of the sample that lies under a SAR scene gives the middle 64 px of their
common ground, prepared as in a run; of the Flanders series, every fourth date. Same input, same
bytes.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from pyproj import Transformer

from model.canary import GOLDEN
from transforms.grid import GeoBox
from transforms.period import Period, parse_day
from transforms.pixels.prepare import PixelOptions, optical_pass, sar_pass
from transforms.scene import SENTINEL1, SENTINEL2, Scene, overlap
from transforms.sources.files import FilesSource

SAMPLE = Path(__file__).parent.parent / "data" / "sample"

SIDE = 64

PERIOD = Period(parse_day("2015-01-01"), parse_day("2022-01-01"))
WORLD = (-180.0, -90.0, 180.0, 90.0)


def middle(source: FilesSource, scene: Scene) -> GeoBox:
    """The middle of a scene, on its own pixel grid."""
    import rasterio

    with rasterio.open(scene.asset("B02").href) as raster:
        left, step, _, top, _, _ = raster.transform.to_gdal()
        column, row = (raster.width - SIDE) // 2, (raster.height - SIDE) // 2
        epsg = raster.crs.to_epsg()
    return GeoBox(epsg, left + column * step, top - row * step, step, SIDE, SIDE)


def pairs(scenes: list[Scene]) -> list[tuple[Scene, Scene]]:
    """Each optical scene, and the SAR scene of the same data set that is nearest in time."""
    found = []
    for optical in (s for s in scenes if s.sensor == SENTINEL2):
        origin = Path(optical.link).parents[2]
        near = [
            s
            for s in scenes
            if s.sensor == SENTINEL1
            and Path(s.link).parents[2] == origin
            and overlap(s.footprint, optical.footprint)
        ]
        found.append((optical, min(near, key=lambda s: (abs(s.start - optical.start), s.id))))
    series = [pair for pair in found if "flanders" in pair[0].link]
    return [pair for pair in found if pair not in series] + series[::4]


def main() -> None:
    source = FilesSource(str(SAMPLE / "catalog.json"))
    options = PixelOptions()
    chips: dict[str, list] = {"optical": [], "sar": [], "scene": []}
    for optical, sar in pairs(source.search(WORLD, PERIOD)):
        box = middle(source, optical)
        lon, lat = Transformer.from_crs(box.epsg, 4326, always_xy=True).transform(box.x0, box.y0)
        chips["optical"].append(optical_pass((optical,), box, source.read, options).pixels)
        chips["sar"].append(sar_pass((sar,), box, source.read, options))
        chips["scene"].append(f"{optical.id} {lat:.3f} {lon:.3f}")
        print(chips["scene"][-1], sar.id)
    np.savez_compressed(GOLDEN, **{name: np.stack(values) for name, values in chips.items()})
    print(GOLDEN, GOLDEN.stat().st_size, "bytes")


if __name__ == "__main__":
    main()
