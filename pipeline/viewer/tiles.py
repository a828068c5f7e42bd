"""Map tiles of a product: its COGs laid side by side in Web Mercator, by rio-tiler."""

from __future__ import annotations

from functools import lru_cache

from pipeline.viewer.products import Bounds, Product
from pipeline.viewer.styles import colormap
from transforms.rasters import open_cog

TILE_SIZE = 256  # px


def tile_png(product: Product, layer: str, z: int, x: int, y: int) -> bytes:
    """A map tile as PNG, transparent where there is no map.

    Values are those of the nearest pixel; zoomed out, of the COGs' overviews.

    Args:
      z, x, y: of the tile in the usual Web Mercator scheme, y from the north.

    Raises:
      rasterio.errors.RasterioIOError: a COG cannot be read.
    """
    from rio_tiler.io import Reader
    from rio_tiler.mosaic import mosaic_reader

    def read(url: str, x: int, y: int, z: int):
        with open_cog(url) as cog, Reader(None, dataset=cog) as reader:
            return reader.tile(x, y, z, tilesize=TILE_SIZE)

    tiles = product.tiles_within(tile_bounds(z, x, y))
    cogs = [tile.cogs[layer] for tile in tiles if layer in tile.cogs]
    if not cogs:
        return empty_png()
    # GDAL's handles belong to a thread: the server has many, each reads its own tile.
    image, used = mosaic_reader(cogs, read, x, y, z, threads=0)
    return image.render(img_format="PNG", colormap=colormap(product, layer))


def tile_bounds(z: int, x: int, y: int) -> Bounds:
    import morecantile

    return tuple(morecantile.tms.get("WebMercatorQuad").bounds(x, y, z))


@lru_cache(maxsize=1)
def empty_png() -> bytes:
    import io

    from PIL import Image

    data = io.BytesIO()
    Image.new("LA", (TILE_SIZE, TILE_SIZE)).save(data, "PNG")
    return data.getvalue()
