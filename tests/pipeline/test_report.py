"""The HTML report of a run, and the records of its jobs."""

import json
from datetime import UTC, date, datetime
from html.parser import HTMLParser

import numpy as np
import pytest
from planet import micro_checkpoint

from pipeline.cli import main
from pipeline.evidence import Overview, histograms, under_cloud_rule
from pipeline.launch import JobReport
from pipeline.records import add_record, read_records
from transforms.layers import LAYERS
from transforms.scene import SENTINEL1, SENTINEL2, Scene


class Page(HTMLParser):
    """What a page asks for from elsewhere, and its words."""

    def __init__(self, text: str):
        super().__init__()
        self.addresses, self.tags, self.words = [], [], []
        self.feed(text)
        self.words = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.addresses += [value for name, value in attrs if name in ("src", "href")]

    def handle_data(self, data):
        self.words.append(data)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run over the border of two zones; its jobs ran one by one."""
    folder = tmp_path_factory.mktemp("report")
    out = folder / "run"
    weights = micro_checkpoint(folder / "weights" / "micro.safetensors")
    what = ["--region=5.99,50.0,6.01,50.015", "--date=2024-06-15"]
    what += ["--source=synthetic:seed=3,cloud=0.4", f"--checkpoint={weights}"]
    how = ["--chip-size=96", "--halo=16", "--threads=1", "--inputs=trust"]
    assert main(["ingest", f"--out={out}", *what, *how]) == 0
    assert main(["report", str(out)]) == 2, "there is no product yet"
    assert main(["run", f"--out={out}", "--threads=1"]) == 0
    return out


def test_the_report_of_a_run_is_one_file_that_needs_no_other(finished, capsys):
    out = finished
    assert main(["report", str(out)]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == str(out / "reports" / "report.html")

    page = Page((out / "reports" / "report.html").read_text())
    assert page.addresses and all(a.startswith("data:image/png;base64,") for a in page.addresses)
    assert "script" not in page.tags
    items = [json.loads(path.read_text()) for path in out.glob("product/*/[NS]*.json")]
    assert len(items) == 2, "the zones meet where two product tiles do"
    said = [item["properties"] for item in items]
    assert f"{sum(p['cloudlulc:mapped_km2'] for p in said):,.2f} km² mapped" in page.words
    for name in set().union(*(p["cloudlulc:class_area_km2"] for p in said)):
        km2 = sum(p["cloudlulc:class_area_km2"].get(name, 0.0) for p in said)
        assert name.capitalize() in page.words and f"{km2:,.3f}" in page.words
    for link in (link for item in items for link in item["links"]):
        if link["rel"] == "derived_from":
            assert link["title"] in page.words
    assert "100.0 % of the region" in page.words
    assert "Not made yet: cloudlulc agree" in page.words


def test_a_run_that_has_nothing_to_do_leaves_no_record(finished):
    jobs = {job: read_records(str(finished), job) for job in ("ingest", "classify", "mosaic")}
    assert [len(records) for records in jobs.values()] == [1, 1, 1]
    assert main(["run", f"--out={finished}"]) == 0
    assert read_records(str(finished), "ingest") == jobs["ingest"]


def test_a_folder_without_a_run_has_no_report(tmp_path, capsys):
    assert main(["report", str(tmp_path)]) == 2
    assert "no run.json" in capsys.readouterr().err


def test_records_are_kept_in_order(tmp_path):
    ended = datetime(2026, 11, 22, 12, tzinfo=UTC)
    for done in (3, 0, 2):
        todo = 4 if done else 0
        add_record(str(tmp_path), JobReport("ingest", todo, done, 0, 1.25, {}), ended)
    records = read_records(str(tmp_path), "ingest")
    assert [r["done"] for r in records] == [3, 2]
    assert records[0]["ended"] == "2026-11-22T12:00:00+00:00"


def overview(**layers) -> Overview:
    shape = (2, 4)
    full = {name: np.full(shape, LAYERS[name].nodata, LAYERS[name].dtype) for name in LAYERS}
    full = {name: full[name] for name in ("lulc", "cloud", "optical_age")}
    full |= {name: np.array(values, LAYERS[name].dtype) for name, values in layers.items()}
    return Overview(1, full, np.array([[0, 0, 1, 1]] * 2))


def scene(cloud, day: int, sensor: str = SENTINEL2) -> Scene:
    moment = datetime(2024, 6, day, 10, tzinfo=UTC)
    footprint = (0.0, 0.0, 1.0, 1.0)
    return Scene(f"s{day}", sensor, moment, moment, moment, footprint, cloud=cloud)


def test_what_a_rule_of_35_percent_would_leave():
    seen = overview(
        lulc=[[10, 10, 10, 10], [10, 10, 10, 0]],
        cloud=[[0, 90, 0, 0], [0, 0, 0, 255]],
        optical_age=[[-1, -1, 2, 2], [-1, -1, 2, -32768]],
    )
    target = date(2024, 6, 15)
    clear, overcast = scene(0.2, 14), scene(0.9, 17)
    rule = under_cloud_rule(seen, [[clear, scene(0.9, 14, SENTINEL1)], [overcast]], target)
    assert rule == {"share": pytest.approx(3 / 7), "unknown": 0}
    rule = under_cloud_rule(seen, [[clear], [scene(None, 17)]], target)
    assert rule == {"share": pytest.approx(3 / 7), "unknown": pytest.approx(3 / 7)}


def test_histograms_add_up_to_the_map():
    bars = histograms(
        overview(
            lulc=[[10, 10, 10, 10], [10, 10, 10, 0]],
            cloud=[[0, 90, 100, 9], [255, 0, 0, 50]],
            optical_age=[[-1, -1, 2, 2], [-1, -32768, 2, 2]],
        )
    )
    assert dict(bars["cloud"])["0-10 %"] == pytest.approx(4 / 7)
    assert dict(bars["cloud"])["90-100 %"] == pytest.approx(2 / 7)
    assert dict(bars["cloud"])["none"] == pytest.approx(1 / 7)
    assert [label for label, _ in bars["optical_age"]] == ["-1 d", "+2 d", "none"]
    for values in bars.values():
        assert sum(share for _, share in values) == pytest.approx(1)


def test_seams_are_judged_kept_and_shown(finished, capsys):
    code = main(["audit", str(finished), "--seams", "--json"])
    seams = json.loads(capsys.readouterr().out)
    assert code == (1 if seams["verdict"] == "fails" else 0)
    assert {"zone", "chip"} <= set(seams["kinds"])
    assert seams["kinds"]["chip"]["pairs"] > 1000
    assert json.loads((finished / "reports" / "seams.json").read_text()) == seams
    assert main(["report", str(finished)]) == 0
    assert f"seams: {seams['verdict']}" in (finished / "reports" / "report.html").read_text()
