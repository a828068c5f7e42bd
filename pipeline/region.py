"""What is mapped: a GeoJSON file, a bounding box or one of the shipped countries."""

from __future__ import annotations

import json
import re
import sys
from dataclasses import dataclass
from difflib import get_close_matches
from math import isfinite
from pathlib import Path, PurePosixPath

import shapely
from shapely.geometry.base import BaseGeometry

from transforms.sources.items import UNREADABLE
from transforms.store import read_bytes
from transforms.zones import NORTH_LIMIT, SOUTH_LIMIT


@dataclass(frozen=True)
class Region:
    """A named area.

    Attributes:
      name: short, for titles and file names.
      geometry: (multi)polygon, longitude and latitude in degrees, EPSG:4326.
    """

    name: str
    geometry: BaseGeometry

    def to_dict(self) -> dict:
        return {"name": self.name, "geometry": shapely.geometry.mapping(self.geometry)}

    @classmethod
    def from_dict(cls, d: dict) -> Region:
        return cls(d["name"], shapely.geometry.shape(d["geometry"]))


def regions_folder() -> Path:
    """Where the shipped regions lie: in a checkout, or where the package installed them."""
    checkout = Path(__file__).parent.parent / "data" / "regions"
    return checkout if checkout.is_dir() else Path(sys.prefix) / "share" / "cloudlulc" / "regions"


def shipped_regions() -> list[str]:
    """Names of the shipped regions, in order."""
    return sorted(path.stem for path in regions_folder().glob("*.geojson"))


def load_region(text: str) -> Region:
    """The region that a user names.

    Args:
      text: "west,south,east,north" in degrees (west > east crosses the antimeridian), the path or
        gs:// address of a GeoJSON file, or the name of a shipped region such as "ghana".

    Raises:
      ValueError: there is no such region, or it is not an area that can be mapped.
    """
    if re.fullmatch(r"[-+.\deE, ]+", text) and "," in text:
        return _from_bbox(text)
    if text.lower().endswith((".geojson", ".json")):
        return _from_file(text)
    name, shipped = text.lower().replace(" ", "-"), shipped_regions()
    if name in shipped:
        return _from_file(str(regions_folder() / f"{name}.geojson"))
    near = get_close_matches(name, shipped, n=3)
    hint = f"; did you mean {' or '.join(near)}?" if near else ""
    raise ValueError(
        f"region: got {text!r:.80}, expected a GeoJSON file, west,south,east,north in degrees or a "
        f"shipped country (list them with: cloudlulc info regions){hint}"
    )


def _from_bbox(text: str) -> Region:
    try:
        west, south, east, north = (float(part) for part in text.split(","))
    except ValueError:
        raise ValueError(
            f"region: got {text!r}, expected four numbers west,south,east,north in degrees"
        ) from None
    if not all(isfinite(edge) for edge in (south, north)) or max(abs(west), abs(east)) > 180:
        raise ValueError(
            f"region: got box {text}, expected west,south,east,north with longitudes from -180 to "
            "180 degrees; west > east crosses the antimeridian"
        )
    if not south < north or west == east:
        raise ValueError(f"region: box {text} has no area; expected west,south,east,north")
    spans = [(west, east)] if west < east else [(west, 180.0), (-180.0, east)]
    boxes = [shapely.box(w, south, e, north) for w, e in spans if w < e]
    name = f"box {west:g} {south:g} {east:g} {north:g}"
    return _checked(Region(name, shapely.union_all(boxes)), "region")


def load_places(path: str, name: str) -> list[Region]:
    """Every polygon of a GeoJSON file by its name, such as the districts of a country.

    Args:
      path: local or gs://.
      name: property that names a polygon; polygons of one name are one place.

    Raises:
      ValueError: what is wrong with the file, or a polygon has no name.
    """
    what = f"regions {path}"
    parts: dict[str, list[BaseGeometry]] = {}
    for number, (properties, shape) in enumerate(_polygons(_document(path), what), 1):
        if properties.get(name) in (None, ""):
            raise ValueError(
                f"{what}: feature {number} has no property {name}, it has "
                f"{', '.join(properties) or 'none'}; choose one that names it"
            )
        parts.setdefault(str(properties[name]), []).append(shape)
    return [_checked(Region(key, shapely.union_all(parts[key])), what) for key in parts]


def _from_file(path: str) -> Region:
    what = f"region {path}"
    document = _document(path)
    shapes = [shape for _, shape in _polygons(document, what)]
    properties = document.get("properties") or {}
    name = properties.get("name") if isinstance(properties, dict) else None
    return _checked(Region(str(name or PurePosixPath(path).stem), shapely.union_all(shapes)), what)


def _document(path: str) -> dict:
    try:
        document = json.loads(read_bytes(path).decode("utf-8-sig"))
    except FileNotFoundError:
        raise ValueError(f"region: there is no file {path}") from None
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise ValueError(f"region: {path} is not a GeoJSON file: {error}") from None
    if not isinstance(document, dict) or "type" not in document:
        raise ValueError(f"region {path}: expected a GeoJSON object with a type")
    return document


def _polygons(document: dict, what: str) -> list[tuple[dict, BaseGeometry]]:
    """Properties and (multi)polygon of each feature that has a geometry; all is checked."""
    crs_name = _crs_name(document)
    if crs_name and not crs_name.endswith(("CRS84", ":4326")):
        raise ValueError(f"{what}: got CRS {crs_name}, expected longitude and latitude (EPSG:4326)")
    kind = document["type"]
    features = document.get("features", []) if kind == "FeatureCollection" else [document]
    try:
        shapes = [
            (
                f["properties"] if isinstance(f.get("properties"), dict) else {},
                shapely.geometry.shape(f["geometry"] if f["type"] == "Feature" else f),
            )
            for f in features
            if f["type"] != "Feature" or f["geometry"] is not None
        ]
    except (*UNREADABLE, shapely.errors.ShapelyError) as error:
        raise ValueError(f"{what}: not a valid GeoJSON geometry: {error}") from None
    for _, shape in shapes:
        if shape.geom_type not in ("Polygon", "MultiPolygon"):
            raise ValueError(f"{what}: got {shape.geom_type}, expected polygons with area to map")
        if max(map(abs, shape.bounds), default=0) > 360:
            raise ValueError(
                f"{what}: coordinates up to {max(map(abs, shape.bounds)):g} are no degrees; "
                "expected longitude and latitude (EPSG:4326); reproject the file"
            )
        if _leaps(shape):
            raise ValueError(
                f"{what}: an edge spans more than 180 degrees of longitude; cut the polygon at the "
                "antimeridian into two parts, as RFC 7946 asks"
            )
        if not shape.is_valid:
            raise ValueError(
                f"{what}: invalid polygon, {shapely.is_valid_reason(shape)}; mend it, in QGIS for "
                "instance with Vector > Geometry Tools > Fix Geometries"
            )
    return shapes


def _crs_name(document: dict) -> str:
    """Name of the CRS that older GeoJSON files state; "" where there is none."""
    crs = document.get("crs")
    properties = crs.get("properties") if isinstance(crs, dict) else None
    return str(properties.get("name", "")) if isinstance(properties, dict) else ""


def _leaps(shape: BaseGeometry) -> bool:
    """Whether an edge spans more than 180 degrees of longitude."""
    for polygon in getattr(shape, "geoms", [shape]):
        for ring in (polygon.exterior, *polygon.interiors):
            lon = [point[0] for point in ring.coords]
            if any(abs(b - a) > 180 for a, b in zip(lon, lon[1:], strict=False)):
                return True
    return False


def _checked(region: Region, what: str) -> Region:
    shape = region.geometry
    if shape.is_empty or shape.geom_type not in ("Polygon", "MultiPolygon") or shape.area == 0:
        raise ValueError(f"{what}: got {shape.geom_type}, expected a polygon with area to map")
    west, south, east, north = shape.bounds
    if west < -180 or east > 180:
        raise ValueError(
            f"{what}: longitudes {west:g} to {east:g}, expected -180 to 180; cut the polygon at "
            "the antimeridian into two parts, as RFC 7946 asks"
        )
    if south < SOUTH_LIMIT or north > NORTH_LIMIT:
        raise ValueError(
            f"{what}: latitudes {south:g} to {north:g}; the processing grid covers "
            f"{SOUTH_LIMIT:g} to {NORTH_LIMIT:g}; cut the polygon there"
        )
    return region
