"""Whether the +1000 DN offset of baseline 04.00 and later is in a scene's numbers, told from them.

Metadata of this offset is often wrong: harmonised copies that still declare it, items that forgot
it. The numbers tell it themselves, since nearly every scene has something dark in some band: water,
shadow, woods in the visible and short-wave infrared, the air's absorption in B09 and B10 of L1C.
With the offset nothing real lies much below 1000; without it, hardly any scene keeps clear of 1000
in every band. Where all is bright (overcast, snow, salt) both readings are possible: undetermined.
"""

from __future__ import annotations

from typing import NamedTuple

from transforms.pixels.percentiles import percentiles
from transforms.pixels.sentinel2 import OPTICAL, has_data
from transforms.scene import Raster, Scene

OFFSET = 1000
"""DN added to reflectance x 1e4 since baseline 04.00 (RADIO_ADD_OFFSET, BOA_ADD_OFFSET)."""

PRESENT, ABSENT, UNDETERMINED = "offset", "no offset", "undetermined"
"""States of the numbers, and of what the metadata says."""

OK, CONTRADICTION = "ok", "contradiction"

VISIBLE, SHORT_WAVE = ("B02", "B03", "B04"), ("B11", "B12")
_LAND = ("B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B11", "B12")
_AIR = ("B09", "B10")  # of L1C: darkened by water vapour, even over cloud

_FLOOR_PERCENTILE = 1  # dark enough to be an object, common enough not to be a broken pixel
_MIN_PIXELS = 1000
_MIN_CLEAR = 0.5  # share of clear pixels without which brightness proves nothing
# Reflectance x 1e4 of the darkest percent, as if there were no offset:
_BELOW = 900  # with the offset this would be a reflectance of -0.01 over a whole percent
_ABOVE = 950  # over-corrected water reaches -0.005 with the offset
_DARK_SHORT_WAVE, _DARK_AIR = 1900, 1350  # with the offset: no desert, no cloud
_DARK_VISIBLE = {"L1C": 1900, "L2A": 1600}  # with the offset: water, shadow, woods or fields
_CLEAR_BLUE = {"L1C": 2600, "L2A": 2000}  # median of B02: mostly neither cloud nor snow


class OffsetFinding(NamedTuple):
    """What the numbers say of the offset, and whether the metadata agrees."""

    state: str  # PRESENT, ABSENT or UNDETERMINED
    declared: str  # PRESENT, ABSENT or UNDETERMINED (bands differ)
    verdict: str  # OK, CONTRADICTION or UNDETERMINED
    floors: dict[str, int]  # band -> darkest percent of the valid pixels, reflectance x 1e4 as read
    reason: str


def find_offset(raster: Raster, scene: Scene, clear: float | None = None) -> OffsetFinding:
    """Compare the offset in a scene's numbers with what its item declares.

    Args:
      raster: pixels (band, y, x), stored numbers; as many of the scene's bands as there are, of a
        window or the whole scene at reduced size (by picking pixels, not by averaging).
      scene: the scene they are from.
      clear: share of its data that is screened as clear, 0-1; None if that is unknown.
    """
    declared = declared_offset(scene)
    floors, count, blue = {}, 0, None
    for band, stored in zip(raster.bands, raster.pixels, strict=True):
        asset = scene.asset(band)
        if band not in (*_LAND, *_AIR):
            continue
        valid = has_data(stored, asset, raster.nodata) & (stored != 0)
        count = max(count, int(valid.sum()))
        if valid.sum() >= _MIN_PIXELS:
            low, middle = percentiles(stored[valid], (_FLOOR_PERCENTILE, 50)) * asset.scale * 1e4
            floors[band] = round(float(low))
            if band == "B02":
                blue = float(middle)
    if not floors:
        state, reason = UNDETERMINED, f"{count} pixels with data, expected {_MIN_PIXELS}"
    else:
        share = 1.0 if clear is None else clear
        state, reason = _judge(floors, blue, share, "L1C" if scene.level == "L1C" else "L2A")
    known = UNDETERMINED not in (state, declared)
    verdict = UNDETERMINED if not known else OK if state == declared else CONTRADICTION
    return OffsetFinding(state, declared, verdict, floors, reason)


def declared_offset(scene: Scene) -> str:
    """What the item says of its reflectance bands: PRESENT, ABSENT or, if they differ, neither."""
    said = {a.offset < -0.05 for a in scene.assets if a.band in OPTICAL.names}
    return UNDETERMINED if len(said) != 1 else PRESENT if said.pop() else ABSENT


def _judge(floors: dict[str, int], blue: float | None, clear: float, level: str) -> tuple[str, str]:
    top = level == "L1C"
    tell = {b: v for b, v in floors.items() if b in _LAND or top}
    band = min(tell, key=tell.get, default="")
    if not band:
        return UNDETERMINED, "no band that tells"
    if tell[band] < (_ABOVE if top else _BELOW):
        return ABSENT, f"the darkest percent of {band} lies at {tell[band]}"
    if tell[band] < _ABOVE:
        return UNDETERMINED, f"the darkest percent of {band} lies at {tell[band]}, between both"
    if top and "B10" in tell and tell["B10"] <= _DARK_AIR:
        return PRESENT, f"B10 lies at {tell['B10']}: the air is dark there, so this is the offset"
    visible = min((floors[b] for b in VISIBLE if b in floors), default=None)
    short_wave = min((floors[b] for b in SHORT_WAVE if b in floors), default=None)
    if visible is None or short_wave is None or blue is None:
        return UNDETERMINED, "bright everywhere, without B02 or a band of the short-wave infrared"
    if clear < _MIN_CLEAR or blue > _CLEAR_BLUE[level]:
        return (
            UNDETERMINED,
            f"bright: {clear:.0%} of it clear, median of B02 {blue:.0f}",
        )
    if short_wave <= _DARK_SHORT_WAVE and visible <= _DARK_VISIBLE[level]:
        return PRESENT, f"nothing below {tell[band]}, dark ground at {visible} and {short_wave}"
    return UNDETERMINED, f"bright everywhere: visible from {visible}, short-wave from {short_wave}"
