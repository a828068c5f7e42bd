"""The interpreter's table, out and in."""

import json

import pytest

from transforms.sample_table import COLUMNS, read_table, write_table

CLASSES = ["forest", "built-up"]
ROWS = [
    {
        "sample_id": "01",
        "lon": 3.25,
        "lat": -0.5,
        "x": 3.25,
        "y": -0.5,
        "stratum": "forest/clear",
        "stratum_pixels": 12,
        "inclusion_probability": 0.25,
        "selection": "random",
        "map_class": "forest",
        "cloud": 5,
        "reference_class": "Built-Up ",
        "note": 'near a river, doubtful; "maybe"',
    },
    {"sample_id": "02", "map_class": "forest", "reference_class": "other"},
]


@pytest.mark.parametrize("name", ["sample.csv", "sample.geojson"])
def test_what_is_written_is_read(tmp_path, name):
    path = str(tmp_path / name)
    write_table(path, ROWS)
    first, second = read_table(path, CLASSES)
    assert set(first) == set(COLUMNS)
    assert first == dict.fromkeys(COLUMNS) | ROWS[0] | {
        "reference_class": "built-up",
        "cloud": "5",
    }
    assert second["reference_class"] == "other"
    assert second["x"] is None


def test_geojson_has_a_point_per_sample(tmp_path):
    path = tmp_path / "sample.geojson"
    write_table(str(path), ROWS[:1])
    (feature,) = json.loads(path.read_text())["features"]
    assert feature["geometry"] == {"type": "Point", "coordinates": [3.25, -0.5]}


def test_what_spreadsheets_do_to_a_table(tmp_path):
    path = tmp_path / "sample.csv"
    path.write_bytes(
        "\ufeffsample_id;map_class;reference_class;stratum_pixels;mine\r\n"
        "1;FOREST;;12.0;a;\r\n".replace(";a;", ";a").encode()
    )
    (row,) = read_table(str(path), CLASSES)
    assert row["map_class"] == "forest"
    assert (row["reference_class"], row["stratum_pixels"], row["mine"]) == (None, 12, "a")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sample_id,map_class\n1,forest\n", "no column reference_class"),
        ("sample_id,map_class,reference_class\n", "the table has no row"),
        (
            "sample_id,map_class,reference_class\n1,forest,\n2,forest,woods\n",
            "row 2, column reference_class: got 'woods', expected one of forest, built-up, other",
        ),
        (
            "sample_id,map_class,reference_class,x\n1,forest,forest,east\n",
            "row 1, column x: got 'east', expected a number",
        ),
        (
            "sample_id,map_class,reference_class,stratum_pixels\n1,forest,forest,2.5\n",
            "row 1, column stratum_pixels: got '2.5'",
        ),
        ("sample_id,map_class,reference_class\n1,,forest\n", "row 1, column map_class: is empty"),
        (
            "sample_id,map_class,reference_class\n7,forest,forest\n7,forest,forest\n",
            "row 2, column sample_id: 7 is row 1, too",
        ),
        ("sample_id,map_class,reference_class\n1,forest,forest,x,y\n", "row 1 has more cells"),
    ],
)
def test_wrong_cells_are_named_by_row_and_column(tmp_path, text, message):
    path = tmp_path / "sample.csv"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        read_table(str(path), CLASSES)


def test_every_wrong_cell_counts(tmp_path):
    path = tmp_path / "sample.csv"
    lines = "".join(f"{i},forest,woods\n" for i in range(8))
    path.write_text(f"sample_id,map_class,reference_class\n{lines}")
    with pytest.raises(ValueError, match="row 5, column reference_class.*; and 3 more"):
        read_table(str(path), CLASSES)


@pytest.mark.parametrize(
    ("name", "message"),
    [("a.xlsx", "ends in .csv or .geojson"), ("gone.csv", "there is no file")],
)
def test_files_that_cannot_be_read(tmp_path, name, message):
    with pytest.raises(ValueError, match=message):
        read_table(str(tmp_path / name), CLASSES)


def test_a_geojson_file_that_is_none(tmp_path):
    path = tmp_path / "a.geojson"
    path.write_text('{"type": "Point"}')
    with pytest.raises(ValueError, match="expected a GeoJSON FeatureCollection"):
        read_table(str(path), CLASSES)
