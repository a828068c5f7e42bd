"""Makes data/regions: country boundaries as GeoJSON, from Natural Earth by way of world-atlas.

    npm pack world-atlas@2.0.2 && tar xzf world-atlas-2.0.2.tgz
    python -m benchmarks.make_regions package/countries-50m.json data/regions

Needs shapely. Same input, same bytes; README.md of the output folder is written by hand.
"""

from __future__ import annotations

import argparse
import json
import re
import unicodedata
from itertools import accumulate
from pathlib import Path

import numpy as np
import shapely
from shapely.geometry import MultiPolygon, Polygon, mapping
from shapely.geometry.base import BaseGeometry

SOURCE = "Natural Earth 4.1.0, admin 0 countries 1:50m, by way of world-atlas 2.0.2"
LICENCE = "public domain"
DECIMALS = 4  # degree: finer than the source's quantisation

FULL_NAMES = {
    "Antigua and Barb.": "Antigua and Barbuda",
    "Ashmore and Cartier Is.": "Ashmore and Cartier Islands",
    "Bosnia and Herz.": "Bosnia and Herzegovina",
    "Br. Indian Ocean Ter.": "British Indian Ocean Territory",
    "British Virgin Is.": "British Virgin Islands",
    "Cayman Is.": "Cayman Islands",
    "Central African Rep.": "Central African Republic",
    "Congo": "Republic of the Congo",
    "Cook Is.": "Cook Islands",
    "Dem. Rep. Congo": "Democratic Republic of the Congo",
    "Dominican Rep.": "Dominican Republic",
    "Eq. Guinea": "Equatorial Guinea",
    "eSwatini": "Eswatini",
    "Faeroe Is.": "Faroe Islands",
    "Falkland Is.": "Falkland Islands",
    "Fr. Polynesia": "French Polynesia",
    "Fr. S. Antarctic Lands": "French Southern and Antarctic Lands",
    "Heard I. and McDonald Is.": "Heard Island and McDonald Islands",
    "Indian Ocean Ter.": "Australian Indian Ocean Territories",
    "Macedonia": "North Macedonia",
    "Marshall Is.": "Marshall Islands",
    "N. Cyprus": "Northern Cyprus",
    "N. Mariana Is.": "Northern Mariana Islands",
    "Pitcairn Is.": "Pitcairn Islands",
    "S. Geo. and the Is.": "South Georgia and the South Sandwich Islands",
    "S. Sudan": "South Sudan",
    "Solomon Is.": "Solomon Islands",
    "St-Barthélemy": "Saint Barthélemy",
    "St-Martin": "Saint Martin",
    "St. Kitts and Nevis": "Saint Kitts and Nevis",
    "St. Pierre and Miquelon": "Saint Pierre and Miquelon",
    "St. Vin. and Gren.": "Saint Vincent and the Grenadines",
    "Turks and Caicos Is.": "Turks and Caicos Islands",
    "U.S. Virgin Is.": "United States Virgin Islands",
    "W. Sahara": "Western Sahara",
    "Wallis and Futuna Is.": "Wallis and Futuna",
}

AFRICA = set(
    # ISO 3166-1 numeric codes of UN M49 "Africa", without dependencies in the oceans
    "012 024 072 108 120 132 140 148 174 178 180 204 226 231 232 262 266 270 288 324 384 404 426 "
    "430 434 450 454 466 478 480 504 508 516 562 566 624 646 678 686 690 694 706 710 716 728 729 "
    "732 748 768 788 800 818 834 854 894".split()
)
AFRICA_WITHOUT_CODE = {"Somaliland"}


def arcs_of(topology: dict) -> list[list[tuple[float, float]]]:
    """Arcs in degrees of a quantised TopoJSON topology (specification 2.1.3, delta encoding)."""
    (sx, sy), (tx, ty) = topology["transform"]["scale"], topology["transform"]["translate"]
    arcs = []
    for arc in topology["arcs"]:
        xs, ys = accumulate(x for x, _ in arc), accumulate(y for _, y in arc)
        arcs.append([(x * sx + tx, y * sy + ty) for x, y in zip(xs, ys, strict=True)])
    return arcs


def ring_of(indices: list[int], arcs: list) -> list[tuple[float, float]]:
    """A ring from arc indices; ~i is arc i backwards, and arcs share their end points."""
    ring = []
    for i in indices:
        arc = arcs[i] if i >= 0 else arcs[~i][::-1]
        ring.extend(arc[1:] if ring else arc)
    return ring


def unwrap(ring: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """The ring without jumps in longitude, which may leave -180..180; closed over a pole.

    The source stitches what Natural Earth had cut at the antimeridian, so a ring may step from
    179.9 to -179.9 degrees, and Antarctica's goes once around the pole.
    """
    longitudes = np.unwrap([x for x, _ in ring], period=360).tolist()
    smooth = [(x, y) for x, (_, y) in zip(longitudes, ring, strict=True)]
    if abs(smooth[-1][0] - smooth[0][0]) > 180:
        pole = -90.0 if smooth[0][1] < 0 else 90.0
        smooth += [(smooth[-1][0], pole), (smooth[0][0], pole), smooth[0]]
    return smooth


def cut_at_antimeridian(polygon: BaseGeometry) -> list[BaseGeometry]:
    """Parts of an unwrapped polygon, moved back to -180..180 degrees (RFC 7946, 3.1.9)."""
    parts = []
    for turn in (-360, 0, 360):
        part = polygon.intersection(shapely.box(turn - 180, -90, turn + 180, 90))
        parts.append(shapely.transform(part, lambda xy, turn=turn: xy - [turn, 0]))
    return parts


def geometry_of(entry: dict, arcs: list) -> MultiPolygon:
    polygons = entry["arcs"] if entry["type"] == "MultiPolygon" else [entry["arcs"]]
    parts = []
    for polygon in polygons:
        rings = [unwrap(ring_of(ring, arcs)) for ring in polygon]
        parts.extend(cut_at_antimeridian(shapely.make_valid(Polygon(rings[0], rings[1:]))))
    return tidy(shapely.union_all(parts))


def tidy(geometry: BaseGeometry) -> MultiPolygon:
    """Valid, rounded, outer rings counter-clockwise (RFC 7946), largest part first."""
    rounded = shapely.set_precision(geometry, 10**-DECIMALS)
    parts = [g for g in shapely.get_parts(rounded) if g.geom_type == "Polygon" and g.area > 0]
    parts.sort(key=lambda g: (-g.area, g.bounds))
    return MultiPolygon([shapely.orient_polygons(shapely.normalize(g)) for g in parts])


def slug(name: str) -> str:
    """File name of a country: "Côte d'Ivoire" -> "cote-d-ivoire"."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", plain).strip("-")


def write_feature(path: Path, properties: dict, geometry: MultiPolygon) -> None:
    shape = mapping(geometry.geoms[0] if len(geometry.geoms) == 1 else geometry)
    feature = {
        "type": "Feature",
        "properties": properties | {"source": SOURCE, "licence": LICENCE},
        "geometry": {"type": shape["type"], "coordinates": shorten(shape["coordinates"])},
    }
    path.write_text(json.dumps(feature, separators=(",", ":"), ensure_ascii=False) + "\n")


def shorten(coordinates):
    if isinstance(coordinates, float):
        return round(coordinates, DECIMALS)
    return [shorten(c) for c in coordinates]


def main(topojson: Path, out: Path) -> None:
    topology = json.loads(topojson.read_text())
    arcs = arcs_of(topology)
    for old in out.glob("*.geojson"):
        old.unlink()
    africa = []
    for entry in topology["objects"]["countries"]["geometries"]:
        name = entry["properties"]["name"]
        full, code = FULL_NAMES.get(name, name), entry.get("id")
        path = out / f"{slug(full)}.geojson"
        if path.exists():
            raise ValueError(f"two countries are named {path.name}: {full!r}")
        geometry = geometry_of(entry, arcs)
        if geometry.is_empty:
            raise ValueError(f"{full}: no area is left of its polygons")
        write_feature(path, {"name": full, "iso_numeric": code}, geometry)
        if code in AFRICA or name in AFRICA_WITHOUT_CODE:
            africa.append(geometry)
    if len(africa) != len(AFRICA) + len(AFRICA_WITHOUT_CODE):
        raise ValueError(f"Africa: got {len(africa)} countries, expected all of the list")
    properties = {"name": "Africa", "iso_numeric": None}
    write_feature(out / "africa.geojson", properties, tidy(shapely.union_all(africa)))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("topojson", type=Path)
    parser.add_argument("out", type=Path)
    arguments = parser.parse_args()
    main(arguments.topojson, arguments.out)
