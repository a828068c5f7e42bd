"""Where a product and another map agree: by class, by region, on the ground, and as a map.

Agreement is not accuracy: both may be wrong together, and one of them may be right alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from shapely.geometry.base import BaseGeometry

from model.crosswalks import OtherMap
from model.legend import IGNORE_INDEX, LULC6, NODATA_CODE, LandCoverClass, Legend
from transforms.area import pixel_areas
from transforms.export import write_cog
from transforms.grid import GeoBox
from transforms.layers import Layer
from transforms.mosaic import Window, window_geobox
from transforms.other_map import OtherRasters, around
from transforms.published import Published, PublishedTile, read_blocks
from transforms.regionmask import RegionMask

AGREE, NO_COUNTERPART, NOT_THERE = 1, 2, 3
_CLASSES = len(LULC6.classes)


class Place(NamedTuple):
    """A region that figures are given for."""

    name: str
    geometry: BaseGeometry | None  # longitude and latitude, degrees; None: all that is mapped


def differences() -> Legend:
    """Legend of the map of differences: 1 where both agree, 10 a + b where ours says the a-th
    class of LULC6 and the other map the b-th, in the other's colour."""
    pairs = [
        LandCoverClass(
            0, 10 * (a.index + 1) + b.index + 1, f"here {a.name}, there {b.name}", b.color
        )
        for a in LULC6.classes
        for b in LULC6.classes
        if a != b
    ]
    classes = [
        LandCoverClass(0, AGREE, "agree", (235, 235, 235)),
        LandCoverClass(0, NO_COUNTERPART, "there a class without counterpart", (70, 70, 70)),
        LandCoverClass(0, NOT_THERE, "not in the other map", (200, 190, 200)),
        *pairs,
    ]
    return Legend("differences", tuple(c._replace(index=i) for i, c in enumerate(classes)))


DIFFERENCES = Layer(
    "differences",
    "uint8",
    NODATA_CODE,
    "",
    "Where the product and another map differ, and what each says",
    classes=True,
)


def agreement(
    product: Published,
    other: OtherMap,
    rasters: OtherRasters,
    places: Sequence[Place],
    write_map: Callable[[PublishedTile, Iterator[Window]], None] | None = None,
) -> dict[str, Any]:
    """Compare a product with another map, block by block.

    Args:
      places: what figures are given for.
      write_map: called with each tile and its windows of `DIFFERENCES`, has to go through them.

    Returns:
      JSON document: the crosswalk and what it loses, how pixels were matched, and for each place
      the areas in km2 on the ellipsoid.

    Raises:
      ValueError: the legends do not meet, or the maps do not.
    """
    if foreign := {c.code for c in product.legend.classes} - {c.code for c in LULC6.classes}:
        raise ValueError(
            f"agreement: the product has classes {sorted(foreign)}, and crosswalks are declared "
            f"for {LULC6.name} alone"
        )
    tally = _Tally(other, places)
    for tile in product.tiles:
        windows = _compared(tile, other, rasters, tally)
        if write_map:
            write_map(tile, windows)
        else:
            for _ in windows:
                pass
    if not rasters.ways or not tally.by_code[0][:, list(other.names)].any():
        raise ValueError(
            f"agreement: {rasters.files[0]}{' and others' * (len(rasters.files) > 1)} maps no "
            f"pixel of the product {product.title}; expected maps of one place"
        )
    return {
        "product": product.id,
        "title": product.title,
        "other": other.title,
        "licence": other.licence,
        "files": len(rasters.files),
        "matched_by": sorted(rasters.ways),
        "crosswalk": {
            "version": other.version,
            "classes": {
                other.names[code]: LULC6.classes[index].name
                for code, index in other.crosswalk.table.items()
            },
            "many_to_one": other.many_to_one,
            "without_counterpart": other.without_counterpart,
        },
        "places": [
            {"place": place.name} | _figures(by_code, other)
            for place, by_code in zip(places, tally.by_code, strict=True)
        ],
    }


class _Tally:
    """Areas by place, our class and the other's code.

    Attributes:
      by_code: of each place (class of LULC6, code 0 to 255) float64, km2.
    """

    def __init__(self, other: OtherMap, places: Sequence[Place]):
        self._places = places
        self.by_code = [np.zeros((_CLASSES, 256)) for _ in places]

    def add(self, geobox: GeoBox, ours: np.ndarray, codes: np.ndarray) -> None:
        """Count a window: (y, x) uint8 class index and the other's code."""
        km2 = pixel_areas(geobox) / 1e6
        box = around(geobox.epsg, geobox.bounds)
        mapped = ours != IGNORE_INDEX
        for place, by_code in zip(self._places, self.by_code, strict=True):
            here = mapped
            if place.geometry is not None:
                if not place.geometry.intersects(box):
                    continue
                here = mapped & RegionMask(place.geometry)(geobox)
            rows, cols = np.nonzero(here)
            pair = ours[rows, cols].astype(np.intp) * 256 + codes[rows, cols]
            counted = np.bincount(pair, km2[rows], _CLASSES * 256)
            by_code += counted.reshape(_CLASSES, 256)


def _compared(
    tile: PublishedTile, other: OtherMap, rasters: OtherRasters, tally: _Tally
) -> Iterator[Window]:
    for _, window in read_blocks(tile, ("lulc",)):
        geobox = window_geobox(tile.geobox, window.rows, window.cols)
        ours = LULC6.indices(window.layers["lulc"])
        codes = rasters.read(geobox)
        theirs = other.crosswalk.indices(codes, f"the other map, tile {tile.name}")
        tally.add(geobox, ours, codes)
        difference = _difference(ours, theirs, codes == other.nodata)
        yield Window(window.rows, window.cols, {DIFFERENCES.name: difference})


def _difference(ours: np.ndarray, theirs: np.ndarray, not_there: np.ndarray) -> np.ndarray:
    """(y, x) uint8 codes of `differences`, from class indices (y, x) uint8 and (y, x) bool."""
    out = 10 * (ours.astype(np.int16) + 1) + theirs + 1
    out[ours == theirs] = AGREE
    out[theirs == IGNORE_INDEX] = NO_COUNTERPART
    out[not_there] = NOT_THERE
    out[ours == IGNORE_INDEX] = NODATA_CODE
    return out.astype(np.uint8)


def _figures(by_code: np.ndarray, other: OtherMap) -> dict[str, Any]:
    matrix = np.zeros((_CLASSES, _CLASSES))
    for code, index in other.crosswalk.table.items():
        matrix[:, index] += by_code[:, code]
    both, compared = float(np.trace(matrix)), float(matrix.sum())
    names = [c.name for c in LULC6.classes]
    lost = {
        name: _km2(by_code[:, code].sum())
        for code, name in other.names.items()
        if code not in other.crosswalk.table and by_code[:, code].any()
    }
    classes = {}
    for i, name in enumerate(names):
        ours, theirs = float(matrix[i].sum()), float(matrix[:, i].sum())
        if ours or theirs:
            classes[name] = {
                "ours_km2": _km2(ours),
                "theirs_km2": _km2(theirs),
                "both_km2": _km2(matrix[i, i]),
                "of_ours": _share(matrix[i, i], ours),
                "of_theirs": _share(matrix[i, i], theirs),
            }
    return {
        "mapped_km2": _km2(by_code.sum()),
        "compared_km2": _km2(compared),
        "agreement_km2": _km2(both),
        "agreement": _share(both, compared),
        "without_counterpart_km2": lost,
        "not_in_other_map_km2": _km2(by_code[:, other.nodata].sum()),
        "classes": classes,
        "confusion_km2": _table(matrix, names, dict(enumerate(names))),
        "confusion_by_their_class_km2": _table(by_code, names, other.names),
    }


def _table(matrix: np.ndarray, rows: Sequence[str], columns: dict[int, str]) -> dict[str, Any]:
    """Our class -> their class -> km2; what is 0 is left out."""
    return {
        name: {column: _km2(matrix[i, j]) for j, column in columns.items() if matrix[i, j]}
        for i, name in enumerate(rows)
        if matrix[i, list(columns)].any()
    }


def _km2(area: float) -> float:
    return round(float(area), 6)


def _share(part: float, whole: float) -> float | None:
    return round(float(part / whole), 6) if whole else None


def write_differences(url: str, tile: PublishedTile, windows: Iterator[Window], title: str) -> None:
    """Write the map of differences of a tile as a COG with colours and names."""
    write_cog(url, tile.geobox, DIFFERENCES, windows, differences(), {"title": title})


def agreement_text(document: dict[str, Any]) -> str:
    """The figures as tables for people."""
    lost = ", ".join(document["crosswalk"]["without_counterpart"])
    merged = "; ".join(
        f"{', '.join(theirs)} -> {name}"
        for name, theirs in document["crosswalk"]["many_to_one"].items()
    )
    lines = [
        f"{document['title']}, against {document['other']}",
        f"matched by: {'; '.join(document['matched_by'])}",
        f"crosswalk {document['crosswalk']['version']}: many to one: {merged or 'none'}",
        f"not compared, without counterpart: {lost or 'none'}",
        "agreement is not accuracy: see docs/accuracy.md",
    ]
    for figures in document["places"]:
        share = figures["agreement"]
        lines += [
            "",
            f"{figures['place']}: {figures['agreement_km2']:,.3f} of "
            f"{figures['compared_km2']:,.3f} km2 agree"
            + (f" ({share:.1%})" if share is not None else "")
            + f"; mapped {figures['mapped_km2']:,.3f} km2",
            f"  {'class':12} {'ours km2':>14} {'theirs km2':>14} {'both km2':>14} {'of ours':>9} "
            f"{'of theirs':>9}",
        ]
        for class_name, row in figures["classes"].items():
            shares = " ".join(
                f"{row[part]:9.1%}" if row[part] is not None else f"{'-':>9}"
                for part in ("of_ours", "of_theirs")
            )
            lines.append(
                f"  {class_name:12} {row['ours_km2']:14,.3f} {row['theirs_km2']:14,.3f} "
                f"{row['both_km2']:14,.3f} {shares}"
            )
    return "\n".join(lines)
