"""Earth Engine: harmonised Sentinel-2, Sentinel-1 GRD and Cloud Score+ on the exact geobox.

`ee` holds its state in module globals: one process talks to one project at a time. It is imported
when it is first needed.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from transforms.grid import GeoBox
from transforms.period import Period
from transforms.scene import Asset, Bounds, Raster, Scene, SourceUnavailable
from transforms.sources.earthengine_expressions import image, query
from transforms.sources.earthengine_requests import (
    assemble,
    decode,
    grid_of,
    rows_of,
    split,
    stored,
)
from transforms.sources.earthengine_scenes import OPTICAL_COLLECTIONS, optical_scenes, sar_scenes
from transforms.sources.earthengine_transport import (
    PROCESS_REQUESTS,
    Refused,
    Settings,
    Transport,
    advice,
    credentials_of,
    failure_of,
    transport_errors,
)
from transforms.sources.patience import Patience

MAX_REQUESTS = 40
"""Concurrent requests that a project may have by default, over all of a job's workers."""

_SPEC = "earthengine:PROJECT[,level=L2A|L1C][,score=cs|cs_cdf][,key=FILE][,url=URL][,anonymous=1]"


@dataclass(frozen=True)
class EarthEngineSource:
    """Sentinel-1 and Sentinel-2 from Earth Engine. Holds no client and no secret.

    Attributes:
      settings: project and credentials.
      level: "L2A", or "L1C" for top-of-atmosphere reflectance.
      score: band of Cloud Score+, "cs" or "cs_cdf"; the cloud probability is 100 (1 - score).
      patience: how often and after which waits a busy service is asked again.
    """

    settings: Settings
    level: str = "L2A"
    score: str = "cs"
    patience: Patience = field(default=Patience(first=0.5), repr=False)

    max_requests = MAX_REQUESTS  # no field: what a job's own cap has to stay below

    def __post_init__(self):
        if not self.settings.project:
            raise ValueError(f"source earthengine: it needs a Google Cloud project; write {_SPEC}")
        if self.level not in OPTICAL_COLLECTIONS or self.score not in ("cs", "cs_cdf"):
            raise ValueError(
                f"source earthengine: got level {self.level!r} and score {self.score!r}, "
                "expected L2A or L1C, and cs or cs_cdf"
            )

    def search(self, bounds: Bounds, period: Period) -> list[Scene]:
        """Scenes of both sensors by one request, sorted; see `ImagerySource.search`."""
        what = f"search of {', '.join(f'{v:g}' for v in bounds)} in {period}"
        found = self._ask(
            what, lambda ee: ee.data.computeValue(query(ee, bounds, period, self.level))
        )
        scenes = [
            *optical_scenes(found["optical"], set(found["cloud"]), self.level, self.score),
            *sar_scenes(found["sar"]),
        ]
        return sorted(scenes, key=lambda s: (s.start, s.id))

    def check(self, bounds: Bounds, period: Period) -> None:
        """Initialise the client and compute a constant, once per process.

        Raises:
          ValueError: project or credentials are refused; says what to do.
          SourceUnavailable: the service does not answer.
        """
        what = f"source earthengine, project {self.settings.project}"
        try:
            self.patience(lambda: _once(self.settings, _CLIENT.prove))
        except SourceUnavailable as error:
            raise SourceUnavailable(f"{what}: {error}") from error
        except Refused as error:
            raise ValueError(f"{what}: {error}; {advice(str(error))}") from error

    def read(self, scene: Scene, geobox: GeoBox, bands: tuple[str, ...]) -> Raster:
        """Pixels of `bands` on exactly `geobox`; see `ImagerySource.read`.

        One request, or as many as Earth Engine's limit on their size demands.

        Returns:
          reflectance (band, y, x) uint16, x 1e4, 0 nodata; SCL and cloud probability alone uint8,
          255 nodata (SCL without the probability: 0); SAR float32, sigma0 in dB, NaN nodata.
        """
        assets = {band: _asset(scene, band) for band in bands}
        planes = {band: np.empty(geobox.shape, stored(band).dtype) for band in bands}
        for part in split(bands, *geobox.shape):
            box = rows_of(geobox, part)
            answer = self._ask(
                f"scene {scene.id}, bands {', '.join(part.bands)} on {box}",
                lambda ee, part=part, box=box: decode(
                    ee.data.computePixels(
                        {
                            "expression": image(ee, scene, geobox, [assets[b] for b in part.bands]),
                            "fileFormat": "NPY",
                            "grid": grid_of(box),
                        }
                    ),
                    part.bands,
                    box.shape,
                ),
            )
            for band in part.bands:
                planes[band][part.row : part.row + part.rows] = answer[band]
        return assemble(scene.sensor, geobox, planes)

    def _ask(self, what: str, call: Callable[[Any], Any]) -> Any:
        try:
            return self.patience(lambda: _once(self.settings, call))
        except (SourceUnavailable, Refused) as error:
            raise SourceUnavailable(f"{what}: {error}") from error


def open_earthengine(text: str) -> EarthEngineSource:
    """The source of "PROJECT,level=L1C,key=FILE".

    Raises:
      ValueError: the project is missing, or an option unknown.
    """
    project, *rest = text.split(",")
    options = dict(part.partition("=")[::2] for part in rest)
    unknown = set(options) - {"level", "score", "key", "url", "anonymous"}
    if unknown or not all(options.values()) or options.get("anonymous", "1") != "1":
        raise ValueError(f"source earthengine: got {text!r}, expected {_SPEC}")
    named = {name: options[name] for name in ("level", "score") if name in options}
    settings = Settings(
        project.strip(), options.get("key", ""), options.get("url", ""), "anonymous" in options
    )
    return EarthEngineSource(settings, **named)


def _asset(scene: Scene, band: str) -> Asset:
    asset = scene.asset(band)
    if asset is None:
        raise ValueError(f"scene {scene.id}: no band {band}; it has {', '.join(scene.bands)}")
    return asset


class _Client:
    """The client library of this process: which settings it has, and how many use it now."""

    def __init__(self):
        self._free = threading.Condition()
        self._settings: Settings | None = None
        self._running = 0
        self._proven = False

    @contextmanager
    def use(self, settings: Settings) -> Iterator[None]:
        """One of the process' places, with the library initialised for `settings`."""
        with self._free:
            self._free.wait_for(
                lambda: (
                    self._running < PROCESS_REQUESTS
                    and (self._running == 0 or self._settings == settings)
                )
            )
            if self._settings != settings:
                self._settings, self._proven = None, False
                _initialise(settings)
                self._settings = settings
            self._running += 1
        try:
            yield
        finally:
            with self._free:
                self._running -= 1
                self._free.notify_all()

    def prove(self, ee) -> None:
        """Compute a constant, unless that has worked before: a job checks every tile."""
        if not self._proven:
            ee.data.computeValue(ee.Number(1))
            self._proven = True


_CLIENT = _Client()


def _once(settings: Settings, call: Callable[[Any], Any]) -> Any:
    """The result of `call(ee)`. Raises Transient, Refused or, of `call` itself, ValueError."""
    import ee

    try:
        with _CLIENT.use(settings):
            return call(ee)
    except (ee.EEException, *transport_errors()) as error:
        raise failure_of(error) from error


def _initialise(settings: Settings) -> None:
    import ee

    ee.Reset()
    # Ours are the only retries: the library's would multiply them, and know no Retry-After.
    ee.data.setMaxRetries(0)
    ee.Initialize(
        credentials=credentials_of(ee, settings),
        url=settings.url or ee.data.HIGH_VOLUME_API_BASE_URL,
        project=settings.project,
        http_transport=Transport(settings.deadline),
    )
