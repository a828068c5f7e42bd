"""Where, when and how the tests of Earth Engine read."""

from __future__ import annotations

from datetime import date

from transforms.grid import GeoBox
from transforms.period import Period
from transforms.scene import Scene
from transforms.sources.earthengine import EarthEngineSource
from transforms.sources.earthengine_transport import Settings
from transforms.sources.patience import Patience

BOX = GeoBox(32633, 520_000.0, 5_150_000.0, 10.0, 48, 40)
PLACE = (15.27, 46.48, 15.28, 46.49)
JUNE = Period(date(2024, 6, 1), date(2024, 6, 13))
OPTICAL = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B11", "B12")


def no_sleep(seconds: float) -> None:
    """Time passes at once."""


def make_source(server, deadline: float = 30.0, **options) -> EarthEngineSource:
    settings = Settings("test-project", url=server.url, anonymous=True, deadline=deadline)
    return EarthEngineSource(settings, **{"patience": Patience(sleep=no_sleep)} | options)


def find(source, sensor) -> Scene:
    return next(s for s in source.search(PLACE, JUNE) if s.sensor == sensor)
