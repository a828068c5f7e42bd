import numpy as np

from benchmarks.made_maps import made_block
from transforms.grid import BlockKey, Grid

GRID = Grid(chip_size=64, halo=16, chips_per_block=2, blocks_per_tile=2)


def test_blocks_agree_where_they_overlap_and_differ_elsewhere():
    (left, evidence), (right, _) = (made_block(BlockKey(31, 5, 60, 0, col), GRID) for col in (0, 1))
    wide = 2 * GRID.reach
    np.testing.assert_array_equal(left.percent[:, :, -wide:], right.percent[:, :, :wide])
    assert (left.percent[:, :, :wide] != right.percent[:, :, :wide]).any()
    assert abs(left.percent.sum(0, dtype=int) - 100).max() <= 3
    assert {name: layer.shape for name, layer in evidence.items()} == dict.fromkeys(
        ("cloud", "reliability", "optical_age", "sar_age"), (GRID.block_core_size,) * 2
    )
