"""Assessments: from a drawn and filled sample to figures, or to the reasons why there are none."""

import numpy as np
import pytest
from made_products import DAY, geobox, make_product, patchwork

from transforms.area import pixel_areas
from transforms.assessment import assess, why_no_intervals
from transforms.assessment_text import assessment_text
from transforms.product import ProductTile
from transforms.published import open_product
from transforms.sample_table import read_table, write_table
from transforms.sampling import draw
from transforms.strata import count_strata, stratification

BOX = geobox(3.0, 50.0, 200, 160)
TILE = ProductTile("N49E003", BOX)
CLASSES = ["forest", "grassland", "cropland", "built-up", "barren", "water"]


@pytest.fixture(scope="module")
def layers():
    return patchwork(np.random.default_rng(3), *BOX.shape)


@pytest.fixture(scope="module")
def product(layers, tmp_path_factory):
    return open_product(make_product(str(tmp_path_factory.mktemp("run")), DAY, {TILE: layers}))


@pytest.fixture(scope="module")
def drawn(product, tmp_path_factory):
    how = stratification(product, by_cloud=True)
    strata = count_strata(product, how)
    rows = draw(product, how, strata, np.minimum(12, strata.pixels), seed=0)
    path = str(tmp_path_factory.mktemp("table") / "sample.csv")
    write_table(path, rows)
    return read_table(path, CLASSES)


@pytest.fixture
def filled(drawn):
    """Every fifth forest is grassland, all else is as mapped."""
    rows = [dict(row) for row in drawn]
    forests = 0
    for row in rows:
        row["reference_class"] = row["map_class"]
        if row["map_class"] == "forest":
            forests += 1
            if forests % 5 == 0:
                row["reference_class"] = "grassland"
    return rows


def test_figures_of_a_filled_sample(product, filled, layers):
    document = assess(product, filled)
    assert document["refused"] == []
    km2 = pixel_areas(BOX) / 1e6
    total = float(km2 @ (layers["lulc"] != 0).sum(axis=1))
    assert document["total_km2"] == pytest.approx(total)
    classes = document["classes"]
    forest = float(km2 @ (layers["lulc"] == 10).sum(axis=1))
    assert classes["forest"]["mapped_km2"] == pytest.approx(forest)
    assert classes["water"]["users_accuracy"]["value"] == 1
    assert classes["forest"]["producers_accuracy"]["value"] == 1
    # Areas add up; what forest loses, grassland gains.
    areas = {name: figures["area_km2"]["value"] for name, figures in classes.items()}
    assert sum(areas.values()) == pytest.approx(total)
    users = classes["forest"]["users_accuracy"]["value"]
    assert areas["forest"] == pytest.approx(forest * users)
    assert document["overall_accuracy"]["value"] == pytest.approx(1 - forest * (1 - users) / total)
    matrix = document["error_matrix"]
    assert sum(sum(row.values()) for row in matrix.values()) == pytest.approx(1)
    assert set(document["overall_accuracy_by_cloud"]) == {
        "clear",
        "doubtful",
        "cloudy",
        "no optical",
    }
    assert document["counts"]["right"] < document["counts"]["of"] == len(filled)


def test_the_table_for_people_says_the_same(product, filled):
    document = assess(product, filled)
    text = assessment_text(document)
    assert f"{100 * document['overall_accuracy']['value']:.1f} %" in text
    assert "mid-p gamma" in text
    assert f"{len(filled)} of {len(filled)} samples interpreted" in text


def test_a_place_of_no_class_of_the_legend(product, filled):
    for row in filled:
        if row["map_class"] == "barren":
            row["reference_class"] = "other"
    figures = assess(product, filled)["classes"]
    assert figures["other"]["mapped_km2"] == 0
    assert figures["other"]["users_accuracy"] is None
    barren = figures["barren"]["mapped_km2"]
    assert figures["other"]["area_km2"]["value"] == pytest.approx(barren, abs=1e-6)
    assert figures["barren"]["producers_accuracy"] is None


def test_few_missing_samples_are_left_out(product, filled):
    filled[3]["reference_class"] = None
    document = assess(product, filled[:-1])
    assert document["refused"] == []
    assert document["samples"]["interpreted"] == len(filled) - 2


def purposive(rows):
    rows[4]["selection"] = "purposive"


def no_probability(rows):
    for row in rows:
        row["inclusion_probability"] = None


def one_without_probability(rows):
    rows[2]["inclusion_probability"] = None


def no_selection(rows):
    for row in rows:
        row["selection"] = None


def other_product(rows):
    for row in rows:
        row["stratum_pixels"] += 1


def foreign_stratum(rows):
    rows[0]["stratum"] = "swamp/clear"


def added_row(rows):
    rows.append(rows[0] | {"sample_id": "mine"})


def moved(rows):
    rows[0]["x"] += 0.5


def half_filled(rows):
    for row in rows[::2]:
        row["reference_class"] = None


def a_stratum_left_out(rows):
    rows[:] = [row for row in rows if row["stratum"] != "forest/clear"]


def unequal_chances(rows):
    next(row for row in rows if row["stratum"] == "forest/clear")["inclusion_probability"] = 0.9


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (purposive, "row 5 was not drawn at random"),
        (no_probability, "no inclusion_probability: without known chances"),
        (one_without_probability, "inclusion_probability is empty in row 3"),
        (no_selection, "no column selection"),
        (other_product, "the sample is of another product"),
        (foreign_stratum, "no stratum swamp/clear"),
        (added_row, "some were added by other means"),
        (moved, "the product has nothing mapped there"),
        (half_filled, "have no reference class"),
        (a_stratum_left_out, "no sample is in stratum forest/clear"),
        (unequal_chances, "inclusion probabilities"),
    ],
)
def test_what_is_no_probability_sample_gets_counts_and_no_interval(product, filled, spoil, reason):
    spoil(filled)
    document = assess(product, filled)
    assert any(reason in text for text in document["refused"]), document["refused"]
    assert "overall_accuracy" not in document
    assert document["counts"]["of"] == sum(r["reference_class"] is not None for r in filled)
    text = assessment_text(document)
    assert reason in text
    assert "no estimates and no intervals" in text


def test_a_map_that_changed_since_the_draw_is_noticed(product, filled, layers, tmp_path):
    swapped = layers | {"lulc": np.where(layers["lulc"] == 10, 30, layers["lulc"])}
    newer = open_product(make_product(str(tmp_path), DAY, {TILE: swapped}))
    reasons, _ = why_no_intervals(newer, filled)
    assert any("the product has no stratum forest/" in text for text in reasons)
    assert any("says forest/" in text and "has grassland/" in text for text in reasons)


def test_an_empty_table_is_bad_input(product, drawn):
    with pytest.raises(ValueError, match="reference_class is empty in every row"):
        assess(product, drawn)
