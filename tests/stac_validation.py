"""Validates STAC items, collections and catalogs offline, against the schemas kept in the tests."""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path

from jsonschema import Draft7Validator, FormatChecker
from jsonschema.exceptions import ValidationError
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT7

SCHEMAS = Path(__file__).parent / "schemas"
STAC_VERSION = "1.1.0"
CORE = f"https://schemas.stacspec.org/v{STAC_VERSION}"
KIND_OF_TYPE = {"Feature": "item", "Collection": "collection", "Catalog": "catalog"}


def core_url(name: str) -> str:
    """URL of a core schema by its file's name: "item", "collection", "bands", ..."""
    folder = name if name in ("catalog", "collection") else "item"
    return f"{CORE}/{folder}-spec/json-schema/{name}.json"


def url_of_file(path: Path) -> str:
    """The URL under which other schemas refer to a schema file of the tests."""
    name = path.stem
    if name in ("Feature", "Geometry"):
        return f"https://geojson.org/schema/{name}.json"
    if name == "projjson-v0.7":
        return "https://proj.org/schemas/v0.7/projjson.schema.json"
    if path.parent.name == "extensions":
        extension, version = name.rsplit("-", 1)
        return f"https://stac-extensions.github.io/{extension}/{version}/schema.json"
    return core_url(name)


@lru_cache
def registry() -> Registry:
    """Every kept schema under its URL; anything else is not found, so nothing is downloaded."""
    kept = [
        (url_of_file(path), Resource(json.loads(path.read_text()), DRAFT7))
        for path in sorted(SCHEMAS.glob("*/*.json"))
    ]
    meta = Resource(Draft7Validator.META_SCHEMA, DRAFT7)
    return Registry().with_resources([*kept, ("http://json-schema.org/draft-07/schema", meta)])


@lru_cache
def validator(url: str) -> Draft7Validator:
    schema = registry().contents(url)
    return Draft7Validator(schema, registry=registry(), format_checker=FormatChecker())


def validate(document: dict) -> None:
    """Validates a STAC item, collection or catalog and all extensions that it declares.

    Raises:
      AssertionError: not valid; a version, type or extension whose schema is not kept; or a
        field of a kept extension's prefix that the document does not declare.
    """
    name = document.get("id", "?")
    assert document.get("stac_version") == STAC_VERSION, (
        f"{name}: stac_version: got {document.get('stac_version')!r}, expected {STAC_VERSION!r}"
    )
    kind = KIND_OF_TYPE.get(document.get("type"))
    assert kind, f"{name}: type: got {document.get('type')!r}, expected one of {[*KIND_OF_TYPE]}"
    urls = [core_url(kind)]
    for url in document.get("stac_extensions", []):
        assert url in registry(), f"{name}: no schema of the extension {url} is kept in {SCHEMAS}"
        urls.append(url)
    problems = [
        f"{url}: {'/'.join(map(str, cause.absolute_path)) or '(document)'}: {cause.message[:300]}"
        for url in urls
        for error in validator(url).iter_errors(document)
        for cause in causes(error)
    ]
    problems += [f"{field}: its extension is not declared" for field in undeclared(document)]
    assert not problems, f"{name} is not valid STAC:\n" + "\n".join(problems)


def causes(error: ValidationError) -> list[ValidationError]:
    """The errors at the bottom of an anyOf or oneOf: those of the alternatives that came furthest.

    Most schemas offer one alternative for items and one for collections; the one that fails on
    the document's type says nothing.
    """
    if not error.context:
        return [error]
    found = [cause for child in error.context for cause in causes(child)]
    return [c for c in found if list(c.absolute_path) != ["type"]] or found


PREFIX_OF_EXTENSION = {"projection": "proj", "scientific": "sci"}


def undeclared(document: dict) -> list[str]:
    """Fields of a kept extension that the document uses without declaring the extension."""
    kept = {p.stem.rsplit("-", 1)[0] for p in (SCHEMAS / "extensions").glob("*.json")}
    declared = {url.split("/")[3] for url in document.get("stac_extensions", [])}
    prefixes = {PREFIX_OF_EXTENSION.get(extension, extension) for extension in kept - declared}
    assets = [*document.get("assets", {}).values(), *document.get("item_assets", {}).values()]
    bands = [band for asset in assets for band in asset.get("bands", [])]
    holders = [document.get("properties", {}), *assets, *bands]
    return sorted({f for h in holders for f in h if f.partition(":")[0] in prefixes and ":" in f})
