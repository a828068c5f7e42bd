"""STAC APIs: where they are, what they call the bands, and what their numbers mean.

A preset and a user's configuration file are the same thing, a `Catalog`.
"""

from __future__ import annotations

import json
import tomllib
from dataclasses import dataclass, fields
from typing import Any

from transforms.scene import SENTINEL1, SENTINEL2
from transforms.sources.assets import BANDS
from transforms.store import read_bytes

SIGNING = ("none", "planetary-computer", "s3-keys")
OFFSETS = ("declared", "baseline")


@dataclass(frozen=True)
class Product:
    """One sensor's collections in a catalogue, and what their items leave unsaid or say wrongly.

    Attributes:
      collections: searched one by one.
      assets: (band, key of the asset) pairs; empty where the names are among the usual ones.
      level: "L1C" or "L2A" of optical items that do not say it.
      offset: of reflectance. "declared": what the item says, else by processing baseline;
        "baseline": by processing baseline, whatever the item says; or the number itself. An item
        that says `*:boa_offset_applied` has none in the first two cases.
      scale: physical value = stored number * scale + offset; None: what the item says.
      nodata: None: what the item or the file says.
      unit: of backscatter, "linear" or "dB"; "" where items say it.
      calibration: of backscatter, "gamma0" or "sigma0"; "" where items say it.
      terrain_corrected: whether SAR items are map-projected although they say GRD.
    """

    collections: tuple[str, ...]
    assets: tuple[tuple[str, str], ...] = ()
    level: str = ""
    offset: str | float = "declared"
    scale: float | None = None
    nodata: float | None = None
    unit: str = ""
    calibration: str = ""
    terrain_corrected: bool = False


@dataclass(frozen=True)
class Catalog:
    """A STAC API.

    Attributes:
      name: for messages.
      url: of the landing page.
      optical: None where it has no usable Sentinel-2.
      sar: None where it has no usable Sentinel-1; then `lacks` says why.
      lacks: why a sensor is missing and what to do.
      signing: "none"; "planetary-computer": a SAS token for each storage container; "s3-keys": the
        user's keys in AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY.
      signing_url: where tokens are asked for: {signing_url}/{account}/{container}.
      signed_host: only assets on hosts that end so get a token.
      s3_endpoint: host of s3:// assets, read by path style.
      s3_https: whether it speaks TLS.
      keys_url: where a user gets keys.
      page: items per page of a search.
    """

    name: str
    url: str
    optical: Product | None = None
    sar: Product | None = None
    lacks: str = ""
    signing: str = "none"
    signing_url: str = ""
    signed_host: str = ""
    s3_endpoint: str = ""
    s3_https: bool = True
    keys_url: str = ""
    page: int = 100


_RAW_GRD = (
    "its sentinel-1-grd is raw GRD: it carries only ground control points and is not "
    "terrain-corrected; add sar=planetary-computer, or use the earthengine source"
)

_EARTH_SEARCH = "https://earth-search.aws.element84.com/v1"

PRESETS: dict[str, Catalog] = {
    # Its items declare an offset of -0.1 for every baseline; boa_offset_applied says whether it
    # was taken off already.
    "earth-search": Catalog(
        "earth-search",
        _EARTH_SEARCH,
        optical=Product(("sentinel-2-l2a",), level="L2A", offset="baseline"),
        lacks=_RAW_GRD,
    ),
    # Collection 1: all years in baseline 05.00 and later, DN as ESA delivers them.
    "earth-search-c1": Catalog(
        "earth-search-c1",
        _EARTH_SEARCH,
        optical=Product(("sentinel-2-c1-l2a",), level="L2A"),
        lacks=_RAW_GRD,
    ),
    "planetary-computer": Catalog(
        "planetary-computer",
        "https://planetarycomputer.microsoft.com/api/stac/v1",
        optical=Product(("sentinel-2-l2a",), level="L2A", offset="baseline"),
        sar=Product(
            ("sentinel-1-rtc",), unit="linear", calibration="gamma0", terrain_corrected=True
        ),
        signing="planetary-computer",
        signing_url="https://planetarycomputer.microsoft.com/api/sas/v1/token",
        signed_host=".blob.core.windows.net",
    ),
    "cdse": Catalog(
        "cdse",
        "https://stac.dataspace.copernicus.eu/v1",
        optical=Product(("sentinel-2-l2a",), level="L2A"),
        lacks=_RAW_GRD,
        signing="s3-keys",
        s3_endpoint="eodata.dataspace.copernicus.eu",
        keys_url="https://eodata-s3keysmanager.dataspace.copernicus.eu",
    ),
}


def open_catalog(name: str) -> Catalog:
    """The preset of that name, or the catalogue that a .toml or .json file describes.

    Raises:
      ValueError: there is no such preset, or the file is not as expected.
    """
    if name in PRESETS:
        return PRESETS[name]
    if not name.endswith((".toml", ".json")):
        raise ValueError(
            f"source stac: got {name!r}, expected one of {', '.join(PRESETS)}, or a .toml or "
            f".json file that describes an API"
        )
    try:
        text = read_bytes(name).decode()
        document = tomllib.loads(text) if name.endswith(".toml") else json.loads(text)
    except FileNotFoundError as error:
        raise ValueError(f"source stac: there is no file {name}") from error
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{name}: expected TOML or JSON by its ending: {error}") from error
    return parse_catalog(document, name)


def parse_catalog(document: Any, where: str) -> Catalog:
    """A catalogue from a configuration's content.

    Args:
      document: a table of `Catalog`'s fields; `optical` and `sar` are tables of `Product`'s
        fields, `assets` in them a table band -> asset key.
      where: the file, for errors.

    Raises:
      ValueError: a field is unknown, missing or of another kind; the message names it.
    """
    content = {"name": where} | _table(document, Catalog, where)
    if not str(content.get("url", "")).startswith(("http://", "https://")):
        raise ValueError(f"{where}: url is {content.get('url')!r}, expected https://...")
    for table, sensor in (("optical", SENTINEL2), ("sar", SENTINEL1)):
        if table in content:
            content[table] = _product(content[table], BANDS[sensor], f"{where}: {table}")
    if not {"optical", "sar"} & content.keys():
        raise ValueError(f"{where}: expected a table optical, sar, or both")
    catalog = Catalog(**content)
    if catalog.signing not in SIGNING:
        raise ValueError(
            f"{where}: signing is {catalog.signing!r}, expected one of {', '.join(SIGNING)}"
        )
    needed = {"planetary-computer": ("signing_url", "signed_host"), "s3-keys": ("s3_endpoint",)}
    absent = [f for f in needed.get(catalog.signing, ()) if not getattr(catalog, f)]
    if absent:
        raise ValueError(f"{where}: signing {catalog.signing} needs {' and '.join(absent)}")
    return catalog


def _product(document: Any, bands: tuple[str, ...], where: str) -> Product:
    content = _table(document, Product, where)
    collections = content.get("collections")
    if not isinstance(collections, list) or not all(isinstance(c, str) for c in collections):
        raise ValueError(f"{where}.collections is {collections!r}, expected a list of names")
    assets = content.get("assets", {})
    unknown = sorted(set(assets) - set(bands))
    if unknown:
        raise ValueError(f"{where}.assets names {unknown}, expected some of {', '.join(bands)}")
    product = Product(
        **content | {"collections": tuple(collections), "assets": tuple(assets.items())}
    )
    for name, allowed in (
        ("level", ("", "L1C", "L2A")),
        ("unit", ("", "linear", "dB")),
        ("calibration", ("", "sigma0", "gamma0")),
    ):
        if getattr(product, name) not in allowed:
            raise ValueError(
                f"{where}.{name} is {getattr(product, name)!r}, expected one of {allowed[1:]}"
            )
    if isinstance(product.offset, str) and product.offset not in OFFSETS:
        raise ValueError(
            f"{where}.offset is {product.offset!r}, expected a number or one of {OFFSETS}"
        )
    return product


def _table(document: Any, kind: type, where: str) -> dict:
    """The table's content, once its fields are known ones of the right kind."""
    if not isinstance(document, dict):
        raise ValueError(f"{where}: got {type(document).__name__}, expected a table")
    known = [field.name for field in fields(kind)]
    unknown = sorted(set(document) - set(known))
    if unknown:
        raise ValueError(f"{where}: unknown {unknown}, expected some of {', '.join(known)}")
    for name, value in document.items():
        wanted = _KINDS.get(name, (str,))
        # A bool is an int to Python, not to a reader.
        if not isinstance(value, wanted) or (isinstance(value, bool) and wanted != (bool,)):
            expected = " or ".join(k.__name__ for k in wanted)
            raise ValueError(f"{where}.{name} is {value!r}, expected {expected}")
    return dict(document)


_KINDS: dict[str, tuple[type, ...]] = {
    "optical": (dict,),
    "sar": (dict,),
    "assets": (dict,),
    "collections": (list,),
    "page": (int,),
    "s3_https": (bool,),
    "terrain_corrected": (bool,),
    "offset": (str, int, float),
    "scale": (int, float),
    "nodata": (int, float),
}
"""What TOML and JSON make of a field; text, where it is not here."""
