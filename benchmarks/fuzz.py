"""Malformed input for every parser: refused with a clear error, or read; nothing else.

    python -m benchmarks.fuzz [--examples 10000] [PARSER ...]

Valid documents are damaged by hypothesis, without a random seed: same code, same examples. Prints a
JSON line per parser. `tests/hostile/test_parsers.py` does the same with few examples.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import platform
import signal
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable
from copy import deepcopy
from datetime import date
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from safetensors.torch import save as to_bytes

from model import checkpoint
from model.inputs import INPUTS
from model.legend import LULC6
from model.network import CloudLULCNet, Config
from pipeline.config import RunConfig, from_dict, read_run
from pipeline.region import Region, load_places, load_region
from pipeline.schedule import read_schedule
from pipeline.tariffs import PRICES, default_rates, load_prices, load_rates
from transforms.period import Period
from transforms.pixels.pairing import PairRule
from transforms.scene import SourceUnavailable
from transforms.sources.files import FilesSource
from transforms.sources.patience import Patience
from transforms.sources.presets import Catalog, Product, open_catalog
from transforms.sources.stac import StacSource

SECONDS = 20
"""A parser that takes longer hangs."""

ROOT = Path(__file__).parents[1]
WORLD = (-180.0, -90.0, 180.0, 90.0)
PERIOD = Period(date(2015, 1, 1), date(2030, 1, 1))

_JUNK = st.one_of(
    st.sampled_from(
        [None, True, False, 0, -1, 1, 10**30, -(10**400), 1e308, float("nan"), float("inf")]
        + [
            "",
            "nan",
            "../../../../escape",
            "/etc/passwd",
            "http://169.254.169.254/",
            "\0",
            "\ud800",
        ]
        + ["9999-12-31T23:59:59-23:59", "0001-01-01T00:00:00+23:59", "\n", "x" * 5000]
        + [[], {}, [[]], [None], {"": None}, [[[[[]]]]], [float("nan")] * 4, [0, 0, 0, 0]]
    ),
    st.integers(-1000, 1000),
    st.floats(-1e6, 1e6),
    st.text(max_size=8),
)


def _places(value: Any, path: tuple = ()) -> list[tuple]:
    """Paths of everything in a document."""
    inner = value.items() if isinstance(value, dict) else enumerate(value)
    found = [path] if path else []
    if isinstance(value, dict | list):
        for key, child in inner:
            found += (
                _places(child, (*path, key)) if isinstance(child, dict | list) else [(*path, key)]
            )
    return found


@st.composite
def damaged(draw, valid: Any) -> Any:
    """A document with one to four places replaced, removed or repeated."""
    document = json.loads(json.dumps(valid))
    for _ in range(draw(st.integers(1, 4))):
        places = _places(document)
        if not places:
            break
        *above, last = draw(st.sampled_from(places))
        parent = document
        for key in above:
            parent = parent[key]
        action = draw(st.sampled_from(("replace", "replace", "remove", "wrap", "swap")))
        if action == "replace":
            parent[last] = deepcopy(draw(_JUNK))  # those of the list are damaged further on
        elif action == "remove":
            del parent[last]
        elif action == "wrap":
            parent[last] = [parent[last]]
        else:
            *other, end = draw(st.sampled_from(places))
            parent[last] = _at(document, (*other, end), parent[last])
    return document


def _at(document: Any, path: tuple, otherwise: Any) -> Any:
    """A copy of what lies at a path; `otherwise` where nothing lies there any more."""
    for key in path:
        try:
            document = document[key]
        except (KeyError, IndexError, TypeError):
            return otherwise
    return json.loads(json.dumps(document))


@st.composite
def broken(draw, data: bytes) -> bytes:
    """Bytes with bits flipped, cut off, or something put in between."""
    content = bytearray(data)
    for at in draw(st.lists(st.integers(0, max(len(data) - 1, 0)), max_size=4)):
        if content:
            content[at] ^= 1 << draw(st.integers(0, 7))
    at = draw(st.integers(0, len(content)))
    kind = draw(st.sampled_from(("keep", "cut", "insert", "nest")))
    if kind == "cut":
        return bytes(content[:at])
    if kind == "insert":
        return bytes(content[:at]) + draw(st.binary(max_size=20)) + bytes(content[at:])
    return b"[" * 100_000 if kind == "nest" and at % 10 == 0 else bytes(content)


def text_of(valid: Any, write: Callable[[Any], str]) -> st.SearchStrategy[bytes]:
    """Damaged documents as their files hold them, and damaged files."""

    def written(document: Any) -> bytes:
        return write(document).encode("utf-8", "surrogatepass")

    return st.one_of(damaged(valid).map(written), broken(written(valid)))


def toml(document: dict) -> str:
    """A TOML file of one line per key, tables inline."""

    def value(v: Any) -> str:
        if isinstance(v, dict):
            return "{" + ", ".join(f"{json.dumps(str(k))} = {value(x)}" for k, x in v.items()) + "}"
        if isinstance(v, list):
            return "[" + ", ".join(map(value, v)) + "]"
        if isinstance(v, str) and len(v) == 10 and v[4:5] == v[7:8] == "-":
            return v  # a date
        return json.dumps(v).replace("NaN", "nan").replace("Infinity", "inf").replace("null", '""')

    return "\n".join(f"{json.dumps(str(key))} = {value(v)}" for key, v in document.items())


ITEM = {
    "type": "Feature",
    "stac_version": "1.0.0",
    "id": "S2A_MSIL2A_20240610T103031_N0510_R108_T32TQM_20240610T150000",
    "collection": "sentinel-2-l2a",
    "bbox": [14.0, 46.0, 15.0, 47.0],
    "geometry": {
        "type": "Polygon",
        "coordinates": [[[14, 46], [15, 46], [15, 47], [14, 46.5], [14, 46]]],
    },
    "links": [{"rel": "self", "href": "https://example.org/item.json"}],
    "properties": {
        "datetime": "2024-06-10T10:30:31Z",
        "start_datetime": "2024-06-10T10:30:31Z",
        "end_datetime": "2024-06-10T10:31:31Z",
        "constellation": "sentinel-2",
        "platform": "sentinel-2a",
        "instruments": ["msi"],
        "eo:cloud_cover": 12.5,
        "proj:epsg": 32632,
        "s2:processing_baseline": "05.10",
        "s2:product_uri": "S2A_MSIL2A_20240610T103031_N0510_R108_T32TQM.SAFE",
        "earthsearch:boa_offset_applied": False,
        "cloudlulc:missing_bands": ["B10"],
    },
    "assets": {
        band: {
            "href": f"./{band}.tif",
            "type": "image/tiff; application=geotiff",
            "roles": ["data"],
            "eo:bands": [{"name": band, "common_name": "x"}],
            "raster:bands": [{"scale": 1e-4, "offset": -0.1, "nodata": 0}],
        }
        for band in (b.name for b in INPUTS.optical.bands)
    },
}

SAR_ITEM = ITEM | {
    "id": "S1A_IW_GRDH_1SDV_20240611T170000_rtc",
    "collection": "sentinel-1-rtc",
    "geometry": {
        "type": "MultiPolygon",
        "coordinates": [[[[179, 1], [180, 1], [180, 2], [179, 1]]]],
    },
    "bbox": [-180.0, 1.0, 180.0, 2.0],
    "properties": {
        "datetime": "2024-06-11T17:00:00Z",
        "platform": "sentinel-1a",
        "sat:orbit_state": "ascending",
        "sar:product_type": "RTC",
        "sar:polarizations": ["VV", "VH"],
        "proj:code": "EPSG:32632",
    },
    "assets": {
        key: {"href": f"{key}.tif", "bands": [{"name": key, "unit": "linear", "nodata": "nan"}]}
        for key in ("vv", "vh")
    },
}

CONFIGURATION = {
    "url": "https://stac.example.org/v1",
    "signing": "planetary-computer",
    "signing_url": "https://sas.example.org/token",
    "signed_host": ".example.org",
    "page": 100,
    "optical": {
        "collections": ["sentinel-2-l2a"],
        "assets": {"B02": "blue", "B03": "green"},
        "level": "L2A",
        "offset": "baseline",
        "scale": 1e-4,
        "nodata": 0,
    },
    "sar": {"collections": ["sentinel-1-rtc"], "unit": "linear", "calibration": "gamma0"},
}

SCHEDULE = {
    "defaults": {"source": "synthetic:seed=1", "out": "out", "cadence": "weekly", "max_failed": 3},
    "country": [
        {"name": "ghana", "date": "20 days ago", "look_back_days": 30, "layers": ["lulc"]},
        {"name": "togo", "region": "togo", "date": "end of month", "starting": "2026-01-01"},
        {"name": "benin", "cadence": "every 5 days", "date": "latest acquisition"},
    ],
}


def _run() -> dict:
    region = Region("box", load_region("14,46,15,47").geometry)
    run = RunConfig(region, PairRule(date(2024, 6, 15)), "synthetic:seed=1", "out", "w", "0" * 64)
    return json.loads(json.dumps(run.to_dict() | {"id": run.id}))


@lru_cache
def _weights() -> tuple[dict[str, torch.Tensor], dict]:
    """State and metadata of a small checkpoint."""
    torch.manual_seed(0)
    ones = (1, 1, 1, 1)
    config = Config(6, 8, (8, 8, 8, 8), ones, ones, 8, 8, 1, 1, 1, (8, 8))
    network = CloudLULCNet(config)
    made = checkpoint.of_network(network, INPUTS, LULC6, 1.0, {"name": "fuzz"})
    about = {"format": checkpoint.FORMAT, "config": config.to_dict(), "inputs": INPUTS.to_dict()}
    about |= {"legend": LULC6.to_dict(), "temperature": 1.0, "card": made.card}
    return made.state, json.loads(json.dumps(about))


def _checkpoint_file(about: Any) -> bytes:
    return to_bytes(_weights()[0], {checkpoint.METADATA_KEY: json.dumps(about)})


@st.composite
def _broken_header(draw, whole: bytes) -> bytes:
    """A safetensors file whose header is another document, with its length."""
    end = 8 + int.from_bytes(whole[:8], "little")
    header = draw(damaged(json.loads(whole[8:end])))
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + whole[end:]


def _checkpoints() -> st.SearchStrategy[bytes]:
    whole = _checkpoint_file(_weights()[1])
    metadata = damaged(_weights()[1]).map(_checkpoint_file)
    return st.one_of(metadata, broken(whole), broken(whole[:4000]), _broken_header(whole))


class _Answering(StacSource):
    """A STAC API whose search has answered already."""

    def __init__(self, items: list):
        optical = Product(("sentinel-2-l2a",), level="L2A", offset="baseline")
        sar = Product(("sentinel-1-rtc",), unit="linear", calibration="gamma0")
        where = Catalog("fuzz", "https://example.org", optical=optical, sar=sar)
        super().__init__(where, patience=Patience(attempts=1))
        self.answered = items

    def _client(self, catalog: Catalog) -> _Answering:
        return self

    def items(self, product: Product, bounds: Any, period: Period) -> list:
        return self.answered


def _search_api(data: bytes, folder: Path) -> None:
    try:
        items = json.loads(data)
    except (ValueError, RecursionError):
        return  # that is pystac-client's
    if isinstance(items, list):
        _Answering(items).search(WORLD, PERIOD)


def _written(name: str, read: Callable[[str], Any]) -> Callable[[bytes, Path], None]:
    """Reads the bytes as a file of that name."""

    def parse(data: bytes, folder: Path) -> None:
        (folder / name).write_bytes(data)
        read(str(folder / name))

    return parse


def _search(path: str) -> None:
    FilesSource(path).search(WORLD, PERIOD)


def _search_below(path: str) -> None:
    Path(path).with_name("item.json").write_text(json.dumps(ITEM))
    _search(path)


def _slots(path: str) -> None:
    for country in read_schedule(path):
        slot = country.slot(date(2026, 11, 22))
        if slot is not None:
            country.target(slot, lambda: None)


def _resume(path: str) -> None:
    out = os.path.dirname(path)
    run = from_dict(read_run(out), out)
    assert run.id and run.to_dict()


def _region_text(data: bytes, folder: Path) -> None:
    load_region(data.decode("utf-8", "replace").replace("\0", "0"))


class Parser(NamedTuple):
    strategy: Callable[[], st.SearchStrategy[bytes]]
    parse: Callable[[bytes, Path], None]


def _json(name: str, valid: Callable[[], Any], read: Callable[[str], Any]) -> Parser:
    return Parser(lambda: text_of(valid(), json.dumps), _written(name, read))


def _toml(name: str, valid: Callable[[], Any], read: Callable[[str], Any]) -> Parser:
    return Parser(lambda: text_of(valid(), toml), _written(name, read))


def _togo() -> dict:
    box = {"type": "Polygon", "coordinates": [[[0, 6], [2, 6], [2, 11], [0, 11], [0, 6]]]}
    crs = {"type": "name", "properties": {"name": "urn:ogc:def:crs:OGC:1.3:CRS84"}}
    feature = {"type": "Feature", "properties": {"name": "Togo"}, "geometry": box}
    return {"type": "FeatureCollection", "name": "togo", "crs": crs, "features": [feature] * 2}


def _prices() -> dict:
    import tomllib

    document = tomllib.loads(Path(PRICES).read_text())
    return json.loads(json.dumps(document, default=str))


_NUMBERS = st.text("0123456789.,-+eE nainf", max_size=40)
_COLLECTION = {"type": "FeatureCollection", "features": [ITEM, SAR_ITEM]}
_CATALOG = {"type": "Catalog", "links": [{"rel": "item", "href": "./item.json"}] * 3}

PARSERS: dict[str, Parser] = {
    "STAC item": _json("item.json", lambda: ITEM, _search),
    "STAC item of SAR": _json("item.json", lambda: SAR_ITEM, _search),
    "STAC ItemCollection": _json("items.json", lambda: _COLLECTION, _search),
    "STAC catalog": _json("catalog.json", lambda: _CATALOG, _search_below),
    "items of a STAC API": Parser(lambda: text_of([ITEM, SAR_ITEM], json.dumps), _search_api),
    "STAC configuration, TOML": _toml("api.toml", lambda: CONFIGURATION, open_catalog),
    "STAC configuration, JSON": _json("api.json", lambda: CONFIGURATION, open_catalog),
    "region": _json("region.geojson", _togo, load_region),
    "places": _json("places.geojson", _togo, lambda path: load_places(path, "name")),
    "region by box or name": Parser(
        lambda: st.one_of(_NUMBERS, st.text(max_size=20)).map(
            lambda text: text.encode("utf-8", "replace")
        ),
        _region_text,
    ),
    "run.json": _json("run.json", _run, _resume),
    "checkpoint": Parser(_checkpoints, _written("w.safetensors", checkpoint.load)),
    "schedule": _toml("schedule.toml", lambda: SCHEDULE, _slots),
    "price table": _toml("prices.toml", _prices, load_prices),
    "rates": _json("rates.json", lambda: json.loads(Path(default_rates()).read_text()), load_rates),
}


class Hang(Exception):
    """A parser took more than SECONDS."""


_writes: list[str] = []
_watching: list[str] = []  # the folder that may be written to, while a parser is at work


def _audit(event: str, arguments: tuple) -> None:
    if _watching and event == "open" and isinstance(arguments[0], str):
        writes = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
        path = os.path.abspath(arguments[0])
        if (arguments[2] or 0) & writes and not path.startswith(_watching[0] + os.sep):
            _writes.append(path)


sys.addaudithook(_audit)


def outcome(parser: Parser, data: bytes, folder: Path) -> str:
    """What a parser makes of the bytes: "read" or "refused".

    Raises:
      Exception: whatever it raised that is no clear error.
      Hang: it did not end.
    """

    def hang(*_: Any) -> None:
        raise Hang(f"more than {SECONDS} s")

    before, _writes[:] = signal.signal(signal.SIGALRM, hang), []
    signal.alarm(SECONDS)
    logging.disable()  # sources log each item that is of no use
    _watching.append(str(folder))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            parser.parse(data, folder)
        return "read"
    except (ValueError, SourceUnavailable) as error:
        # Subclasses are what a library says: which file, and what to do, is ours to say.
        if type(error) not in (ValueError, SourceUnavailable) or not str(error):
            raise AssertionError(f"no clear error: {error!r}") from error
        return "refused"
    finally:
        _watching.clear()
        logging.disable(logging.NOTSET)
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
        if _writes:
            raise AssertionError(f"wrote {_writes[0]}")


def fuzz(name: str, examples: int, folder: Path) -> Counter:
    """How often a parser read and refused.

    Raises:
      Exception: of the first example, shrunk, that ended otherwise.
    """
    parser, counted = PARSERS[name], Counter()

    @settings(
        max_examples=examples,
        derandomize=True,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
        phases=(Phase.generate, Phase.shrink),
    )
    @given(parser.strategy())
    def every(data: bytes) -> None:
        for old in folder.iterdir():
            old.unlink()
        counted[outcome(parser, data, folder)] += 1

    every()
    return counted


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("parsers", nargs="*", metavar="PARSER", help=", ".join(PARSERS))
    options.add_argument("--examples", type=int, default=10_000, help="of each parser")
    args = options.parse_args()
    failed = 0
    for name in args.parsers or PARSERS:
        began = time.monotonic()
        line: dict[str, Any] = {"parser": name, "examples": args.examples}
        with tempfile.TemporaryDirectory() as folder:
            try:
                line |= fuzz(name, args.examples, Path(folder).resolve())
            except Exception as error:  # noqa: BLE001 the finding is the result
                line |= {"failed": f"{type(error).__name__}: {error}"[:500]}
                failed += 1
        line["seconds"] = round(time.monotonic() - began, 1)
        print(json.dumps(line | {"machine": platform.machine()}), flush=True)
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()
