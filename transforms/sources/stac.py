"""Imagery from STAC APIs: items found by pystac-client, pixels read from their COGs by window."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from datetime import UTC, datetime
from itertools import pairwise
from typing import TypeVar
from urllib.parse import urlsplit

from rasterio.errors import RasterioError

from transforms.grid import GeoBox
from transforms.period import Period
from transforms.scene import (
    SENTINEL1,
    SENTINEL2,
    Asset,
    Bounds,
    Raster,
    Scene,
    SourceUnavailable,
    overlap,
)
from transforms.sources.granules import newest, scene_of
from transforms.sources.hrefs import Reach, hosts_of_environment
from transforms.sources.item_shape import check_shape
from transforms.sources.items import item_name
from transforms.sources.patience import PATIENCE, Patience, Transient
from transforms.sources.presets import Catalog, Product, open_catalog
from transforms.sources.remote import ONCE, failure, status_of
from transforms.sources.signing import Signer, is_signed
from transforms.sources.stac_client import CatalogClient
from transforms.sources.windows import read_scene

T = TypeVar("T")

_log = logging.getLogger(__name__)

_KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")


def utc_now() -> datetime:
    return datetime.fromtimestamp(time.time(), UTC)


def open_stac(text: str) -> StacSource:
    """The source of "PRESET_OR_FILE[,sar=PRESET_OR_FILE][,fallback=PRESET_OR_FILE]".

    Raises:
      ValueError: an option or preset is unknown, or a file is wrong.
    """
    first, *rest = text.split(",")
    options = dict(part.partition("=")[::2] for part in rest)
    unknown = sorted(set(options) - {"sar", "fallback"})
    if unknown:
        raise ValueError(f"source stac: got {unknown}, expected sar=... or fallback=...")
    return StacSource(
        open_catalog(first), **{name: open_catalog(value) for name, value in options.items()}
    )


class StacSource:
    """Scenes of one STAC API; a second one for SAR and a third one to fall back on, if wanted.

    Attributes:
      catalog: where scenes are searched.
      sar: where SAR is searched instead.
      fallback: where they are searched when the first is down, and what the first lacks.
      patience: how often each request is tried.
      now: the time, UTC; for tokens that die.
      timeout: of a request, s.
      refused: scenes that were found and are of no use, id -> reason; of this process.
    """

    def __init__(
        self,
        catalog: Catalog,
        sar: Catalog | None = None,
        fallback: Catalog | None = None,
        patience: Patience = PATIENCE,
        now: Callable[[], datetime] = utc_now,
        timeout: float = 30.0,
    ):
        self.catalog, self.sar, self.fallback = catalog, sar, fallback
        self.patience, self.now, self.timeout = patience, now, timeout
        self._forget()

    def _forget(self) -> None:
        self.refused: dict[str, str] = {}
        self._clients: dict[str, CatalogClient] = {}
        self._signers: dict[str, Signer] = {}

    def __getstate__(self) -> dict:
        # Every process has its own connections and tokens; those of another are never sent to it.
        names = ("catalog", "sar", "fallback", "patience", "now", "timeout")
        return {name: getattr(self, name) for name in names}

    def __setstate__(self, state: dict) -> None:
        self.__dict__.update(state)
        self._forget()

    def __repr__(self) -> str:
        names = [c.name for c in self._catalogs()]
        return f"StacSource({', '.join(names)})"

    def search(self, bounds: Bounds, period: Period) -> list[Scene]:
        """Scenes that touch the bounds and lie in the period; see `ImagerySource.search`.

        One search per sensor and collection, page by page. Scenes of no use are left out, logged
        and kept in `refused`; of a granule that was processed again the newest baseline is kept.

        Raises:
          SourceUnavailable: the API, and the fallback, is down.
          ValueError: scenes were found, and every one of them is of no use.
        """
        scenes: dict[str, Scene] = {}
        refused: dict[str, str] = {}
        for sensor in (SENTINEL2, SENTINEL1):

            def ask(catalog: Catalog, product: Product) -> list[tuple]:
                items = []
                for item in self._client(catalog).items(product, bounds, period):
                    name = item_name(item, catalog.name)
                    try:
                        check_shape(item, name)
                        items.append(item)
                    except ValueError as error:
                        refused[name] = str(error)
                return [(item, catalog, product) for item in newest(items)]

            for item, catalog, product in self._first_up(sensor, ask) or ():
                try:
                    scene = scene_of(item, _address(item, catalog), catalog, product)
                    self._reach().check_scene(scene)
                    scenes[scene.id] = scene
                except ValueError as error:
                    refused[str(item.get("id"))] = str(error)
        self.refused |= refused
        if refused:
            message = _refusal(self, refused, len(scenes))
            if not scenes:
                raise ValueError(message)
            _log.warning(message)
        found = [s for s in scenes.values() if overlap(s.footprint, bounds) and s.within(period)]
        return sorted(found, key=lambda s: (s.start, s.id))

    def read(self, scene: Scene, geobox: GeoBox, bands: tuple[str, ...]) -> Raster:
        """Pixels of `bands` on exactly `geobox`; see `ImagerySource.read`.

        Every band is tried again by itself, so a job gets on where one request in five fails.

        Raises:
          SourceUnavailable: a band could not be read, or not be signed.
          ValueError: the scene has no such band, or keys are missing.
        """

        def attempt(read: Callable[[str], T], asset: Asset) -> T:
            where = f"scene {scene.id}, band {asset.band}"
            return self.patience(lambda: self._read_signed(read, asset.href, where))

        self._reach().check_hosts(scene)
        settings = ONCE | {"GDAL_HTTP_TIMEOUT": self.timeout}
        if any(asset.href.startswith("s3://") for asset in scene.assets):
            settings |= self._s3_settings()
        return read_scene(scene, geobox, bands, attempt, settings)

    def check(self, bounds: Bounds, period: Period) -> None:
        """Check that the APIs answer and have the collections, and that keys are there."""
        for sensor in (SENTINEL2, SENTINEL1):
            self._first_up(sensor, lambda catalog, product: self._client(catalog).check(product))
        for catalog in self._catalogs():
            _check_keys(catalog)

    def _catalogs(self) -> list[Catalog]:
        return [c for c in (self.catalog, self.sar, self.fallback) if c]

    def _reach(self) -> Reach:
        """Items may name the internet, and the hosts that the configuration names."""
        urls = [url for c in self._catalogs() for url in (c.url, c.signing_url)]
        own = frozenset(urlsplit(url).hostname or "" for url in urls if url)
        return Reach("", own | hosts_of_environment())

    def _first_up(self, sensor: str, ask: Callable[[Catalog, Product], T]) -> T | None:
        """What the first catalogue that is up answers; None where none has the sensor."""
        first = self.sar if self.sar and sensor == SENTINEL1 else self.catalog
        chain = [
            (catalog, product)
            for catalog in (first, self.fallback)
            if catalog and (product := catalog.sar if sensor == SENTINEL1 else catalog.optical)
        ]
        if not chain:
            _log.warning("%s has no %s: %s", first.name, sensor, first.lacks or "not configured")
            return None
        for (catalog, product), (second, _) in pairwise(chain):
            try:
                return ask(catalog, product)
            except SourceUnavailable as error:
                _log.warning(
                    "%s is down, %s is asked instead: %s", catalog.name, second.name, error
                )
        return ask(*chain[-1])

    def _client(self, catalog: Catalog) -> CatalogClient:
        if catalog.name not in self._clients:
            self._clients[catalog.name] = CatalogClient(catalog, self.patience, self.timeout)
        return self._clients[catalog.name]

    def _read_signed(self, read: Callable[[str], T], href: str, where: str) -> T:
        signer = self._signer(href)
        try:
            signed = signer.sign(href) if signer else href
        except SourceUnavailable as error:
            raise SourceUnavailable(f"{where}: {href} cannot be signed: {error}") from error
        try:
            return read(signed)
        except RasterioError as error:
            # Neither message nor chain may carry the token: they are logged and written.
            reason = str(error).replace(signed.removeprefix(href), "")
        if signer and status_of(reason) == "403":
            signer.forget(signed)
            raise Transient(f"{where}: {href} cannot be read: {reason}")
        raise failure(where, href, reason)

    def _signer(self, href: str) -> Signer | None:
        """Of the catalogue whose hosts the href is on."""
        for catalog in self._catalogs():
            if catalog.signing == "planetary-computer" and is_signed(catalog, href):
                # One for all threads that read: it asks once for what all of them use.
                signer = Signer(catalog, self.patience, self.now, self.timeout)
                return self._signers.setdefault(catalog.name, signer)
        return None

    def _s3_settings(self) -> dict:
        catalog = next((c for c in self._catalogs() if c.signing == "s3-keys"), None)
        if catalog is None:
            raise ValueError(f"{self} reads no s3:// assets: its catalogues have no s3_endpoint")
        _check_keys(catalog)
        return {
            "AWS_S3_ENDPOINT": catalog.s3_endpoint,
            "AWS_HTTPS": catalog.s3_https,
            "AWS_VIRTUAL_HOSTING": False,
        }


def _address(item: dict, catalog: Catalog) -> str:
    """Where the item lies, if it has no link to itself."""
    return f"{catalog.url}/collections/{item.get('collection')}/items/{item.get('id')}"


def _refusal(source: StacSource, refused: dict[str, str], usable: int) -> str:
    listed = [f"{name} ({reason})" for name, reason in sorted(refused.items())]
    shown = "; ".join(listed[:5]) + ("; ..." if len(listed) > 5 else "")
    return f"{source}: {len(refused)} of {len(refused) + usable} scenes are of no use: {shown}"


def _check_keys(catalog: Catalog) -> None:
    absent = [k for k in _KEYS if catalog.signing == "s3-keys" and not os.environ.get(k)]
    if absent:
        raise ValueError(
            f"{catalog.name} needs keys to read pixels: set {' and '.join(absent)} here and on "
            f"the workers" + (f"; you get them at {catalog.keys_url}" if catalog.keys_url else "")
        )
