"""Nothing from outside is unpickled, no name leads out of the output, no secret is told."""

from __future__ import annotations

import ast
import logging
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import pytest
import rasterio
import shapely

from model import checkpoint
from pipeline.cli import main
from tests.transforms.sources.made_scenes import BOX, optical_item, save
from transforms.failures import Failure, read_failures, write_failures
from transforms.grid import Grid
from transforms.masking import masked
from transforms.measure import measured
from transforms.period import Period
from transforms.pixels.pairing import PairRule
from transforms.pixels.prepare import PixelOptions
from transforms.plan import pair_requests, plan_tile
from transforms.plan_file import write_plan
from transforms.scene import SourceUnavailable
from transforms.sources import open_source
from transforms.sources.files import FilesSource
from transforms.sources.item_shape import check_shape
from transforms.sources.patience import Patience
from transforms.sources.synthetic import SyntheticSource

ROOT = Path(__file__).parents[2]
WORLD = (-180.0, -90.0, 180.0, 90.0)
REGION = shapely.box(5.99, 50.0, 6.0, 50.01)
JUNE = Period(date(2024, 6, 1), date(2024, 7, 1))

UNSAFE = {
    *("pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"),
    *("torch.load", "yaml.load", "yaml.unsafe_load", "pandas.read_pickle", "pd.read_pickle"),
    *("eval", "exec", "os.system", "torch.hub.load", "torch.jit.load"),
}


def unsafe_calls(text: str) -> list[str]:
    """What of a module can run code that a file from outside holds."""
    found = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            found += [a.name for a in node.names if a.name.split(".")[0] in UNSAFE]
        elif isinstance(node, ast.ImportFrom):
            names = {f"{node.module}.{a.name}" for a in node.names} | {str(node.module)}
            found += sorted(names & UNSAFE)
        elif isinstance(node, ast.Call):
            said = {k.arg: k.value for k in node.keywords}
            name = ast.unparse(node.func)
            if name in UNSAFE:
                found.append(name)
            for option in ("allow_pickle", "shell"):
                if option in said and ast.unparse(said[option]) != "False":
                    found.append(f"{name}({option})")
    return found


def test_nothing_from_outside_is_unpickled_or_executed():
    modules = [
        path
        for folder in ("model", "transforms", "pipeline", "deploy")
        for path in (ROOT / folder).rglob("*.py")
    ]
    assert len(modules) > 100
    found = {str(p.relative_to(ROOT)): unsafe_calls(p.read_text()) for p in modules}
    assert {name: calls for name, calls in found.items() if calls} == {}


@pytest.mark.parametrize(
    "text",
    [
        "import pickle",
        "from torch import load",
        "from pickle import loads as l",
        "torch.load(f)",
        "np.load(f, allow_pickle=True)",
        "np.load(f, allow_pickle=x)",
        "eval(text)",
        "subprocess.run(c, shell=True)",
    ],
)
def test_the_check_can_fail(text):
    assert unsafe_calls(text)


HOSTILE_IDS = ["../../../../escape", "/tmp/escape", "..", "a/b/../../../c", "CON", "x" * 400]


@dataclass(frozen=True)
class Renaming(SyntheticSource):
    """The synthetic planet, whose scenes have ids that want to be paths."""

    identity: str = ""

    def search(self, bounds, period):
        found = super().search(bounds, period)
        return [s._replace(id=f"{self.identity}{n}") for n, s in enumerate(found)]


@pytest.mark.parametrize("identity", HOSTILE_IDS)
def test_ids_cannot_write_outside_of_the_output(tmp_path, identity):
    out, rule = tmp_path / "deep" / "out", PairRule(date(2024, 6, 15))
    grid = Grid(chip_size=96, halo=16, blocks_per_tile=2)
    source, options = Renaming(seed=3, identity=identity), PixelOptions()
    tile = next(iter(grid.tiles_covering(REGION)))
    requests = plan_tile(tile, list(grid.blocks(tile, REGION)), grid, rule, source)
    assert any(identity in scene.id for r in requests for sensor in r.pair for scene in sensor)
    write_plan(str(out), tile, requests)
    for request in pair_requests(requests)[:1]:
        measured(str(out), request, grid, rule, source, options)
    write_failures([Failure.of(identity, "fetch", ValueError(identity))], str(out), "ingest")
    files = [p for p in tmp_path.rglob("*") if p.is_file()]
    assert len(files) >= 3 and all(out in p.parents for p in files)
    assert not Path("/tmp/escape0").exists()


@pytest.mark.parametrize("identity", ["", "a\nb", "\x1b[2Jcleared", "a\0b", "\ud800", 7, None])
def test_ids_that_cannot_be_printed_are_refused(identity):
    with pytest.raises(ValueError, match="id"):
        check_shape(optical_item("x", "2024-06-10", BOX) | {"id": identity}, "item")


SECRET = "S3CR3T-SIGNATURE-0123456789"
CONSOLE = "https://console.cloud.google.com/dataflow/jobs/europe-west4/1?project=my-project"
SIGNED = f"https://account.blob.core.windows.net/container/B02.tif?sv=2024&sig={SECRET}"


@pytest.mark.parametrize(
    "text",
    [
        f"cannot read {SIGNED}",
        f"'/vsicurl/{SIGNED}' not recognized",
        f"at (https://user:{SECRET}@example.org/x)",
        f"s3://bucket/x?token={SECRET} and {SIGNED}, too",
        f"{CONSOLE}&key={SECRET}",
        f"{CONSOLE};{SECRET}",
        f"{CONSOLE} and {SIGNED}",
        f"https://console.cloud.google.com/storage/x?sig={SECRET}",
        f"https://console.cloud.google.com.example.org/x?project={SECRET}".lower(),
        f"-----BEGIN PRIVATE KEY-----\n{SECRET}\n-----END PRIVATE KEY-----",
        f"-----BEGIN RSA PRIVATE KEY-----\n{SECRET}",
    ],
)
def test_secrets_are_struck_out(text):
    assert SECRET.lower() not in masked(text).lower()
    assert masked(masked(text)) == masked(text)


def test_keys_of_the_environment_are_struck_out(monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    assert SECRET not in masked(f"denied for {SECRET}")
    plain = "scene a, band B02: https://example.org/B02.tif cannot be read: 404 (no such file)"
    assert masked(plain) == plain


@pytest.mark.parametrize("text", [CONSOLE, f"failed; see {CONSOLE}", f"({CONSOLE})\n"])
def test_links_to_the_console_keep_their_project(text):
    assert masked(text) == text


@pytest.fixture
def signed_items(tmp_path):
    item = optical_item("one", "2024-06-10", BOX) | {"assets": {"B02": {"href": SIGNED}}}
    item["links"] = [{"rel": "self", "href": f"https://example.org/one.json?token={SECRET}"}]
    save(tmp_path / "cat" / "item.json", item)
    return tmp_path / "cat"


def test_signed_addresses_are_in_no_plan_failure_or_log(tmp_path, signed_items, caplog, capsys):
    caplog.set_level(logging.DEBUG)
    source = FilesSource(str(signed_items), Patience(attempts=1))
    scene = source.search(WORLD, JUNE)[0]
    assert SECRET not in scene.link
    with rasterio.Env(GDAL_HTTP_PROXY="http://127.0.0.1:9"), pytest.raises(SourceUnavailable) as e:
        source.read(scene, BOX, ("B02",))
    out = str(tmp_path / "out")
    write_failures([Failure.of("key", "fetch", e.value)], out, "ingest")
    assert "account.blob.core.windows.net" in read_failures(out, "ingest")[0].error
    grid, rule = Grid(chip_size=96, halo=16, blocks_per_tile=2), PairRule(date(2024, 6, 10))
    region = shapely.box(*scene.footprint)
    for tile in grid.tiles_covering(region):
        write_plan(out, tile, plan_tile(tile, list(grid.blocks(tile, region)), grid, rule, source))
    written = "".join(p.read_text() for p in (tmp_path / "out").rglob("*.json*"))
    assert "one.json" in written and SECRET not in written
    assert SECRET not in caplog.text + str(capsys.readouterr())


@pytest.mark.parametrize(
    "spec",
    [
        f"files:https://user:{SECRET}@example.org/catalog.json",
        f"files:https://example.org/catalog.json?sig={SECRET}",
        f"earthengine:project,url=https://key:{SECRET}@example.org",
    ],
)
def test_run_json_holds_no_secret_for_sources_with_one_are_refused(spec, tmp_path, capsys):
    with pytest.raises(ValueError, match="password, key or signature") as error:
        open_source(spec)
    assert SECRET not in str(error.value)
    out = tmp_path / "out"
    args = ["run", "--region", "6,50,6.01,50.01", "--date", "2024-06-15", "--source", spec]
    assert main([*args, "--out", str(out)]) == 2
    assert SECRET not in str(capsys.readouterr()) and not out.exists()


def test_a_checkpoint_is_never_a_pickle(tmp_path):
    """A pickle that would run a command on loading is refused, unread."""
    mark = tmp_path / "executed"
    evil = tmp_path / "evil.safetensors"
    evil.write_bytes(f"cos\nsystem\n(S'touch {mark}'\ntR.".encode())
    with pytest.raises(ValueError, match="not a readable safetensors file"):
        checkpoint.load(evil)
    assert not mark.exists()
