import itertools
from datetime import UTC, date, datetime, timedelta

import pytest

from transforms.pixels.pairing import Pair, PairRule, choose_pair
from transforms.scene import SENTINEL1, SENTINEL2, Scene

TARGET = date(2024, 6, 15)
WORLD = (-180.0, -90.0, 180.0, 90.0)


def scene(id, sensor, time, **fields):
    """A dated scene; `time` as "06-15T10:30:00" of 2024."""
    moment = datetime.fromisoformat(f"2024-{time}").replace(tzinfo=UTC)
    return Scene(id, sensor, moment, moment, moment, WORLD, **fields)


def undated(id, sensor, start, end):
    days = (datetime.fromisoformat(f"2024-{d}").replace(tzinfo=UTC) for d in (start, end))
    return Scene(id, sensor, None, *days, WORLD)


def optical(id, time, **fields):
    return scene(id, SENTINEL2, time, **fields)


def sar(id, time, **fields):
    return scene(id, SENTINEL1, time, **fields)


def ids(pair):
    return [s.id for s in pair.optical], [s.id for s in pair.sar]


def pair(*scenes, optical_days=10, sar_days=12):
    return ids(choose_pair(scenes, TARGET, optical_days, sar_days))


def test_nearest_optical_wins_however_cloudy():
    near = optical("near", "06-16T10:30:00", cloud=1.0)
    clear = optical("clear", "06-17T10:30:00", cloud=0.0)
    assert pair(clear, near) == (["near"], [])


def test_equal_distance_is_settled_by_cloud_then_id():
    before = optical("a", "06-13T10:30:00", cloud=0.9)
    after = optical("b", "06-17T10:30:00", cloud=0.1)
    assert pair(before, after) == (["b"], [])
    assert pair(before._replace(cloud=0.1), after) == (["a"], [])


def test_all_granules_of_the_pass_and_no_other():
    granules = [
        optical("north", "06-16T10:30:00", cloud=0.5),
        optical("south", "06-16T10:30:14", cloud=0.2),
        optical("next orbit", "06-16T12:10:00", cloud=0.9),
        optical("other level", "06-16T10:30:00", cloud=0.9, level="L1C"),
        optical("day before", "06-12T10:30:00", cloud=0.0),
    ]
    assert pair(*granules) == (["south", "north"], [])


def test_a_pass_across_midnight_is_whole():
    slices = [sar("late", "06-15T23:59:50"), sar("early", "06-16T00:00:15")]
    assert pair(optical("o", "06-15T23:00:00"), *slices) == (["o"], ["late", "early"])


def test_sar_is_next_to_the_optical_scene_not_to_the_target():
    chosen = optical("o", "06-10T10:30:00")
    assert pair(chosen, sar("target day", "06-15T05:00:00"), sar("next", "06-11T05:00:00")) == (
        ["o"],
        ["next"],
    )


def test_sar_pass_has_one_orbit_direction_level_and_unit():
    first = sar("s1", "06-15T05:00:00", orbit="descending", level="sigma0", unit="dB")
    others = [
        first._replace(id="s2"),
        first._replace(id="s3", orbit="ascending"),
        first._replace(id="s4", level="gamma0"),
        first._replace(id="s5", unit="linear"),
    ]
    assert pair(*others, first) == ([], ["s1", "s2"])


@pytest.mark.parametrize(
    ("time", "found"),
    [
        ("06-04T23:59:59", []),  # the reach is whole UTC days, the last one included
        ("06-05T00:00:00", ["x"]),
        ("06-25T23:59:59", ["x"]),
        ("06-26T00:00:00", []),
    ],
)
def test_edges_of_the_optical_reach(time, found):
    assert pair(optical("x", time)) == (found, [])


@pytest.mark.parametrize(("time", "found"), [("06-27T23:59:59", ["x"]), ("06-28T00:00:00", [])])
def test_edges_of_the_sar_reach(time, found):
    assert pair(optical("o", "06-15T00:00:01"), sar("x", time)) == (["o"], found)
    assert pair(sar("x", time)) == ([], found)


def test_no_optical_takes_the_sar_of_the_target_day():
    assert pair(sar("a", "06-14T18:00:00"), sar("b", "06-15T17:00:00")) == ([], ["b"])


def test_nothing_in_reach_is_an_empty_pair():
    assert choose_pair([optical("x", "01-01T10:00:00")], TARGET, 10, 12) == Pair((), ())
    assert choose_pair([], TARGET, 10, 12) == Pair((), ())


def test_undated_only_where_no_dated_one_is_in_reach():
    spring = undated("u", SENTINEL2, "05-01", "06-30")
    assert pair(spring, optical("far", "06-25T10:00:00")) == (["far"], [])
    assert pair(spring, optical("too far", "07-25T10:00:00")) == (["u"], [])


def test_undated_scenes_pair_by_overlapping_range_and_stand_alone():
    scenes = [
        undated("o2", SENTINEL2, "05-01", "06-30"),
        undated("o1", SENTINEL2, "05-01", "06-30"),
        undated("s2", SENTINEL1, "05-01", "06-30"),
        undated("s1", SENTINEL1, "05-01", "06-30"),
        undated("winter", SENTINEL1, "01-01", "02-01"),
    ]
    assert pair(*scenes) == (["o1"], ["s1"])
    assert pair(scenes[0], scenes[4]) == (["o2"], [])


def test_undated_range_ends_are_days_included():
    assert pair(undated("u", SENTINEL2, "06-01", "06-05")) == (["u"], [])
    assert pair(undated("u", SENTINEL2, "06-01", "06-04")) == ([], [])


def test_dated_sar_comes_before_undated_with_an_undated_optical():
    season = undated("o", SENTINEL2, "06-01", "06-30")
    dated, vague = sar("dated", "07-10T05:00:00"), undated("vague", SENTINEL1, "06-01", "06-30")
    assert pair(season, vague, dated) == (["o"], ["dated"])
    assert pair(season, vague, dated, sar_days=9) == (["o"], ["vague"])


def test_result_does_not_depend_on_input_order():
    scenes = [
        optical("a", "06-14T10:30:00", cloud=0.3),
        optical("b", "06-16T10:30:00", cloud=0.3),
        sar("c", "06-14T05:00:00"),
        sar("d", "06-14T16:00:00"),
        undated("e", SENTINEL2, "06-01", "06-30"),
    ]
    results = {choose_pair(p, TARGET, 10, 12) for p in itertools.permutations(scenes)}
    assert len(results) == 1
    assert ids(results.pop()) == (["a"], ["c"])  # c and d are 5.5 h away: the id decides


def test_rule_searches_far_enough_for_the_sar_of_the_farthest_optical():
    rule = PairRule(TARGET, 10, 12)
    edge = optical("o", "06-25T10:00:00")
    radar = sar("s", "07-07T23:00:00")
    assert rule.period.holds(radar.time)
    assert not rule.period.holds(radar.time + timedelta(days=1))
    assert ids(rule.choose([edge, radar])) == (["o"], ["s"])
    with pytest.raises(ValueError, match="expected 0 or more"):
        PairRule(TARGET, -1, 12)


def test_least_cloudy_within_reach_by_option():
    near = optical("near", "06-15T10:30:00", cloud=0.6)
    clear = optical("clear", "06-20T10:30:00", cloud=0.1)
    also = optical("also", "06-20T10:30:14", cloud=0.9)  # its pass, cloudy or not
    unknown = optical("unknown", "06-15T10:30:00")
    far = optical("far", "06-26T10:30:00", cloud=0.0)
    rule = PairRule(TARGET, optical="least-cloudy")
    radar = sar("s", "06-21T05:00:00")
    assert ids(rule.choose([near, clear, also, unknown, far, radar])) == (
        ["clear", "also"],
        ["s"],
    )
    assert ids(rule.choose([unknown, far])) == (["unknown"], [])
    assert ids(rule.choose([clear._replace(id="later"), near._replace(cloud=0.1)])) == (
        ["near"],
        [],
    )
    assert ids(PairRule(TARGET).choose([near, clear, also, radar])) == (["near"], ["s"])
    with pytest.raises(ValueError, match="optical is 'clearest', expected nearest or least-cloudy"):
        PairRule(TARGET, optical="clearest")


def test_passes_are_not_mixed_to_fill_a_block():
    corner = optical("corner", "06-15T10:30:00")._replace(footprint=(15.0, 46.0, 15.01, 46.01))
    whole = optical("whole", "06-17T10:30:00")
    assert pair(corner, whole) == (["corner"], [])


@pytest.mark.parametrize(
    ("scenes", "regime"),
    [
        ([optical("o", "06-15T10:00:00"), sar("s", "06-21T05:00:00")], "both"),
        ([optical("o", "06-15T10:00:00"), sar("s", "06-22T05:00:00")], "sar stale"),
        ([sar("s", "06-15T05:00:00")], "sar only"),
        ([optical("o", "06-15T10:00:00")], "optical only"),
        ([], "none"),
    ],
)
def test_regimes(scenes, regime):
    rule = PairRule(TARGET)
    assert rule.regime(rule.choose(scenes)) == regime
    assert PairRule(TARGET, stale_sar_days=7).regime(rule.choose(scenes)) != "sar stale"


def test_one_orbit_is_a_direction_that_flies_here_but_not_within_reach():
    rule = PairRule(TARGET, max_sar_days=6)
    seen = optical("o", "06-15T10:00:00")
    down = sar("d", "06-14T05:00:00")._replace(orbit="descending")
    up = sar("u", "06-16T17:00:00")._replace(orbit="ascending")
    late = sar("late", "06-24T17:00:00")._replace(orbit="ascending")

    def regime(*scenes):
        return rule.regime(rule.choose(scenes), scenes)

    assert regime(seen, down, up) == "both"
    assert regime(seen, down, late) == "one orbit"
    assert regime(seen, down, up, late) == "both"
    # A place that is seen from one direction only misses nothing.
    assert regime(seen, down) == "both"
    assert regime(seen, down, late._replace(orbit="")) == "both"
    assert regime(down, late) == "sar only"
    stale = PairRule(TARGET, max_sar_days=6, stale_sar_days=0)
    assert stale.regime(stale.choose([seen, down, late]), [seen, down, late]) == "sar stale"
