"""The parsers that are given malformed documents, each with what damages its own."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from datetime import date
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import torch
from hypothesis import strategies as st
from safetensors.torch import save as to_bytes

from benchmarks import valid_documents as valid
from benchmarks.malformed import broken, damaged, text_of, toml
from model import checkpoint
from model.config import Config
from model.inputs import INPUTS
from model.legend import LULC6
from model.network import CloudLULCNet
from pipeline.region import load_places, load_region, shipped_regions
from pipeline.run_document import from_dict, read_run
from pipeline.schedule import read_schedule
from pipeline.tariffs import default_rates, load_prices, load_rates
from transforms.period import Period
from transforms.sources.files import FilesSource
from transforms.sources.patience import Patience
from transforms.sources.presets import Catalog, Product, open_catalog
from transforms.sources.stac import StacSource

WORLD = (-180.0, -90.0, 180.0, 90.0)
PERIOD = Period(date(2015, 1, 1), date(2030, 1, 1))


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
    Path(path).with_name("item.json").write_text(json.dumps(valid.ITEM))
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


def _json(name: str, document: Callable[[], Any], read: Callable[[str], Any]) -> Parser:
    return Parser(lambda: text_of(document(), json.dumps), _written(name, read))


def _toml(name: str, document: Callable[[], Any], read: Callable[[str], Any]) -> Parser:
    return Parser(lambda: text_of(document(), toml), _written(name, read))


def _region_texts() -> st.SearchStrategy[bytes]:
    """Texts that are nearly a box or the name of a shipped region, and others."""
    degrees = st.floats(-200, 200).map(lambda number: f"{number:g}")
    box = st.lists(degrees, min_size=3, max_size=5).map(",".join)
    numbers = st.text("0123456789.,-+eE nainf", max_size=40)
    texts = st.one_of(box, numbers, st.text(max_size=20), st.sampled_from(shipped_regions()))
    nearly = [broken(text) for text in (b"-17.1,12.9,-13.6,13.9", b"guinea-bissau")]
    return st.one_of(texts.map(lambda text: text.encode("utf-8", "replace")), *nearly)


PARSERS: dict[str, Parser] = {
    "STAC item": _json("item.json", lambda: valid.ITEM, _search),
    "STAC item of SAR": _json("item.json", lambda: valid.SAR_ITEM, _search),
    "STAC ItemCollection": _json("items.json", lambda: valid.COLLECTION, _search),
    "STAC catalog": _json("catalog.json", lambda: valid.CATALOG, _search_below),
    "items of a STAC API": Parser(
        lambda: text_of([valid.ITEM, valid.SAR_ITEM], json.dumps), _search_api
    ),
    "STAC configuration, TOML": _toml("api.toml", lambda: valid.CONFIGURATION, open_catalog),
    "STAC configuration, JSON": _json("api.json", lambda: valid.CONFIGURATION, open_catalog),
    "region": _json("region.geojson", valid.togo, load_region),
    "places": _json("places.geojson", valid.togo, lambda path: load_places(path, "name")),
    "region by box or name": Parser(_region_texts, _region_text),
    "run.json": _json("run.json", valid.run_document, _resume),
    "checkpoint": Parser(_checkpoints, _written("w.safetensors", checkpoint.load)),
    "schedule": _toml("schedule.toml", lambda: valid.SCHEDULE, _slots),
    "price table": _toml("prices.toml", valid.prices, load_prices),
    "rates": _json("rates.json", lambda: json.loads(Path(default_rates()).read_text()), load_rates),
}
