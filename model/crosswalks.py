"""Other land-cover maps, and how their classes become ours: declared, versioned, lossy."""

from __future__ import annotations

from typing import NamedTuple

from model.legend import CROSSWALKS, LULC6, Crosswalk


class OtherMap(NamedTuple):
    """A public land-cover product.

    Attributes:
      title: of the product and the editions whose codes these are.
      licence: and attribution that its owner asks for.
      version: of the crosswalk; a change of it changes every figure of agreement.
      names: of all its classes, by code.
      nodata: code of a pixel that it does not map.
      crosswalk: of its codes to class indices of LULC6.
    """

    title: str
    licence: str
    version: str
    names: dict[int, str]
    nodata: int
    crosswalk: Crosswalk

    @property
    def many_to_one(self) -> dict[str, list[str]]:
        """Our classes that several of theirs become: a difference between those is not seen."""
        merged: dict[str, list[str]] = {c.name: [] for c in LULC6.classes}
        for code, index in sorted(self.crosswalk.table.items()):
            merged[LULC6.classes[index].name].append(self.names[code])
        return {name: theirs for name, theirs in merged.items() if len(theirs) > 1}

    @property
    def without_counterpart(self) -> list[str]:
        """Their classes that none of ours is: pixels of these are not compared."""
        return [name for code, name in self.names.items() if code not in self.crosswalk.table]


OTHER_MAPS = {
    "worldcover": OtherMap(
        "ESA WorldCover 10 m, 2020 v100 and 2021 v200",
        "CC BY 4.0; © ESA WorldCover project / Contains modified Copernicus Sentinel data "
        "processed by ESA WorldCover consortium",
        "1",
        {
            10: "tree cover",
            20: "shrubland",
            30: "grassland",
            40: "cropland",
            50: "built-up",
            60: "bare or sparse vegetation",
            70: "snow and ice",
            80: "permanent water bodies",
            90: "herbaceous wetland",
            95: "mangroves",
            100: "moss and lichen",
        },
        0,
        CROSSWALKS["worldcover"],
    ),
    "dynamicworld": OtherMap(
        "Dynamic World V1, band label",
        "CC BY 4.0; Dynamic World by Google and World Resources Institute, contains modified "
        "Copernicus Sentinel data",
        "1",
        {
            0: "water",
            1: "trees",
            2: "grass",
            3: "flooded vegetation",
            4: "crops",
            5: "shrub and scrub",
            6: "built",
            7: "bare",
            8: "snow and ice",
        },
        255,
        CROSSWALKS["dynamicworld"],
    ),
    # The 2020 edition of ten classes told grass (3) and scrub (6) apart; rangeland (11) is both.
    "esri": OtherMap(
        "Esri and Impact Observatory 10 m annual land cover, nine classes, and the ten of 2020",
        "CC BY 4.0; Impact Observatory, Microsoft and Esri",
        "1",
        {
            1: "water",
            2: "trees",
            3: "grass",
            4: "flooded vegetation",
            5: "crops",
            6: "scrub",
            7: "built area",
            8: "bare ground",
            9: "snow and ice",
            10: "clouds",
            11: "rangeland",
        },
        0,
        Crosswalk({1: 0, 2: 1, 3: 2, 6: 2, 11: 2, 8: 3, 7: 4, 5: 5}, (0, 4, 9, 10)),
    ),
}
"""By the name that the command line takes."""
