"""Opening rasters that lie in a local folder or under a gs:// address."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from transforms import store

if TYPE_CHECKING:
    import rasterio


def open_raster(url: str, **options: Any) -> rasterio.DatasetReader:
    """A raster to read from in this thread.

    On Google Cloud Storage it is read through fsspec, with the credentials that the jobs use.

    Args:
      options: of GDAL's driver.
    """
    import fsspec
    import rasterio

    if store.is_local(url):
        return rasterio.open(store.local_path(url), **options)
    return rasterio.open(url, opener=fsspec.url_to_fs(url)[0], **options)


@contextmanager
def open_cog(url: str, **options: Any) -> Iterator[rasterio.DatasetReader]:
    """A COG of a product; nothing beside it is looked for, which would cost a listing."""
    import rasterio

    with rasterio.Env(GDAL_DISABLE_READDIR_ON_OPEN="EMPTY_DIR"), open_raster(url, **options) as cog:
        yield cog
