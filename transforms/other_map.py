"""Another map as it lies there: one raster or a folder of tiles, read by window onto our grid."""

from __future__ import annotations

from contextlib import ExitStack
from types import TracebackType

import numpy as np
import shapely
from pyproj import Transformer

from transforms import store
from transforms.grid import GeoBox
from transforms.rasters import open_raster

_SAME_GRID = 0.01  # px by which edges may differ over a whole window

# GDAL interpolates coordinates, by default up to an eighth of a pixel off; it refuses 0.
_SAME_PLACE = 1e-6  # px

EXACT = "pixel by pixel, both are on one grid"
WARPED = "the other map's pixel that holds the centre of ours (nearest neighbour)"


class OtherRasters:
    """The rasters of another map.

    Where several hold a pixel, the first by name that is not nodata counts.

    Attributes:
      files: names of the rasters, in order.
      ways: how windows were read so far: EXACT, WARPED or both.
    """

    def __init__(self, url: str, nodata: int):
        """Open the rasters.

        Args:
          url: a raster, or a folder with GeoTIFFs anywhere below it; local or gs://.
          nodata: code of an unmapped pixel.

        Raises:
          ValueError: there is no raster, or one cannot be used.
        """
        self._nodata, self._stack = nodata, ExitStack()
        self.ways: set[str] = set()
        self.files = _addresses(url)
        self._rasters = [self._open(address) for address in self.files]
        self._outlines = shapely.STRtree([_outline(raster) for raster in self._rasters])

    def __enter__(self) -> OtherRasters:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()

    def read(self, geobox: GeoBox) -> np.ndarray:
        """(y, x) uint8 codes on a window of our grid, nodata where the other map has nothing."""
        out = np.full(geobox.shape, self._nodata, np.uint8)
        for i in sorted(self._outlines.query(around(geobox.epsg, geobox.bounds))):
            missing = out == self._nodata
            if not missing.any():
                break
            codes = self._window(self._rasters[i], geobox)
            out[missing] = codes[missing]
        return out

    def _open(self, address: str):
        from rasterio.errors import RasterioIOError

        try:
            raster = self._stack.enter_context(open_raster(address))
        except RasterioIOError as error:
            raise ValueError(f"other map: {address} cannot be opened: {error}") from None
        if raster.crs is None or raster.dtypes[0] not in ("uint8", "int8", "int16", "uint16"):
            raise ValueError(
                f"other map: {address} has CRS {raster.crs} and {raster.dtypes[0]} pixels, "
                "expected a georeferenced raster of class codes"
            )
        if raster.nodata not in (None, self._nodata):
            raise ValueError(
                f"other map: {address} declares nodata {raster.nodata:g}, expected "
                f"{self._nodata}: of this product that code may be a class; set it with "
                f"gdal_translate -a_nodata {self._nodata}"
            )
        return raster

    def _window(self, raster, geobox: GeoBox) -> np.ndarray:
        from rasterio import Affine
        from rasterio.enums import Resampling
        from rasterio.vrt import WarpedVRT

        left, top = _offset(raster, geobox)
        if left is not None:
            self.ways.add(EXACT)
            return self._cut(raster, geobox, left, top)
        self.ways.add(WARPED)
        x0, dx, _, y0, _, dy = geobox.gdal_transform
        with WarpedVRT(
            raster,
            crs=f"EPSG:{geobox.epsg}",
            transform=Affine(dx, 0, x0, 0, dy, y0),
            width=geobox.width,
            height=geobox.height,
            resampling=Resampling.nearest,
            src_nodata=self._nodata,
            nodata=self._nodata,
            tolerance=_SAME_PLACE,
        ) as warped:
            return warped.read(1)

    def _cut(self, raster, geobox: GeoBox, left: int, top: int) -> np.ndarray:
        """(y, x) of a window that may reach beyond the raster."""
        out = np.full(geobox.shape, self._nodata, np.uint8)
        rows = max(top, 0), min(top + geobox.height, raster.height)
        cols = max(left, 0), min(left + geobox.width, raster.width)
        if rows[0] < rows[1] and cols[0] < cols[1]:
            part = slice(rows[0] - top, rows[1] - top), slice(cols[0] - left, cols[1] - left)
            out[part] = raster.read(1, window=(rows, cols))
        return out


def _addresses(url: str) -> list[str]:
    if url.lower().endswith((".tif", ".tiff", ".vrt")):
        return [url]
    found = [name for name in store.list_files(url) if name.lower().endswith((".tif", ".tiff"))]
    if not found:
        raise ValueError(f"other map: there is no GeoTIFF below {url}")
    return [store.join(url, name) for name in found]


def _outline(raster) -> shapely.Geometry:
    epsg = raster.crs.to_epsg()
    if epsg is None:
        raise ValueError(f"other map: {raster.name} has a CRS without EPSG code, {raster.crs}")
    return around(epsg, raster.bounds)


def around(epsg: int, bounds: tuple[float, float, float, float]) -> shapely.Geometry:
    """A box in degrees that holds these bounds."""
    to_degrees = Transformer.from_crs(epsg, 4326, always_xy=True)
    west, south, east, north = to_degrees.transform_bounds(*bounds)
    if west > east:  # over the antimeridian
        west, east = -180.0, 180.0
    return shapely.box(west, south, east, north)


def _offset(raster, geobox: GeoBox) -> tuple[int, int] | tuple[None, None]:
    """Column and row of the window in the raster, where both are on one grid."""
    step = raster.transform.a
    if raster.crs.to_epsg() != geobox.epsg or raster.transform.b or raster.transform.e != -step:
        return None, None
    if abs(step / geobox.resolution - 1) * max(geobox.shape) > _SAME_GRID:
        return None, None
    left = (geobox.x0 - raster.transform.c) / step
    top = (raster.transform.f - geobox.y0) / step
    if max(abs(left - round(left)), abs(top - round(top))) > _SAME_GRID:
        return None, None
    return round(left), round(top)
