from collections import Counter

import apache_beam as beam
from apache_beam.testing.util import assert_that, equal_to

from transforms.grid import BlockKey
from transforms.limit import LimitConcurrency, lane
from transforms.plan import BlockKeyCoder

KEYS = [BlockKey(33, 1, 2, row, col) for row in range(10) for col in range(10)]


def test_every_element_passes_once_and_unchanged():
    elements = [(key, str(key)) for key in KEYS]
    with beam.Pipeline(runner="FnApiRunner") as root:
        assert_that(root | beam.Create(elements) | LimitConcurrency(7), equal_to(elements))


def test_lanes_are_used_evenly_and_never_exceeded():
    for number in (8, 16, 40):
        lanes = Counter(lane((key, None), number) for key in KEYS)
        assert set(lanes) == set(range(number))
        assert max(lanes.values()) - min(lanes.values()) <= 1
    tiles = Counter(lane((BlockKey(33, x, 2, 0, 0), None), 8) for x in range(100))
    assert set(tiles) == set(range(8))


def test_neighbours_share_a_lane_that_works_on_several_at_once():
    of = {key: lane((key, None), 4, at_once=4) for key in KEYS}
    together = [len({of[key] for key in KEYS[i : i + 4]}) for i in range(0, 100, 4)]
    assert together == [1] * 25
    most, *_, least = sorted(Counter(of.values()).values(), reverse=True)
    assert set(of.values()) == {0, 1, 2, 3} and most - least <= 4


def test_keys_travel_in_13_bytes():
    for key in (*KEYS, BlockKey(-60, 0, 111, 9, 9)):
        encoded = BlockKeyCoder().encode(key)
        assert len(encoded) == 13
        assert BlockKeyCoder().decode(encoded) == key
    assert isinstance(beam.coders.registry.get_coder(BlockKey), BlockKeyCoder)
