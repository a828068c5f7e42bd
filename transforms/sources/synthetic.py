"""A deterministic planet with known classes, clouds and shift: imagery for tests and benchmarks.

Everything is a pure function of the place on the sphere, the day and the seed: what one window
shows agrees with every other window, in whichever UTM zone or in EPSG:4326 it is asked for.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from math import floor

import numpy as np

from model.inputs import INPUTS
from transforms.grid import GeoBox
from transforms.period import Period
from transforms.scene import QUALITY_BANDS, SENTINEL1, SENTINEL2, Asset, Bounds, Raster, Scene
from transforms.sources.planet import Waves, ground_at, interpolate, nodes, pixel_noise, seed_of

# Surface reflectance x 1e4, B01 ... B12, by class index; typical summer spectra.
_SPECTRA = np.array(
    [
        [450, 420, 380, 300, 260, 230, 220, 200, 190, 180, 120, 80],
        [250, 270, 450, 300, 750, 2000, 2500, 2600, 2800, 2900, 1400, 650],
        [400, 480, 800, 700, 1250, 2300, 2700, 2900, 3050, 3100, 2400, 1400],
        [1100, 1300, 1800, 2300, 2600, 2800, 2950, 3050, 3150, 3200, 3900, 3500],
        [1100, 1250, 1450, 1650, 1850, 2050, 2150, 2250, 2350, 2400, 2600, 2300],
        [500, 600, 900, 1000, 1500, 2600, 3100, 3300, 3450, 3500, 2600, 1700],
    ],
    np.float32,
)

# Backscatter sigma0 of VV, VH, dB, by class index.
_BACKSCATTER = np.array(
    [[-22, -29], [-8.5, -14], [-13, -20], [-16, -25], [-3, -11], [-10.5, -17]], np.float32
)

_SCL = np.array([6, 4, 4, 5, 5, 4], np.uint8)  # water, vegetation, not vegetated
_SCL_CLOUD, _SCL_SHADOW = 9, 3
_CLOUD_REFLECTANCE, _SHADE = 6500.0, 0.4
_LOOKS = 4  # of the speckle

_EPOCH = date(2015, 1, 1)


@dataclass(frozen=True)
class SyntheticSource:
    """A planet seen by Sentinel-2 every 5 days and by Sentinel-1 every 6, in 1-degree scenes.

    Attributes:
      seed: of the planet, its weather and its noise.
      cloud: share of every optical scene under cloud, 0-1.
      shift: (dy, dx) of the SAR, px: sar[y + dy, x + dx] shows what lies at (y, x).
      without: sensors that do not fly, such as ("sentinel-1",).
    """

    seed: int = 0
    cloud: float = 0.5
    shift: tuple[float, float] = (0.0, 0.0)
    without: tuple[str, ...] = ()

    def __post_init__(self):
        if not 0 <= self.cloud <= 1:
            raise ValueError(f"synthetic source: cloud is {self.cloud}, expected 0 to 1")
        unknown = set(self.without) - {SENTINEL1, SENTINEL2}
        if unknown:
            raise ValueError(
                f"synthetic source: without names {sorted(unknown)}, expected some of "
                f"{SENTINEL1!r}, {SENTINEL2!r}"
            )

    def search(self, bounds: Bounds, period: Period) -> list[Scene]:
        """Scenes of both sensors by 1-degree cell; see `ImagerySource.search`."""
        scenes = []
        for offset in range((period.end - period.start).days):
            day = period.start + timedelta(days=offset)
            for sensor, revisit in ((SENTINEL2, 5), (SENTINEL1, 6)):
                if (day - _EPOCH).days % revisit == 0 and sensor not in self.without:
                    scenes += [self._scene(sensor, day, *cell) for cell in _cells(bounds)]
        return sorted(scenes, key=lambda s: (s.start, s.id))

    def check(self, bounds: Bounds, period: Period) -> None:
        """Nothing to check: the planet is always there."""

    def _scene(self, sensor: str, day: date, west: int, south: int) -> Scene:
        place = f"{'NS'[south < 0]}{abs(south):02d}{'EW'[west < 0]}{abs(west):03d}"
        if sensor == SENTINEL2:
            moment = datetime.combine(day, time(10, 30), UTC)
            names, orbit = (*INPUTS.optical.names, *QUALITY_BANDS), "descending"
            level, unit, cloud = "L2A", "", self.cloud
        else:
            ascending = (day - _EPOCH).days // 6 % 2 == 0
            moment = datetime.combine(day, time(17 if ascending else 5), UTC)
            names, orbit = INPUTS.sar.names, "ascending" if ascending else "descending"
            level, unit, cloud = "sigma0", "dB", None
        scene_id = f"synthetic_{sensor}_{day:%Y%m%d}_{place}"
        reflectance = set(INPUTS.optical.names)
        return Scene(
            id=scene_id,
            sensor=sensor,
            time=moment,
            start=moment,
            end=moment,
            footprint=(float(west), float(south), west + 1.0, south + 1.0),
            cloud=cloud,
            orbit=orbit,
            level=level,
            unit=unit,
            assets=tuple(
                Asset(name, "synthetic:", scale=1e-4, nodata=0.0)
                if name in reflectance
                else Asset(name, "synthetic:")
                for name in names
            ),
        )

    def read(self, scene: Scene, geobox: GeoBox, bands: tuple[str, ...]) -> Raster:
        """Optical (band, y, x) uint16, reflectance x 1e4, 0 nodata; SAR float32, dB, NaN nodata."""
        unknown = [band for band in bands if band not in scene.bands]
        if unknown:
            raise ValueError(f"scene {scene.id}: no bands {unknown}; it has {scene.bands}")
        if scene.sensor == SENTINEL1:
            pixels, nodata = self._backscatter(scene, geobox, bands), np.nan
        else:
            pixels = self._optical(scene, geobox, bands)
            # Beside reflectance all bands share its 0; alone, a probability of 0 means clear.
            alone = "CLOUD_PROBABILITY" in bands and set(bands) <= set(QUALITY_BANDS)
            nodata = 255 if alone else 0
        pixels[:, ~_inside(scene, geobox)] = nodata
        return Raster(pixels, geobox, bands, nodata)

    def truth(self, geobox: GeoBox) -> np.ndarray:
        """(y, x) uint8, class index of LULC6 at each pixel centre."""
        return ground_at(self.seed, geobox)[0].copy()

    def cloud_mask(self, scene: Scene, geobox: GeoBox) -> tuple[np.ndarray, np.ndarray]:
        """(y, x) bool under cloud, and (y, x) bool in its shadow but not under cloud."""
        cloud = self._cloudiness(scene, geobox) > 0
        return cloud, self._shade(scene, geobox) & ~cloud

    def _shade(self, scene: Scene, geobox: GeoBox) -> np.ndarray:
        # It falls to the north: the cloud stands 600 m to the south along the earth's axis.
        return self._cloudiness(scene, geobox, offset=(0.0, 0.0, -600.0)) > 0

    def _cloudiness(
        self, scene: Scene, geobox: GeoBox, offset: tuple[float, float, float] = (0.0, 0.0, 0.0)
    ) -> np.ndarray:
        """(y, x) float32, positive under cloud, in units of the field's deviation."""
        if self.cloud in (0.0, 1.0):
            return np.full(geobox.shape, 2 * self.cloud - 1, np.float32)
        waves = Waves.make((self.seed, 7, scene.start.toordinal()), 1500.0, 12000.0)
        return waves.field(geobox, offset) - np.float32(waves.level(1 - self.cloud))

    def _optical(self, scene: Scene, geobox: GeoBox, bands: tuple[str, ...]) -> np.ndarray:
        classes, texture = ground_at(self.seed, geobox)
        cloudiness = self._cloudiness(scene, geobox)
        cloud = cloudiness > 0
        shadow = self._shade(scene, geobox) & ~cloud
        light = (1.0 + 0.12 * texture) * np.where(shadow, _SHADE, 1.0)
        # Thin at its edge, opaque inside.
        opacity = np.where(cloud, np.clip(0.4 + 1.5 * cloudiness, 0, 1), 0)
        dtype = np.uint8 if set(bands) <= set(QUALITY_BANDS) else np.uint16
        out = np.empty((len(bands), *geobox.shape), dtype)
        for plane, band in zip(out, bands, strict=True):
            if band == "SCL":
                plane[:] = np.where(cloud, _SCL_CLOUD, np.where(shadow, _SCL_SHADOW, _SCL[classes]))
            elif band == "CLOUD_PROBABILITY":
                plane[:] = np.clip(np.rint(50 + 100 * cloudiness), 0, 100)
            else:
                number = INPUTS.optical.names.index(band)
                noise = pixel_noise(seed_of(self.seed, 11, scene.start.toordinal(), number), geobox)
                ground = _SPECTRA[:, number][classes] * light
                value = ground + opacity * (_CLOUD_REFLECTANCE - ground) + 120 * (noise - 0.5)
                plane[:] = np.clip(np.rint(value), 1, 65535)
        return out

    def _backscatter(self, scene: Scene, geobox: GeoBox, bands: tuple[str, ...]) -> np.ndarray:
        dy, dx = self.shift
        step = geobox.resolution
        seen = geobox._replace(x0=geobox.x0 - dx * step, y0=geobox.y0 + dy * step)
        classes, texture = ground_at(self.seed, seen)
        out = np.empty((len(bands), *geobox.shape), np.float32)
        for plane, band in zip(out, bands, strict=True):
            number = INPUTS.sar.names.index(band)
            # Intensity speckle of L looks is gamma distributed: the mean of L exponentials.
            product = np.ones(geobox.shape)
            for look in range(_LOOKS):
                key = seed_of(self.seed, 13, scene.start.toordinal(), number, look)
                product *= pixel_noise(key, geobox)
            speckle = -np.log(product) / _LOOKS
            plane[:] = _BACKSCATTER[:, number][classes] + 1.5 * texture + 10 * np.log10(speckle)
        return out


def _cells(bounds: Bounds) -> Iterator[tuple[int, int]]:
    """(west, south) of the 1-degree cells that share a point with the bounds."""
    west, south, east, north = bounds
    for x0, x1 in [(west, east)] if west <= east else [(west, 180.0), (-180.0, east)]:
        for x in range(max(floor(x0), -180), min(floor(x1), 179) + 1):
            for y in range(max(floor(south), -90), min(floor(north), 89) + 1):
                yield x, y


def _inside(scene: Scene, geobox: GeoBox) -> np.ndarray:
    """(y, x) bool, pixel centres in the half-open footprint."""
    west, south, east, north = scene.footprint
    longitude, latitude = nodes(geobox)
    # Counted from the cell's west: there is no jump at the antimeridian near the scene.
    along = interpolate((longitude - west + 180) % 360 - 180, geobox)
    up = interpolate(latitude - south, geobox)
    return (along >= 0) & (along < east - west) & (up >= 0) & (up < north - south)
