"""What makes two runs the same: the fields of a run's document that decide its bytes."""

from __future__ import annotations

import json


def deciding(run: dict) -> dict[str, object]:
    """The fields of a run's document that decide its bytes, flat: {"grid.halo": 32, ...}."""
    flat = _flat(run)
    # The digest decides, wherever the file lies; the id follows from the rest.
    decides = {name: value for name, value in flat.items() if name not in ("checkpoint", "id")}
    return decides | {"source": source_identity(run["source"])}


def source_identity(spec: str) -> str:
    """A source without what decides no pixel: where files lie, who pays, which key opens it.

    "files", "stac:earth-search,sar=my.toml", "earthengine:level=L1C". Which scenes made a block is
    the plan's to say: a catalogue may be moved, and it may grow (see `pipeline.refresh`).
    """
    kind, _, rest = spec.partition(":")
    parts = rest.split(",") if rest else []
    if kind == "files":
        parts = []
    elif kind == "stac":
        parts = [_without_folder(part) for part in parts]
    elif kind == "earthengine":
        parts = [part for part in parts if part.startswith(("level=", "score="))]
    return f"{kind}:{','.join(parts)}".rstrip(":")


def _without_folder(part: str) -> str:
    name, equals, value = part.rpartition("=")
    return name + equals + (value.rpartition("/")[2] if "/" in value else value)


def _flat(value: object, name: str = "") -> dict[str, object]:
    if isinstance(value, dict) and name != "region.geometry":
        return {
            key: leaf
            for k, v in value.items()
            for key, leaf in _flat(v, f"{name}.{k}" if name else k).items()
        }
    # As JSON would read it back: it knows no tuples.
    return {name: json.loads(json.dumps(value))}
