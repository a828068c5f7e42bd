"""Valid documents and files damaged in every way: strategies of hypothesis."""

from __future__ import annotations

import json
from collections.abc import Callable
from copy import deepcopy
from typing import Any

from hypothesis import strategies as st

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
