"""The command line on inputs: inspect, quarantine, limits of a source, relative paths."""

import json
import shutil
from pathlib import Path

import pytest
from planet import micro_checkpoint

from pipeline.arguments import absolute_source
from pipeline.cli import main
from pipeline.run_document import read_run

SAMPLE = Path(__file__).parents[2] / "data" / "sample"
PLACE = next(
    run for run in json.loads((SAMPLE / "demo.json").read_text()) if run["name"] == "ireland-east"
)


@pytest.fixture
def catalog(tmp_path):
    """The pairs of the sample, which a test may spoil."""
    shutil.copytree(SAMPLE / "bigearthnet", tmp_path / "catalog" / "bigearthnet")
    return tmp_path / "catalog"


def lie(catalog: Path) -> Path:
    """The optical item of the place, which now tells of an offset that its pixels have not."""
    day = PLACE["date"].replace("-", "")
    item = next(p for p in sorted(catalog.rglob("S2*.json")) if day in p.stem)
    document = json.loads(item.read_text())
    for asset in document["assets"].values():
        for band in asset.get("bands", ()):
            if band["name"].startswith("B"):
                band["raster:offset"] = -0.1
    item.write_text(json.dumps(document))
    return item


def test_inspect_ends_with_1_where_a_scene_belongs_in_quarantine(catalog, capsys):
    item = lie(catalog)
    sound = next(p for p in catalog.rglob("S1*.json"))
    assert main(["inspect", str(sound)]) == 0
    assert f"{sound.stem}: ok" in capsys.readouterr().out
    assert main(["inspect", str(sound), str(item)]) == 1
    told = capsys.readouterr().out
    assert f"{item.stem}: quarantine" in told and "+1000 offset" in told
    assert main(["inspect", str(catalog / "nothing.json")]) == 2
    assert "nothing.json" in capsys.readouterr().err


def test_a_lying_item_is_quarantined_and_the_rest_mapped(catalog, capsys, tmp_path):
    item, out = lie(catalog), tmp_path / "out"
    options = {
        "region": SAMPLE / PLACE["region"],
        "date": PLACE["date"],
        "source": f"files:{catalog}",
        "out": out,
        "checkpoint": micro_checkpoint(tmp_path / "weights" / "micro.safetensors"),
        "chip-size": 96,
        "halo": 16,
        "threads": 1,
        "max-optical-days": 0,
    }
    assert main(["run", *(f"--{k}={v}" for k, v in options.items())]) == 0
    assert "1 scenes in quarantine (reasons below plan/)" in capsys.readouterr().err
    first, second = sorted(
        (json.loads(p.read_text()) for p in out.glob("plan/*/*.json")),
        key=lambda record: not record["quarantine"],
    )
    assert list(first["quarantine"]) == [item.stem] and second["optical"] == []
    assert set(first["instead"]["regimes"].values()) == {"sar only"}
    (product,) = (json.loads(p.read_text()) for p in out.glob("product/*/*.json"))
    (regime,) = product["properties"]["cloudlulc:regimes"].items()
    unknown = {
        "expected_accuracy": None,
        "reason": "the checkpoint's card holds no accuracy by regime",
    }
    assert regime == ("sar only", {"blocks": regime[1]["blocks"], **unknown})
    scenes = [k["title"] for k in product["links"] if k["rel"] == "derived_from"]
    assert scenes and item.stem not in scenes
    run = read_run(str(out))
    assert (run["optical"], run["stale_sar_days"]) == ("nearest", 6)
    assert run["options"]["inputs"] == "measure"
    assert main(["run", "--out", str(out), "--inputs=trust"]) == 2
    assert "its options.inputs is measure, this run's is trust" in capsys.readouterr().err


def test_more_requests_than_a_service_allows_are_refused(capsys, tmp_path):
    code = main(
        ["ingest", "--region=15.1,46.51,15.13,46.53", "--date=2024-06-15", "--max-requests=41",
         "--source=earthengine:project,url=http://127.0.0.1:9,anonymous=1",
         f"--checkpoint={micro_checkpoint(tmp_path / 'micro.safetensors')}",
         f"--out={tmp_path / 'out'}"]
    )  # fmt: skip
    assert code == 2
    assert "max-requests: got 41, source earthengine allows 40" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_sources_are_found_from_anywhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    here = str(tmp_path)
    assert absolute_source("files:my/catalog") == f"files:{here}/my/catalog"
    assert absolute_source("stac:api.toml,sar=planetary-computer,fallback=b.json") == (
        f"stac:{here}/api.toml,sar=planetary-computer,fallback={here}/b.json"
    )
    for spec in ("stac:earth-search", "stac:gs://b/api.toml", "synthetic:seed=3", "earthengine:p"):
        assert absolute_source(spec) == spec
