"""Findings of scenes: what their pixels say, beside what their metadata says, and a verdict.

A scene is looked at in a few windows at its own pixel size, so that thin defects stay visible and a
scene of 110 km costs as little as one of 15.
"""

from __future__ import annotations

from collections.abc import Callable
from math import ceil, floor
from typing import NamedTuple

import numpy as np
from pyproj import Transformer

from transforms.grid import GeoBox
from transforms.pixels.clouds import screen, screening_bands
from transforms.pixels.coregister import Shift, estimate_shift
from transforms.pixels.edges import Defects, find_defects
from transforms.pixels.offset import CONTRADICTION, find_offset
from transforms.pixels.percentiles import percentiles
from transforms.pixels.sentinel1 import SAR, mask_border_noise, to_backscatter
from transforms.pixels.sentinel2 import OPTICAL, optical_valid, to_reflectance
from transforms.scene import SENTINEL1, SENTINEL2, Bounds, Raster, Scene, overlap
from transforms.zones import zone_epsg

Read = Callable[[Scene, GeoBox, tuple[str, ...]], Raster]
"""`ImagerySource.read`, or any function like it."""

WINDOW = 512
"""Side of one window, px."""
WINDOWS = 3
"""Windows per side of a scene that is larger than they are together: corners, edges, middle."""

MAX_DEFECTS = 0.05
"""Share of defective pixels among the data up to which masking them is enough."""

MAX_REFLECTANCE = 2.5
"""99th percentile of reflectance beyond which its scale cannot be right."""
BACKSCATTER = (-40.0, 8.0)
"""Range that the median of VV has to lie in, dB; linear power called dB, or DN, does not."""

_CLOUDY = 40  # cloud probability from which a pixel is no ground, percent


class Findings(NamedTuple):
    """What was found in one scene."""

    scene: str
    verdict: str  # "ok" or "quarantine"
    reasons: tuple[str, ...]  # of the quarantine
    pixels: int  # looked at
    nodata: float  # share of them, 0-1
    cloud: float | None  # share of cloudy pixels among the data, 0-1; None if nothing screens them
    offset: dict | None  # `OffsetFinding`; None for SAR
    defects: dict[str, float]  # zeros, stripes, noise: shares of the data, 0-1
    values: dict[str, tuple[float, float, float]]  # band -> percentiles 1, 50, 99: reflectance, dB

    def to_dict(self) -> dict:
        return self._asdict() | {"reasons": list(self.reasons)}


def inspect_scene(scene: Scene, read: Read, boxes: list[GeoBox] | None = None) -> Findings:
    """Look at a scene's pixels.

    Args:
      scene: the scene.
      read: gives its pixels.
      boxes: windows of one height to look at; `windows_of` the footprint by default.

    Raises:
      SourceUnavailable: from `read`.
      ValueError: the scene's numbers cannot be interpreted at all.
    """
    boxes = windows_of(scene.footprint) if boxes is None else boxes
    seen = [read(scene, box, scene_bands(scene)) for box in boxes]
    found = [find_defects(raster, scene) for raster in seen]
    # Side by side, since a percentile does not ask where a pixel lies.
    raster = seen[0]._replace(pixels=np.concatenate([r.pixels for r in seen], axis=2))
    defects = Defects(*(np.concatenate(masks, axis=1) for masks in zip(*found, strict=True)))
    if scene.sensor == SENTINEL1:
        physical, cloud, offset = to_backscatter(raster, scene), None, None
        missing, scale, names = SAR.nodata, SAR.scale, SAR.names
    else:
        physical = to_reflectance(raster, scene)
        missing, scale, names = OPTICAL.nodata, OPTICAL.scale, OPTICAL.names
        valid = optical_valid(physical)
        known = screen(raster, scene, valid, _CLOUDY).cloud
        screened = valid & (known <= 100)
        ground = known < _CLOUDY if screened.any() else None
        cloud = None if ground is None else float(1 - ground[screened].mean())
        offset = find_offset(raster, scene, None if ground is None else ground[valid].mean())
    values = {}
    for name, plane in zip(names, physical, strict=True):
        if (data := plane[plane != missing]).size:
            low, middle, high = (percentiles(data, (1, 50, 99)) * scale).round(4).tolist()
            values[name] = low, middle, high
    shares = {name: round(defects.share(name), 5) for name in ("zeros", "stripes", "noise")}
    reasons = []
    if not values:
        reasons.append("no data in any window")
    if offset and offset.verdict == CONTRADICTION:
        reasons.append(
            f"its metadata says {offset.declared!r} of the +1000 offset, its pixels say "
            f"{offset.state!r}: {offset.reason}"
        )
    if (bad := shares["zeros"] + shares["stripes"]) > MAX_DEFECTS:
        reasons.append(f"{bad:.1%} of its data are zeros or stripes of DN 1")
    reasons += _implausible(scene, values)
    return Findings(
        scene=scene.id,
        verdict="quarantine" if reasons else "ok",
        reasons=tuple(reasons),
        pixels=defects.valid.size,
        nodata=round(float((physical == missing).all(axis=0).mean()), 4),
        cloud=None if cloud is None else round(cloud, 4),
        offset=offset and offset._asdict(),
        defects=shares,
        values=values,
    )


def scene_bands(scene: Scene) -> tuple[str, ...]:
    """All bands of a scene that are looked at, those that screen its clouds among them."""
    bands = tuple(b for b in (*OPTICAL.names, "B10", *SAR.names) if b in scene.bands)
    return bands + tuple(b for b in screening_bands(scene) if b not in bands)


def _implausible(scene: Scene, values: dict[str, tuple[float, float, float]]) -> list[str]:
    if scene.sensor == SENTINEL1:
        low, high = BACKSCATTER
        middle = values["VV"][1] if "VV" in values else low
        if low <= middle <= high:
            return []
        return [f"the median of VV is {middle:.1f} dB, expected {low:g} to {high:g}: a wrong unit"]
    high = max((v[2] for v in values.values()), default=0.0)
    if high <= MAX_REFLECTANCE:
        return []
    return [f"reflectance reaches {high:.2f}, expected {MAX_REFLECTANCE:g} at most: a wrong scale"]


def inspect_pair(optical: Scene, sar: Scene, read: Read, box: GeoBox | None = None) -> Shift:
    """The shift of a SAR scene against an optical one.

    Args:
      optical: the optical scene.
      sar: the SAR scene.
      read: gives their pixels.
      box: where to look; a window in the middle of what both cover by default.

    Raises:
      ValueError: the scenes do not overlap.
    """
    box = _common_box(optical, sar) if box is None else box
    bands = tuple(b for b in OPTICAL.names if b in optical.bands)
    bands += tuple(b for b in screening_bands(optical) if b not in bands)
    seen = read(optical, box, bands)
    pixels = to_reflectance(seen, optical)
    cloud = screen(seen, optical, optical_valid(pixels), _CLOUDY).cloud
    echo = read(sar, box, tuple(b for b in SAR.names if b in sar.bands))
    # Unscreened (255) counts as clear: the estimate's own error tells if it is not.
    clear = (cloud < _CLOUDY) | (cloud > 100)
    return estimate_shift(pixels, mask_border_noise(to_backscatter(echo, sar)), clear)


def windows_of(bounds: Bounds, size: int = WINDOW, per_side: int = WINDOWS) -> list[GeoBox]:
    """Windows of 10 m over a footprint: all of it if small, else spread over it.

    Args:
      bounds: (west, south, east, north), degrees.
      size: side of a window, px.
      per_side: windows per side.
    """
    whole = _box_around(bounds)

    def starts(length: int) -> list[int]:
        if length <= size * per_side:
            return [0]
        return [i * (length - size) // (per_side - 1) for i in range(per_side)]

    rows, cols = starts(whole.height), starts(whole.width)
    height = whole.height if len(rows) == 1 else size
    width = whole.width if len(cols) == 1 else size
    step = whole.resolution
    return [
        whole._replace(
            x0=whole.x0 + col * step, y0=whole.y0 - row * step, width=width, height=height
        )
        for row in rows
        for col in cols
    ]


def _box_around(bounds: Bounds) -> GeoBox:
    west, south, east, north = bounds
    east += 360 if east < west else 0
    number = min(int(((west + east) / 2 + 180) % 360 // 6) + 1, 60)
    epsg = zone_epsg(number if south + north >= 0 else -number)
    to_utm = Transformer.from_crs(4326, epsg, always_xy=True)
    left, bottom, right, top = to_utm.transform_bounds(west, south, east, north, densify_pts=21)
    left, bottom, right, top = (
        floor(left / 10),
        floor(bottom / 10),
        ceil(right / 10),
        ceil(top / 10),
    )
    return GeoBox(epsg, 10.0 * left, 10.0 * top, 10.0, max(right - left, 1), max(top - bottom, 1))


def _common_box(optical: Scene, sar: Scene) -> GeoBox:
    if not overlap(optical.footprint, sar.footprint):
        raise ValueError(f"scenes {optical.id} and {sar.id} do not overlap: no shift to measure")
    pairs = list(zip(optical.footprint, sar.footprint, strict=True))
    whole = _box_around((max(pairs[0]), max(pairs[1]), min(pairs[2]), min(pairs[3])))
    side = 2 * WINDOW
    top, left = max(whole.height - side, 0) // 2, max(whole.width - side, 0) // 2
    return whole._replace(
        x0=whole.x0 + left * whole.resolution,
        y0=whole.y0 - top * whole.resolution,
        width=min(whole.width, side),
        height=min(whole.height, side),
    )


def inspect_items(paths: list[str]) -> tuple[str, int]:
    """Findings of STAC items; where they hold both sensors, also the shift of each pair.

    Args:
      paths: item files, folders of them or catalogues, as `FilesSource` takes them.

    Returns:
      the findings as text, and how many scenes belong in quarantine.

    Raises:
      ValueError: an item or file is unusable; the message names it.
      SourceUnavailable: a file could not be read.
    """
    from transforms.sources.files import scenes_of  # rasterio behind it is slow to import
    from transforms.sources.windows import read_scene

    scenes = [scene for path in paths for scene, _ in scenes_of(path)]
    found = [inspect_scene(scene, read_scene) for scene in scenes]
    lines = [findings_text(findings) for findings in found]
    for optical in (s for s in scenes if s.sensor == SENTINEL2):
        near = [
            s for s in scenes if s.sensor == SENTINEL1 and overlap(s.footprint, optical.footprint)
        ]
        near.sort(key=lambda s: (abs((s.start - optical.start).total_seconds()), s.id))
        for sar in near[:1]:
            lines.append(shift_text(optical, sar, inspect_pair(optical, sar, read_scene)))
    return "\n".join(lines), sum(bool(f.reasons) for f in found)


def findings_text(findings: Findings) -> str:
    """Findings of one scene for people."""
    f = findings
    cloud = "unknown" if f.cloud is None else f"{f.cloud:.0%}"
    lines = [f"{f.scene}: {f.verdict}", *(f"  quarantined: {reason}" for reason in f.reasons)]
    lines.append(f"  {f.pixels} pixels, nodata {f.nodata:.1%}, cloud {cloud}")
    if f.offset:
        lines.append(
            f"  offset: {f.offset['verdict']}; metadata: {f.offset['declared']}, pixels: "
            f"{f.offset['state']} ({f.offset['reason']})"
        )
    found = ", ".join(f"{name} {share:.2%}" for name, share in f.defects.items())
    lines.append(f"  defects: {found}")
    lines += [f"  {b}: {low:g} / {mid:g} / {high:g}" for b, (low, mid, high) in f.values.items()]
    return "\n".join(lines)


def shift_text(optical: Scene, sar: Scene, shift: Shift) -> str:
    """The shift of one pair for people."""
    names = f"{sar.id} against {optical.id}"
    if shift.windows == 0 or not np.isfinite(shift.error):
        return f"{names}: shift not measured, {shift.windows} clear windows"
    kind = "applied" if shift.applies else "confident, too short to apply"
    return (
        f"{names}: shift ({shift.dy:+.2f}, {shift.dx:+.2f}) px down, right, error "
        f"{shift.error:.2f} px, {kind if shift.confident else 'not confident'}"
    )
