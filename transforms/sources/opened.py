"""Raster files that stay open from one window to the next.

GDAL keeps the tiles it has decoded of a file for as long as the file is open: a block and its
neighbours share a third to half of theirs. A file is opened once a process and read by one thread
at a time.
"""

from __future__ import annotations

import atexit
import os
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from threading import Lock

import rasterio
from rasterio.errors import RasterioError
from rasterio.io import DatasetReader

from transforms.scene import Asset
from transforms.sources.headers import ask_again, open_asset

MOST = 64
"""Files that a process keeps open: two pairs of scenes, each band in a file of its own."""


class _File:
    def __init__(self):
        self.lock = Lock()
        self.dataset: DatasetReader | None = None

    def close(self) -> None:
        with self.lock:
            if self.dataset is not None:
                self.dataset = self.dataset.close()


_files: OrderedDict[tuple, _File] = OrderedDict()  # of this process, the latest used last
_guard = Lock()


@contextmanager
def lent(asset: Asset, settings: Mapping[str, object]) -> Iterator[DatasetReader]:
    """An asset's file, open, for one thread at a time; a read that fails has it opened anew.

    Raises:
      RasterioError, ValueError: see `open_asset`.
    """
    at = asset.href, _version(asset.href), *settings.items()
    with rasterio.Env(**settings):
        with _guard:
            file = _files.setdefault(at, _File())
            _files.move_to_end(at)
            surplus = [_files.popitem(last=False)[1] for _ in range(len(_files) - MOST)]
        for old in surplus:
            old.close()
        with file.lock:
            try:
                if file.dataset is None:
                    file.dataset = open_asset(asset)
                yield file.dataset
            except RasterioError:
                if file.dataset is not None:
                    file.dataset = file.dataset.close()
                    ask_again(asset)
                raise


@atexit.register
def close_files() -> None:
    """Close what is open, and forget its tiles."""
    with rasterio.Env(), _guard:  # in it messages, which may show a signed address, are masked
        while _files:
            _files.popitem()[1].close()


def _version(href: str) -> tuple[int, int] | None:
    """What changes when a local file is replaced under its name."""
    if "://" in href or not os.path.exists(href):
        return None
    found = os.stat(href)
    return found.st_mtime_ns, found.st_size
