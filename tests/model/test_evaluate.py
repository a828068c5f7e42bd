"""Counts of samples and reports, against counts made by hand."""

import json

import numpy as np
import pytest

from model.evaluate import SampleScore, cloud_bin, evaluate, evaluate_maps, report
from model.legend import LULC6
from model.patch import Sample
from model.predict import Prediction

SIZE = (20, 30)  # padded to 32 x 32


def padded(a, value):
    pad = [(0, 0)] * (a.ndim - 2) + [(0, 32 - SIZE[0]), (0, 32 - SIZE[1])]
    return np.pad(a, pad, constant_values=value)


def make_sample(number, cloud_rows=5):
    rng = np.random.default_rng(number)
    cloud = np.zeros(SIZE, bool)
    cloud[:cloud_rows] = True
    label = rng.integers(0, 6, SIZE).astype(np.uint8)
    label[:, 0] = 255
    return Sample(
        f"s{number}",
        f"s{number}",
        SIZE,
        padded(rng.integers(1, 3000, (12, *SIZE)).astype(np.uint16), 0),
        padded(rng.integers(-2000, -500, (2, *SIZE)).astype(np.int16), -32768),
        padded(label, 255),
        padded(cloud, False),
    )


def made_index(optical, sar):
    """(n, y, x) a class that depends on both sensors."""
    return ((optical[:, 0].astype(int) + sar[:, 0].astype(int)) % 6).astype(np.uint8)


def predict(optical, sar):
    index = made_index(optical, sar)
    nothing = ~optical.any(axis=1) & (sar == -32768).all(axis=1)
    index[nothing] = 255
    reliability = np.where(np.arange(32)[:, None] < 5, 10, 90) * np.ones(index.shape)
    reliability[~optical.any(axis=1)] = 0
    confidence = np.full(index.shape, 100, np.uint8)
    return Prediction(LULC6.codes(index), confidence, reliability.astype(np.uint8))


SAMPLES = [make_sample(i, rows) for i, rows in enumerate((0, 5, 10, 16, 20))]


def by_hand(sample, index, where=True):
    matrix = np.zeros((6, 6), int)
    for t, p in zip(sample.label[where].ravel(), index[where].ravel(), strict=True):
        if t != 255:
            matrix[t, p] += 1
    return matrix


def test_pixels_are_counted_by_truth_and_prediction_on_all_and_on_cloudy_ones():
    for sample, score in zip(SAMPLES, evaluate(predict, SAMPLES), strict=True):
        index = made_index(sample.optical[None], sample.sar[None])[0]
        np.testing.assert_array_equal(score.confusion, by_hand(sample, index))
        np.testing.assert_array_equal(score.cloudy, by_hand(sample, index, sample.cloud))
        assert score.cloud == sample.cloud[: SIZE[0], : SIZE[1]].mean()
        assert score.unmapped == 0


@pytest.mark.parametrize(("inputs", "optical", "sar"), [("s1", 0, None), ("s2", None, -32768)])
def test_a_modality_gets_nodata_for_the_other_sensor(inputs, optical, sar):
    (score,) = evaluate(predict, SAMPLES[:1], inputs)
    sample = SAMPLES[0]
    o = sample.optical if optical is None else np.full_like(sample.optical, optical)
    s = sample.sar if sar is None else np.full_like(sample.sar, sar)
    np.testing.assert_array_equal(score.confusion, by_hand(sample, made_index(o[None], s[None])[0]))


def test_how_samples_are_batched_changes_nothing():
    one, four = (list(evaluate(predict, SAMPLES, batch=n)) for n in (1, 4))
    assert [s.to_dict() for s in one] == [s.to_dict() for s in four]
    with pytest.raises(ValueError, match="got 's3'"):
        next(evaluate(predict, SAMPLES, "s3"))


def test_clouds_are_looked_for_where_no_mask_came_along():
    bare = [s._replace(cloud=None) for s in SAMPLES]
    found = evaluate(predict, bare, cloud_mask=lambda optical: optical[0] > 1500)
    for sample, score in zip(bare, found, strict=True):
        assert score.cloud == (sample.optical[0, : SIZE[0], : SIZE[1]] > 1500).mean()
    (unknown,) = evaluate(predict, bare[:1])
    assert unknown.cloud is None and not unknown.cloudy.any() and not unknown.reliability.any()
    assert report([unknown])["cloud_bins"]["0-20"]["samples"] == 0


def test_pixels_without_a_class_are_told_apart():
    def maps(sample):
        index = sample.label[: SIZE[0], : SIZE[1]].copy()
        index[:10] = 255
        return index

    (score,) = evaluate_maps(maps, SAMPLES[:1])
    overall = report([score])["overall"]
    assert score.unmapped == 10 * 29 and score.confusion.sum() == 10 * 29
    assert overall["oa"] == 1.0 and overall["oa_unmapped_wrong"] == 0.5
    assert overall["ece"] is None and overall["reliability_auc"] is None


def test_bins_hold_their_lower_edge():
    edges = (0, 0.199, 0.2, 0.4, 0.6, 0.8, 1)
    assert [cloud_bin(x) for x in edges] == [
        "0-20", "0-20", "20-40", "40-60", "60-80", "80-100", "80-100"
    ]  # fmt: skip


def test_a_report_adds_up_and_is_plain_json():
    scores = list(evaluate(predict, SAMPLES))
    found = json.loads(json.dumps(report(scores, draws=50), allow_nan=False))
    total = np.array(found["overall"]["confusion"])
    np.testing.assert_array_equal(total, sum(s.confusion for s in scores))
    assert found["overall"]["oa"] == pytest.approx(np.trace(total) / total.sum())
    bins, pixels = found["cloud_bins"], found["pixels"]
    assert [b["samples"] for b in bins.values()] == [1, 1, 1, 0, 2]
    np.testing.assert_array_equal(sum(np.array(b["confusion"]) for b in bins.values()), total)
    assert pixels["clear"]["pixels"] + pixels["cloudy"]["pixels"] == total.sum()
    assert bins["60-80"]["oa"] is None and bins["60-80"]["interval"] == {}
    low, high = found["overall"]["interval"]["oa"]
    assert low <= found["overall"]["oa"] <= high
    # All confidence is 100 %: the gap is the share of wrong pixels. Reliability falls on row 5.
    assert found["overall"]["ece"] == pytest.approx(1 - found["overall"]["oa"])
    assert [s["name"] for s in found["samples"]] == [s.name for s in SAMPLES]
    assert found["samples"][1]["cloud"] == 0.25
    one = report(scores[1:2])
    assert one["overall"]["reliability_auc"] == 1.0


def test_scores_survive_json():
    (score,) = evaluate(predict, SAMPLES[1:2])
    again = SampleScore.from_dict(json.loads(json.dumps(score.to_dict())))
    assert again.to_dict() == score.to_dict() and again.confusion.dtype == np.int64
