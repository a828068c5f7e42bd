"""Land-cover classes: the one place where a class index meets a class code.

A class *index* is a channel of the network (0, 1, 2, ...); a class *code* is the value that a
product pixel holds (10 = forest, ...). Only `Legend` converts between them.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

IGNORE_INDEX = 255
"""Index of a pixel whose truth is unknown: left out of every loss and score."""

NODATA_CODE = 0
"""Code of a product pixel that was not mapped."""


class LandCoverClass(NamedTuple):
    index: int  # channel of the network
    code: int  # value in the product
    name: str
    color: tuple[int, int, int]  # red, green, blue, 0-255


class Legend(NamedTuple):
    """Ordered land-cover classes; position in `classes` equals `index`."""

    name: str
    classes: tuple[LandCoverClass, ...]

    def codes(self, index: np.ndarray) -> np.ndarray:
        """Class codes of class indices.

        Args:
          index: (...) uint8 class indices; `IGNORE_INDEX` where unknown.

        Returns:
          (...) uint8 class codes; `NODATA_CODE` where unknown.

        Raises:
          ValueError: an index is outside the legend.
        """
        table = np.full(256, -1, np.int16)
        for c in self.classes:
            table[c.index] = c.code
        table[IGNORE_INDEX] = NODATA_CODE
        return _look_up(table, index, f"class index of legend {self.name!r}")

    def indices(self, code: np.ndarray) -> np.ndarray:
        """Class indices (...) uint8 of class codes (...) uint8; nodata becomes `IGNORE_INDEX`."""
        table = np.full(256, -1, np.int16)
        for c in self.classes:
            table[c.code] = c.index
        table[NODATA_CODE] = IGNORE_INDEX
        return _look_up(table, code, f"class code of legend {self.name!r}")

    def color_table(self) -> dict[int, tuple[int, int, int, int]]:
        """Code -> (red, green, blue, alpha), as GDAL colour tables want it."""
        return {NODATA_CODE: (0, 0, 0, 0)} | {c.code: (*c.color, 255) for c in self.classes}

    def to_dict(self) -> dict:
        return {"name": self.name, "classes": [c._asdict() for c in self.classes]}

    @classmethod
    def from_dict(cls, d: dict) -> Legend:
        return cls(
            d["name"],
            tuple(
                LandCoverClass(c["index"], c["code"], c["name"], tuple(c["color"]))
                for c in d["classes"]
            ),
        )


def _look_up(table: np.ndarray, values: np.ndarray, what: str) -> np.ndarray:
    out = table[values]
    if (out < 0).any():
        wrong = np.unique(values[out < 0])[:5].tolist()
        raise ValueError(f"{what}: got {wrong}, expected {np.flatnonzero(table >= 0).tolist()}")
    return out.astype(np.uint8)


# The six classes and their order are CloudLULC-Set's; codes and colours are ESA WorldCover's,
# so that existing styles fit.
LULC6 = Legend(
    "lulc6",
    (
        LandCoverClass(0, 80, "water", (0, 100, 200)),
        LandCoverClass(1, 10, "forest", (0, 100, 0)),
        LandCoverClass(2, 30, "grassland", (255, 255, 76)),
        LandCoverClass(3, 60, "barren", (180, 180, 180)),
        LandCoverClass(4, 50, "built-up", (250, 0, 0)),
        LandCoverClass(5, 40, "cropland", (240, 150, 255)),
    ),
)

# Crosswalks: code of another product -> class index of LULC6. They are lossy (shrubs become
# grassland, as CloudSeg does); what is not listed has no counterpart and is ignored.
WORLDCOVER_TO_LULC6 = {80: 0, 10: 1, 20: 2, 30: 2, 60: 3, 50: 4, 40: 5}
DYNAMIC_WORLD_TO_LULC6 = {0: 0, 1: 1, 2: 2, 5: 2, 7: 3, 6: 4, 4: 5}


def crosswalk(codes: np.ndarray, table: dict[int, int]) -> np.ndarray:
    """Class indices (...) uint8 of another product's codes (...) uint8; unlisted -> ignore."""
    lookup = np.full(256, IGNORE_INDEX, np.uint8)
    lookup[list(table)] = list(table.values())
    return lookup[codes]


class Crosswalk(NamedTuple):
    """How the codes of a product become class indices of LULC6."""

    table: dict[int, int]  # code -> class index
    unmapped: tuple[int, ...]  # codes without counterpart, and nodata

    def indices(self, codes: np.ndarray, where: str) -> np.ndarray:
        """Class indices (...) uint8 of codes (...); `IGNORE_INDEX` where there is no counterpart.

        Raises:
          ValueError: the product has no such code: another crosswalk is meant.
        """
        known = {*self.table, *self.unmapped}
        if foreign := sorted(set(np.unique(codes).tolist()) - known):
            raise ValueError(f"{where} holds codes {foreign[:5]}, expected some of {sorted(known)}")
        return crosswalk(codes.astype(np.uint8), self.table)


CROSSWALKS = {
    "worldcover": Crosswalk(WORLDCOVER_TO_LULC6, (0, 70, 90, 95, 100)),
    "dynamicworld": Crosswalk(DYNAMIC_WORLD_TO_LULC6, (3, 8, 255)),
    "lulc6": Crosswalk({c.index: c.index for c in LULC6.classes}, (IGNORE_INDEX,)),
}
"""Products that maps are compared with and labels are taken from; our own maps hold WorldCover's
codes."""
