"""The processing grid: pixels < chips < blocks < tiles in each UTM zone, both ways.

Every zone has its own grid with its origin at easting 0, northing 0 and pixel edges on multiples
of the resolution, so that Sentinel-2 pixels are used as they are. Tile (x, y) counts eastward and
northward; rows and columns inside a tile count from its upper left corner, as rasters do.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil, floor
from typing import NamedTuple

import shapely
from shapely.geometry.base import BaseGeometry

from transforms.zones import geographic_bounds, part_in_zone, zone_epsg, zone_name, zones_touched


class GeoBox(NamedTuple):
    """A north-up raster window: coordinate system, upper left corner, pixel size and shape."""

    epsg: int
    x0: float  # left edge, CRS units
    y0: float  # upper edge, CRS units
    resolution: float  # pixel size, CRS units
    width: int
    height: int

    @property
    def shape(self) -> tuple[int, int]:
        """(y, x) in pixels."""
        return self.height, self.width

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """(left, bottom, right, top) in CRS units."""
        return (
            self.x0,
            self.y0 - self.height * self.resolution,
            self.x0 + self.width * self.resolution,
            self.y0,
        )

    @property
    def gdal_transform(self) -> tuple[float, float, float, float, float, float]:
        """(left, pixel width, 0, top, 0, -pixel height), as GDAL orders them."""
        return self.x0, self.resolution, 0.0, self.y0, 0.0, -self.resolution

    def __str__(self) -> str:
        left, bottom, right, top = self.bounds
        return (
            f"EPSG:{self.epsg} ({left:g}, {bottom:g}, {right:g}, {top:g}) "
            f"{self.height} x {self.width} px of {self.resolution:g}"
        )


@dataclass(frozen=True, order=True)
class TileIndex:
    """One tile of one UTM zone; prints as "33N/x012y045"."""

    zone: int  # +33 = 33N, -33 = 33S
    x: int
    y: int

    def __str__(self) -> str:
        return f"{zone_name(self.zone)}/x{self.x:03d}y{self.y:03d}"

    @property
    def path(self) -> str:
        """The tile's name inside a folder: "33N_x012y045"."""
        return str(self).replace("/", "_")


@dataclass(frozen=True, order=True)
class BlockKey:
    """Where a block lies; prints as "33N/x012y045/r03c07". The only thing that is shuffled."""

    zone: int
    tile_x: int
    tile_y: int
    row: int  # from the tile's top
    col: int  # from the tile's left

    def __str__(self) -> str:
        return f"{self.tile}/r{self.row:02d}c{self.col:02d}"

    @property
    def tile(self) -> TileIndex:
        return TileIndex(self.zone, self.tile_x, self.tile_y)


@dataclass(frozen=True)
class Grid:
    """Sizes of the processing grid; see the module's docstring for its origin."""

    resolution: int = 10  # m
    chip_size: int = 512  # px, core and halo: the network's input
    halo: int = 32  # px per side: context that is cropped from the result
    chips_per_block: int = 2  # per side
    blocks_per_tile: int = 10  # per side

    def __post_init__(self):
        if self.halo < 0 or self.chip_size <= 2 * self.halo:
            raise ValueError(
                f"grid: chip of {self.chip_size} px is not larger than its two halos of "
                f"{self.halo} px; choose a chip of at least {2 * max(self.halo, 0) + 32} px"
            )
        if self.chip_size % 32:
            raise ValueError(f"grid: chip of {self.chip_size} px: expected a multiple of 32")
        if min(self.resolution, self.chips_per_block, self.blocks_per_tile) < 1:
            raise ValueError(f"grid: sizes have to be positive, got {self}")

    @property
    def core_size(self) -> int:
        """Side of the part that a chip answers for, px."""
        return self.chip_size - 2 * self.halo

    @property
    def reach(self) -> int:
        """Px to each side of a border over which neighbours are blended.

        Half of the halo: whatever counts in the map then has the other half as context at least.
        """
        return min(self.halo, self.core_size) // 2

    @property
    def block_core_size(self) -> int:
        """Side of a block without halo, px."""
        return self.core_size * self.chips_per_block

    @property
    def block_size(self) -> int:
        """Side of a block with its shared halo, px: what is fetched."""
        return self.block_core_size + 2 * self.halo

    @property
    def tile_size(self) -> int:
        """Side of a tile, px."""
        return self.block_core_size * self.blocks_per_tile

    @property
    def chips_in_block(self) -> int:
        return self.chips_per_block**2

    @property
    def blocks_in_tile(self) -> int:
        return self.blocks_per_tile**2

    def tiles_covering(self, region: BaseGeometry, around: int = 0) -> Iterator[TileIndex]:
        """Tiles that a region touches, in order of zone, x, y.

        Args:
          region: (multi)polygon, longitude and latitude in degrees, EPSG:4326.
          around: px around the region that count as its own.

        Raises:
          ValueError: the region reaches beyond the latitudes of UTM.
        """
        size = self.tile_size * self.resolution
        for zone in zones_touched(region):
            part = self._part_in_zone(region, zone, around)
            left, bottom, right, top = part.bounds
            for x in range(floor(left / size), ceil(right / size)):
                for y in range(floor(bottom / size), ceil(top / size)):
                    tile = TileIndex(zone, x, y)
                    if part.intersects(shapely.box(*self.tile_geobox(tile).bounds)):
                        yield tile

    def blocks(self, tile: TileIndex, region: BaseGeometry, around: int = 0) -> Iterator[BlockKey]:
        """Blocks of a tile whose core a region (EPSG:4326) touches, row by row; see above."""
        part = self._part_in_zone(region, tile.zone, around)
        shapely.prepare(part)
        for row in range(self.blocks_per_tile):
            for col in range(self.blocks_per_tile):
                key = BlockKey(tile.zone, tile.x, tile.y, row, col)
                if part.intersects(shapely.box(*self.core_geobox(key).bounds)):
                    yield key

    def _part_in_zone(self, region: BaseGeometry, zone: int, around: int) -> BaseGeometry:
        # A pixel of margin: the straightened edges of a projected polygon may cut into it.
        return part_in_zone(region.wkb, zone).buffer((2 + around) * self.resolution)

    def tile_geobox(self, tile: TileIndex) -> GeoBox:
        """The tile's map, without halo."""
        size = self.tile_size * self.resolution
        return GeoBox(
            zone_epsg(tile.zone),
            tile.x * size,
            (tile.y + 1) * size,
            self.resolution,
            self.tile_size,
            self.tile_size,
        )

    def core_geobox(self, key: BlockKey) -> GeoBox:
        """The block without its halo: what it answers for."""
        tile = self.tile_geobox(key.tile)
        step = self.block_core_size * self.resolution
        return tile._replace(
            x0=tile.x0 + key.col * step,
            y0=tile.y0 - key.row * step,
            width=self.block_core_size,
            height=self.block_core_size,
        )

    def geobox(self, key: BlockKey) -> GeoBox:
        """The block with its halo: what is fetched."""
        core, halo = self.core_geobox(key), self.halo * self.resolution
        return core._replace(
            x0=core.x0 - halo, y0=core.y0 + halo, width=self.block_size, height=self.block_size
        )

    def core(self, key: BlockKey) -> tuple[slice, slice]:
        """(y, x) slices of the block's core in its tile's map."""
        size = self.block_core_size
        return (
            slice(key.row * size, (key.row + 1) * size),
            slice(key.col * size, (key.col + 1) * size),
        )

    def block_number(self, key: BlockKey) -> int:
        """Position of the block in its tile, row by row: the index of its shard in a chip cube."""
        return key.row * self.blocks_per_tile + key.col

    def chip_slices(self) -> list[tuple[slice, slice]]:
        """(y, x) slices of the chips, halo included, in a block of `block_size`, row by row."""
        starts = range(0, self.block_core_size, self.core_size)
        return [
            (slice(y, y + self.chip_size), slice(x, x + self.chip_size))
            for y in starts
            for x in starts
        ]

    def footprint(self, tile: TileIndex) -> tuple[float, float, float, float]:
        """(west, south, east, north) in degrees of the tile and the halo of its outer blocks."""
        left, bottom, right, top = self.tile_geobox(tile).bounds
        halo = self.halo * self.resolution
        return geographic_bounds(
            zone_epsg(tile.zone), (left - halo, bottom - halo, right + halo, top + halo)
        )
