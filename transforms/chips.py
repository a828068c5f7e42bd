"""The chip cube: prepared chips at rest, one Zarr group per tile, one shard per block.

Chips are self-contained (halo included): reading one is one range request per array, and never
touches a neighbour. The chips of block number n stand at positions n * chips_in_block and up.
A block's seal (`transforms/seal.py`) is written last: it marks the block as complete.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from model.inputs import InputSpec
from transforms import shards
from transforms.cubes import ArraySpec, check_attributes, create_cube
from transforms.grid import BlockKey, Grid, TileIndex
from transforms.pixels.chip import AGE_UNKNOWN, CLOUD_UNKNOWN, Chips, Quality
from transforms.seal import open_sealed, sealed_blocks
from transforms.store import join

if TYPE_CHECKING:
    import zarr


OPEN_CUBES = 32
"""Cubes that a worker keeps open: on a continent it comes by blocks of thousands of tiles."""


def chip_cube_url(root: str, tile: TileIndex) -> str:
    return join(root, "chips", f"{tile.path}.zarr")


def chip_arrays(grid: Grid, inputs: InputSpec) -> dict[str, ArraySpec]:
    """Arrays of a chip cube in the order of writing, by field of `Chips`."""
    chips, per_block = grid.blocks_in_tile * grid.chips_in_block, grid.chips_in_block
    side = grid.chip_size
    nothing = int(Quality.NO_OPTICAL | Quality.NO_SAR)

    def pixels(count: int, dtype: str, fill: int, **attributes) -> ArraySpec:
        planes = (count,) if count else ()
        names = ("chip", "band", "y", "x") if count else ("chip", "y", "x")
        return ArraySpec(
            shape=(chips, *planes, side, side),
            chunks=(1, *planes, side, side),
            shards=(per_block, *planes, side, side),
            dtype=dtype,
            fill_value=fill,
            dimension_names=names,
            attributes=attributes,
        )

    def values(dtype: str, fill: float, name: str, **attributes) -> ArraySpec:
        return ArraySpec((chips, 2), (per_block, 2), None, dtype, fill, ("chip", name), attributes)

    sets = {"optical": inputs.optical, "sar": inputs.sar}
    arrays = {
        field: pixels(
            len(s.bands), s.dtype, s.nodata, units=s.unit, scale_factor=s.scale, bands=s.names
        )
        for field, s in sets.items()
    }
    arrays["cloud"] = pixels(0, "uint8", CLOUD_UNKNOWN, units="percent")
    arrays["age"] = values("int16", AGE_UNKNOWN, "sensor", units="days", sensors=list(sets))
    arrays["shift"] = values("float32", float("nan"), "axis", units="px", axes=["dy", "dx"])
    flags = {flag.name.lower(): flag.value for flag in Quality}
    arrays["quality"] = pixels(0, "uint8", nothing, flag_masks=flags)
    return arrays


def chip_attributes(grid: Grid, inputs: InputSpec) -> dict:
    """What a chip cube says of itself; opening it with others is an error."""
    return {"grid": vars(grid).copy(), "inputs": inputs.to_dict()}


def create_chip_cube(root: str, tile: TileIndex, grid: Grid, inputs: InputSpec) -> None:
    """Create a tile's chip cube, metadata only. Raises ValueError where another one lies."""
    url = chip_cube_url(root, tile)
    create_cube(url, chip_arrays(grid, inputs), chip_attributes(grid, inputs))


def open_chip_cube(root: str, tile: TileIndex, grid: Grid, inputs: InputSpec) -> zarr.Group:
    """Raises FileNotFoundError where there is none, ValueError where it holds something else."""
    url = chip_cube_url(root, tile)

    def block_of(name: str, index: tuple[int, ...]) -> tuple[int, int]:
        return divmod(index[0], grid.blocks_per_tile)

    cube = open_sealed(url, tile, block_of)
    check_attributes(url, dict(cube.attrs), chip_attributes(grid, inputs))
    return cube


def finished_chips(root: str, tile: TileIndex, grid: Grid) -> set[BlockKey]:
    """Blocks that are complete in a tile's chip cube, by one listing."""
    return sealed_blocks(chip_cube_url(root, tile), tile, grid.blocks_per_tile)


def chip_shards(grid: Grid, inputs: InputSpec, key: BlockKey) -> dict[str, str]:
    """By array: name in the cube of the one shard that is a block's."""
    number = str(grid.block_number(key))
    return {
        name: "/".join([name, "c", number, *"0" * (len(spec.shape) - 1)])
        for name, spec in chip_arrays(grid, inputs).items()
    }


def write_chips(cube: zarr.Group, grid: Grid, inputs: InputSpec, key: BlockKey, chips: Chips):
    """Write one block: one whole shard per array, its seal last.

    Args:
      cube: from `open_chip_cube`.

    Raises:
      ValueError: an array of the block does not fit the cube; nothing of the block is written.
    """
    specs = chip_arrays(grid, inputs)
    for name, spec in specs.items():
        got, expected = getattr(chips, name), (grid.chips_in_block, *spec.shape[1:])
        if got.shape != expected or got.dtype != spec.dtype:
            raise ValueError(
                f"block {key}: {name} is {got.dtype} {got.shape}, its chip cube takes "
                f"{spec.dtype} {expected}"
            )
    names = chip_shards(grid, inputs, key)
    encoded = (shards.encode(getattr(chips, n), s.shards and s.chunks) for n, s in specs.items())
    cube.store.write(key, zip(names.values(), encoded, strict=True))


def read_chips(cube: zarr.Group, grid: Grid, key: BlockKey) -> Chips:
    """The chips of one block, as they were sealed.

    Raises:
      Damaged: the block is not complete, a shard is missing, or is not the one that was written.
    """
    inputs = InputSpec.from_dict(cube.attrs["inputs"])
    specs, names = chip_arrays(grid, inputs), chip_shards(grid, inputs, key)
    read = cube.store.read(key, names.values())
    return Chips(
        **{name: shards.decode(data, specs[name]) for name, data in zip(names, read, strict=True)}
    )


def chips_of(grid: Grid, key: BlockKey) -> slice:
    """Where a block's chips stand in the arrays of its cube."""
    first = grid.block_number(key) * grid.chips_in_block
    return slice(first, first + grid.chips_in_block)
