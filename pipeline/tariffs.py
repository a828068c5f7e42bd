"""What work takes and what it costs: rates measured by `benchmarks/rates.py`, and a price table.

Rates are of one worker with one core. Sources that could not be measured here say so.
"""

from __future__ import annotations

import json
import sys
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from transforms.scene import SENTINEL1, SENTINEL2
from transforms.store import read_bytes

PRICES = str(Path(__file__).with_name("prices.toml"))

PRICED = ("vcpu_hour", "gib_hour", "gpu_hour", "storage_gib_month", "write_1000", "network_gib")
"""What the table has to price: an hour of a core, of a GiB of memory, of a GPU; a GiB kept for a
month; a thousand objects written; a GiB read from the imagery's service."""

JOBS = ("ingest", "classify", "mosaic")


@dataclass(frozen=True)
class SourceRates:
    """What a kind of source takes.

    Attributes:
      measured: whether on this project; else these are assumptions.
      search: s per catalogue search.
      wait: s per pixel read in which nothing is computed.
      read: s per Mpx and pass of a sensor, all its bands, by sensor.
      chips: bytes per Mpx of chips at rest, all arrays.
      note: what was measured or assumed.
    """

    measured: bool
    search: float
    wait: float
    read: dict[str, float]
    chips: float
    note: str


@dataclass(frozen=True)
class Rates:
    """What the jobs take, by one core.

    Attributes:
      path: of the file.
      date: of the measurement.
      machine: it was made on.
      checkpoint: name of the network's weights.
      checkpoint_digest: of these.
      start: s from the start of a job to its first key, by job.
      measure: s per Mpx of window that a pair is looked at in, without reading.
      prepare: s per Mpx of block with its halo, writing included, without reading.
      classify: s per Mpx of chip, by device.
      mosaic: s per Mpx and layer of product windows that show some of the region.
      empty: s per Mpx and layer of product windows that do not.
      map_bytes: per Mpx of map, by layer.
      edge_bytes: per Mpx of map that is blended.
      product_bytes: per Mpx of mapped product, COG and Zarr, by layer.
      tile_bytes: per product tile, beside its layers: quicklook, metadata.
      worker_gib: peak memory of a worker.
      sources: by kind.
    """

    path: str
    date: str
    machine: str
    checkpoint: str
    checkpoint_digest: str
    start: dict[str, float]
    measure: float
    prepare: float
    classify: dict[str, float]
    mosaic: float
    empty: float
    map_bytes: dict[str, float]
    edge_bytes: float
    product_bytes: dict[str, float]
    tile_bytes: float
    worker_gib: float
    sources: dict[str, SourceRates]

    def source(self, kind: str) -> SourceRates:
        """Raises ValueError where the kind is not in the file."""
        if kind not in self.sources:
            raise ValueError(
                f"rates {self.path}: no sources.{kind}, it has {', '.join(self.sources)}; measure "
                f"it with: python -m benchmarks.rates --source {kind}:..."
            )
        return self.sources[kind]

    def network(self, device: str) -> float:
        """Raises ValueError where the network was not measured on the device."""
        if device not in self.classify:
            raise ValueError(
                f"rates {self.path}: no classify.{device}, it has {', '.join(self.classify)}; "
                f"measure it there with: python -m benchmarks.rates --device {device}"
            )
        return self.classify[device]


@dataclass(frozen=True)
class Price:
    amount: float
    unit: str
    source: str
    date: str
    note: str


@dataclass(frozen=True)
class Prices:
    path: str
    currency: str
    table: dict[str, Price]


def default_rates() -> str:
    """Path of the shipped rates: in a checkout, or where the package installed them."""
    checkout = Path(__file__).parent.parent / "benchmarks" / "rates.json"
    return str(checkout if checkout.is_file() else Path(sys.prefix) / "share/cloudlulc/rates.json")


def load_rates(path: str) -> Rates:
    """The rates in a file, local or gs://.

    Raises:
      ValueError: what is wrong with the file; names the key.
    """
    what = f"rates {path}"
    try:
        document = json.loads(_text(path, what))
    except (json.JSONDecodeError, RecursionError) as error:
        raise ValueError(f"{what}: not JSON: {error}") from None
    table = _table(document, what, "the document")
    sources = {
        kind: _source(_table(fields, what, f"sources.{kind}"), what, f"sources.{kind}")
        for kind, fields in _table(table.get("sources"), what, "sources").items()
    }
    return Rates(
        path=path,
        **{name: _word(table, what, name) for name in ("date", "machine")},
        **{name: _word(table, what, name) for name in ("checkpoint", "checkpoint_digest")},
        start=_numbers(table, what, "start", JOBS),
        classify=_numbers(table, what, "classify", ()),
        map_bytes=_numbers(table, what, "map_bytes", ()),
        product_bytes=_numbers(table, what, "product_bytes", ()),
        **{
            name: _number(table, what, name)
            for name in (
                *("measure", "prepare", "mosaic", "empty"),
                *("edge_bytes", "tile_bytes", "worker_gib"),
            )
        },
        sources=sources,
    )


def _source(fields: Mapping[str, Any], what: str, key: str) -> SourceRates:
    if not isinstance(fields.get("measured"), bool):
        raise ValueError(f"{what}: {key}.measured: got {fields.get('measured')!r}, expected a bool")
    sensors = (SENTINEL2, SENTINEL1)
    return SourceRates(
        measured=fields["measured"],
        read=_numbers(fields, what, "read", sensors, f"{key}."),
        note=_word(fields, what, "note", f"{key}."),
        **{name: _number(fields, what, name, f"{key}.") for name in ("search", "wait", "chips")},
    )


def load_prices(path: str) -> Prices:
    """The price table of a TOML file, local or gs://.

    Raises:
      ValueError: what is wrong with the file; names the key.
    """
    what = f"prices {path}"
    try:
        document = tomllib.loads(_text(path, what))
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise ValueError(f"{what}: not TOML: {error}") from None
    if unknown := sorted(set(document) - {"currency", *PRICED}):
        raise ValueError(f"{what}: unknown {', '.join(unknown)}; expected {', '.join(PRICED)}")
    table = {}
    for name in PRICED:
        fields = _table(document.get(name), what, name)
        if not isinstance(fields.get("date"), date):
            got = fields.get("date")
            raise ValueError(f"{what}: {name}.date: got {got!r}, expected a date, YYYY-MM-DD")
        words = {key: _word(fields, what, key, f"{name}.") for key in ("unit", "source", "note")}
        amount = _number(fields, what, "amount", f"{name}.")
        table[name] = Price(amount, **words, date=fields["date"].isoformat())
    return Prices(path, _word(document, what, "currency"), table)


def _text(path: str, what: str) -> str:
    try:
        return read_bytes(path).decode()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{what}: cannot be read: {error}") from None


def _table(value: Any, what: str, key: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"{what}: {key}: got {value!r}, expected a table of names and values")
    return value


def _numbers(
    table: Mapping[str, Any], what: str, key: str, required: tuple[str, ...], prefix: str = ""
) -> dict[str, float]:
    fields = _table(table.get(key), what, prefix + key)
    return {
        name: _number(fields, what, name, f"{prefix}{key}.")
        for name in dict.fromkeys((*required, *fields))
    }


def _number(table: Mapping[str, Any], what: str, key: str, prefix: str = "") -> float:
    value = table.get(key)
    usable = isinstance(value, int | float) and not isinstance(value, bool)
    if not usable or not 0 <= value <= sys.float_info.max:
        raise ValueError(f"{what}: {prefix}{key}: got {value!r}, expected a number, 0 or more")
    return float(value)


def _word(table: Mapping[str, Any], what: str, key: str, prefix: str = "") -> str:
    value = table.get(key)
    if not isinstance(value, str):
        raise ValueError(f"{what}: {prefix}{key}: got {value!r}, expected a text")
    return value
