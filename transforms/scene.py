"""What an imagery source gives: scenes, and their pixels on an exact geobox."""

from __future__ import annotations

from datetime import date, datetime
from typing import NamedTuple, Protocol

import numpy as np

from transforms.grid import GeoBox
from transforms.period import Period, utc_day

SENTINEL1 = "sentinel-1"
SENTINEL2 = "sentinel-2"

QUALITY_BANDS = ("SCL", "CLOUD_PROBABILITY")
"""Bands that describe the pixel: SCL classes are resampled by nearest, never averaged."""

Bounds = tuple[float, float, float, float]
"""(west, south, east, north), degrees; west > east crosses the antimeridian."""


def overlap(a: Bounds, b: Bounds) -> bool:
    """Whether two boxes share area."""
    return (
        a[1] < b[3]
        and b[1] < a[3]
        and any(w1 < e2 and w2 < e1 for w1, e1 in spans(a) for w2, e2 in spans(b))
    )


def spans(bounds: Bounds) -> list[tuple[float, float]]:
    """(west, east) of a box, cut in two where it crosses the antimeridian."""
    west, _, east, _ = bounds
    return [(west, east)] if west <= east else [(west, 180.0), (-180.0, east)]


class SourceUnavailable(Exception):
    """The service or file could not be read now; the message names scene, band and reason."""


class Asset(NamedTuple):
    """Where one band of a scene lies and how its numbers become physical values."""

    band: str  # "B02", "VV", "SCL", "CLOUD_PROBABILITY"
    href: str
    index: int = 1  # 1-based band inside the file
    scale: float = 1.0  # physical value = stored number * scale + offset
    offset: float = 0.0
    nodata: float | None = None


class Scene(NamedTuple):
    """One acquisition of one sensor over a footprint."""

    id: str
    sensor: str  # SENTINEL1 or SENTINEL2
    time: datetime | None  # of acquisition, UTC; None where only the range is known
    start: datetime  # the acquisition lies between start and end (equal to time if known)
    end: datetime
    footprint: Bounds
    cloud: float | None = None  # share of the scene, 0-1; None if unknown
    orbit: str = ""  # "ascending", "descending" or unknown
    level: str = ""  # "L1C" or "L2A"; "sigma0" or "gamma0"
    unit: str = ""  # of SAR: "dB" or "linear"
    link: str = ""  # of the scene's STAC item, for provenance
    assets: tuple[Asset, ...] = ()
    missing: tuple[str, ...] = ()  # bands that the item declares missing: not an error
    outline: str = ""  # of the data, WKT in degrees; "": the footprint's box
    version: str = ""  # changes when the scene is replaced under its id; "": nothing tells

    def asset(self, band: str) -> Asset | None:
        return next((a for a in self.assets if a.band == band), None)

    @property
    def bands(self) -> tuple[str, ...]:
        return tuple(a.band for a in self.assets)

    @property
    def day(self) -> date | None:
        """UTC day of acquisition; None if unknown."""
        return utc_day(self.time) if self.time else None

    def age(self, target: date) -> int | None:
        """Days from the target date to the acquisition, negative before it; None if unknown."""
        return (self.day - target).days if self.time else None

    def within(self, period: Period) -> bool:
        """Whether the acquisition lies, or may lie, in the period."""
        if self.time:
            return period.holds(self.time)
        return utc_day(self.start) < period.end and utc_day(self.end) >= period.start


def scene_order(scene: Scene, target: date) -> tuple:
    """Sort key: nearest to the target first, then least cloudy, then by id; undated ones last."""
    age = scene.age(target)
    return (
        age is None,
        abs(age) if age is not None else 0,
        1.0 if scene.cloud is None else scene.cloud,
        scene.id,
    )


class Raster(NamedTuple):
    """Pixels of one scene on one geobox."""

    pixels: np.ndarray  # (band, y, x), the scene's stored numbers
    geobox: GeoBox
    bands: tuple[str, ...]
    nodata: float  # value of missing pixels; NaN for floats that have no other


class ImagerySource(Protocol):
    """Searches scenes and reads their pixels. Pickled to workers: clients are made on first use.

    A source asks a busy service again by itself, nobody above it does. One whose service allows a
    number of requests at a time says so in an attribute `max_requests`.
    """

    def search(self, bounds: Bounds, period: Period) -> list[Scene]:
        """Scenes of both sensors that touch the bounds and lie in the half-open period.

        One catalogue request per call, sorted by (start, id).

        Raises:
          SourceUnavailable: the catalogue could not be read.
          ValueError: an item is unusable; the message names it and says why.
        """
        ...

    def check(self, bounds: Bounds, period: Period) -> None:
        """Check what can be checked on the submitter, before anything is fetched or written.

        A source of files opens the headers of the scenes that would be used; a source behind a
        service checks that it is reachable, and leaves the scenes to the workers.

        Raises:
          SourceUnavailable: the catalogue or service cannot be reached.
          ValueError: a scene is unusable; the message names it and says what to do.
        """
        ...

    def read(self, scene: Scene, geobox: GeoBox, bands: tuple[str, ...]) -> Raster:
        """Pixels of `bands` on exactly `geobox`, in the order asked for.

        Where the geobox lies on the asset's pixel grid the stored pixels are returned unchanged;
        otherwise they are warped: bilinear, or nearest for `SCL`. Pixels outside of the scene hold
        `Raster.nodata`.

        Raises:
          SourceUnavailable: an asset could not be read.
          ValueError: the scene has no such band.
        """
        ...
