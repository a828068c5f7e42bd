"""Imagery sources: each one searches scenes and reads their pixels on an exact geobox.

A new source is one file, one entry in `SOURCES` and the contract tests.
"""

from __future__ import annotations

from collections.abc import Callable

from transforms.masking import masked
from transforms.scene import ImagerySource


def _files(text: str) -> ImagerySource:
    from transforms.sources.files import FilesSource

    if not text:
        raise ValueError("source files: expected files:FOLDER, an ItemCollection or a catalog.json")
    return FilesSource(text)


def _synthetic(text: str) -> ImagerySource:
    from transforms.sources.synthetic import SyntheticSource

    options: dict = {}
    for part in filter(None, text.split(",")):
        name, _, value = part.partition("=")
        if name not in ("seed", "cloud", "without") or not value:
            raise ValueError(
                f"source synthetic: got {part!r}, expected seed=N, cloud=SHARE or without=SENSOR"
            )
        try:
            options[name] = {"seed": int, "cloud": float, "without": lambda v: (v,)}[name](value)
        except ValueError:
            raise ValueError(f"source synthetic: {name} is {value!r}, expected a number") from None
    return SyntheticSource(**options)


def _stac(text: str) -> ImagerySource:
    from transforms.sources.stac import open_stac

    return open_stac(text)


def _earthengine(text: str) -> ImagerySource:
    from transforms.sources.earthengine import open_earthengine

    return open_earthengine(text)


SOURCES: dict[str, Callable[[str], ImagerySource]] = {
    "files": _files,
    "stac": _stac,
    "synthetic": _synthetic,
    "earthengine": _earthengine,
}


def open_source(spec: str) -> ImagerySource:
    """The source that a user names, "files:my/catalog" or "synthetic:seed=7".

    Raises:
      ValueError: there is no such source, or its options are wrong.
    """
    kind, _, text = spec.partition(":")
    if masked(spec) != spec:
        raise ValueError(
            f"source: {masked(spec)} holds a password, key or signature, and run.json tells "
            "everybody the source; give it without"
        )
    if kind not in SOURCES:
        raise ValueError(
            f"source: got {spec!r}, expected one of {', '.join(SOURCES)}, then a colon"
        )
    return SOURCES[kind](text)
