"""Reading the COGs of a product, in a local folder or under a gs:// address."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from transforms import store

if TYPE_CHECKING:
    import rasterio


@contextmanager
def open_cog(url: str, **options: Any) -> Iterator[rasterio.DatasetReader]:
    """A COG to read from in this thread.

    On Google Cloud Storage it is read through fsspec, with the credentials that the jobs use.

    Args:
      options: of GDAL's driver.
    """
    import fsspec
    import rasterio

    # Sidecar files are none of a product's: looking for them costs a listing of the folder.
    with rasterio.Env(GDAL_DISABLE_READDIR_ON_OPEN="EMPTY_DIR"):
        if store.is_local(url):
            path, opener = store.local_path(url), None
        else:
            path, opener = url, fsspec.url_to_fs(url)[0]
        with rasterio.open(path, opener=opener, **options) as cog:
            yield cog
