"""Remote files by GDAL: which failures may pass, and how GDAL leaves the retries to us."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TypeVar

from rasterio.errors import RasterioError

from transforms.scene import Asset, Scene, SourceUnavailable
from transforms.sources.headers import GDAL_SETTINGS
from transforms.sources.patience import Patience, Transient

T = TypeVar("T")

ONCE = GDAL_SETTINGS | {"GDAL_HTTP_MAX_RETRY": 0}
"""Settings of GDAL that asks once: `Patience` asks again, with other clocks in tests."""

_FINAL = {"400", "401", "403", "404", "410"}  # answers that asking again does not change


def is_remote(href: str) -> bool:
    return "://" in href and not href.startswith("file://")


def status_of(reason: str) -> str:
    """The HTTP status in GDAL's message; "" where it names none."""
    found = re.search(r"response code: (\d+)", reason)
    return found[1] if found else ""


def failure(where: str, href: str, reason: str) -> SourceUnavailable:
    """The failure of a remote read, `Transient` unless its answer is final."""
    message = f"{where}: {href} cannot be read: {reason}"
    return (SourceUnavailable if status_of(reason) in _FINAL else Transient)(message)


def patient_attempt(patience: Patience, scene: Scene) -> Callable[[Callable[[str], T], Asset], T]:
    """The `windows.Attempt` of a scene's files without signatures; a local one is read once."""

    def attempt(read: Callable[[str], T], asset: Asset) -> T:
        if not is_remote(asset.href):
            return read(asset.href)

        def once() -> T:
            try:
                return read(asset.href)
            except RasterioError as error:
                where = f"scene {scene.id}, band {asset.band}"
                raise failure(where, asset.href, str(error)) from error

        return patience(once)

    return attempt
