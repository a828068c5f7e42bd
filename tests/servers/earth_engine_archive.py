"""What the Earth Engine stand-in has: a synthetic planet under the collections' own names."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta

import numpy as np

from transforms.grid import GeoBox
from transforms.period import Period
from transforms.scene import SENTINEL1, SENTINEL2, Bounds, Scene
from transforms.sources.synthetic import SyntheticSource

L2A, L1C = "COPERNICUS/S2_SR_HARMONIZED", "COPERNICUS/S2_HARMONIZED"
GRD = "COPERNICUS/S1_GRD"
SCORE = "GOOGLE/CLOUD_SCORE_PLUS/V1/S2_HARMONIZED"

_BANDS = "CDEFGHJKLMNPQRSTUVWX"  # of latitude, 8 degrees each from 80 S; the last one has 12
_LETTERS = "ABCDEFGHJKLM"

Plane = tuple[np.ndarray, np.ndarray]
"""Values (y, x) and mask (y, x) bool, true where there is a pixel."""


@dataclass
class PlanetArchive:
    """Images of a synthetic planet; every Sentinel-1 pass has a twin that nobody can use (HH).

    Attributes:
      planet: where metadata and pixels come from.
      scored: whether Cloud Score+ has the optical images.
      change: applied to (image, band, geobox, values, mask) of every plane before it is sent.
    """

    planet: SyntheticSource = field(default_factory=SyntheticSource)
    scored: bool = True
    change: Callable[..., Plane] | None = None

    def images(self, collection: str, bounds: Bounds, period: Period) -> list[dict]:
        """Properties of the images of a collection. Raises KeyError for an unknown collection."""
        sensor = {L2A: SENTINEL2, L1C: SENTINEL2, SCORE: SENTINEL2, GRD: SENTINEL1}[collection]
        scenes = [s for s in self.planet.search(bounds, period) if s.sensor == sensor]
        if sensor == SENTINEL1:
            return [_sar(s, polarisations) for s in scenes for polarisations in ("VV VH", "HH")]
        return [_optical(s, collection) for s in scenes if self.scored or collection != SCORE]

    def plane(self, image: str, band: str, geobox: GeoBox) -> Plane:
        """Pixels of a band. Raises KeyError for an unknown image or band."""
        collection, _, index = image.rpartition("/")
        scene = self._scene(collection, index)
        if collection == SCORE:
            name = {"cs": "CLOUD_PROBABILITY", "cs_cdf": "CLOUD_PROBABILITY"}[band]
        else:
            name = band if len(band) != 2 or band[0] != "B" else f"B0{band[1]}"
        # The planet has no B10: its B09 looks much the same.
        raster = self.planet.read(scene, geobox, ("B09" if name == "B10" else name,))
        values = raster.pixels[0]
        mask = ~np.isnan(values) if np.isnan(raster.nodata) else values != raster.nodata
        if collection == SCORE:
            values = (1 - values / 100).astype(np.float32)
        return self.change(image, band, geobox, values, mask) if self.change else (values, mask)

    def _scene(self, collection: str, index: str) -> Scene:
        if collection == GRD:
            cell, day = int(index[-4:], 16), index.split("_")[4][:8]
            west, south, sensor = cell // 180 - 180, cell % 180 - 90, SENTINEL1
        else:
            west, south, sensor = *_cell_of(index.rpartition("_T")[2]), SENTINEL2
            day = index[:8]
        middle = (west + 0.5, south + 0.5, west + 0.5, south + 0.5)
        day = date(int(day[:4]), int(day[4:6]), int(day[6:]))
        scenes = self.planet.search(middle, Period(day, day + timedelta(days=1)))
        found = [s for s in scenes if s.sensor == sensor]
        if not found or (collection == SCORE and not self.scored):
            raise KeyError(index)
        return found[0]


def _optical(scene: Scene, collection: str) -> dict:
    west, south = int(scene.footprint[0]), int(scene.footprint[1])
    time, tile = f"{scene.start:%Y%m%dT%H%M%S}", _tile_of(west, south)
    level = "MSIL1C" if collection == L1C else "MSIL2A"
    return _shared(scene) | {
        "system:index": f"{time}_{time}_T{tile}",
        "PRODUCT_ID": f"S2A_{level}_{time}_N0510_R022_T{tile}_{time}",
        "MGRS_TILE": tile,
        "CLOUDY_PIXEL_PERCENTAGE": 100 * scene.cloud,
        "SENSING_ORBIT_DIRECTION": scene.orbit.upper(),
    }


def _sar(scene: Scene, polarisations: str) -> dict:
    cell = (int(scene.footprint[0]) + 180) * 180 + int(scene.footprint[1]) + 90
    time, kind = f"{scene.start:%Y%m%dT%H%M%S}", "1SDV" if "VV" in polarisations else "1SSH"
    return _shared(scene) | {
        "system:index": f"S1A_IW_GRDH_{kind}_{time}_{time}_054321_0A1B2C_{cell:04X}",
        "orbitProperties_pass": scene.orbit.upper(),
        "instrumentMode": "IW",
        "transmitterReceiverPolarisation": polarisations.split(),
    }


def _shared(scene: Scene) -> dict:
    west, south, east, north = scene.footprint
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    epoch = datetime(1970, 1, 1, tzinfo=scene.start.tzinfo)
    return {
        "system:time_start": (scene.start - epoch) // timedelta(milliseconds=1),
        "system:footprint": {"type": "LinearRing", "coordinates": ring},
    }


def _tile_of(west: int, south: int) -> str:
    """A designator as MGRS tiles have, with the true zone and hemisphere, for a 1-degree cell."""
    band = min((south + 80) // 8, 19)
    letters = _LETTERS[west % 6] + _LETTERS[south + 80 - 8 * band]
    return f"{(west + 180) // 6 + 1:02d}{_BANDS[band]}{letters}"


def _cell_of(tile: str) -> tuple[int, int]:
    west = (int(tile[:2]) - 1) * 6 - 180 + _LETTERS.index(tile[3])
    return west, _BANDS.index(tile[2]) * 8 - 80 + _LETTERS.index(tile[4])
