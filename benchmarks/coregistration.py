"""Known shifts on real Sentinel-1 and -2 pairs: how well they are found again, and by whom.

    python -m benchmarks.coregistration DATA [--quick] > results.jsonl

DATA holds the folder `pairs/`. Sub-pixel shifts of 0 to 3 px in steps of 0.25 are put on the SAR by
the Fourier shift theorem (on dB, mirrored at the border; 4 px along the border become nodata).
The pairs have an unknown shift of their own, so an error is measured against the estimate on the
same clear pair at zero shift: it holds the noise of both, not their common bias. Under cloud
(`model.clouds`, half of the scene, its mask given) the clear estimate stays the reference.

A pair is textured where NIR, band-passed to 2-8 px, varies by 5 % of its mean and VV by 1 dB (twice
the speckle that the filter leaves), fixed before any result was seen; and where 1 km2 of it is
clear, as the estimator asks. Parameters were chosen on the pairs marked "chosen on". S1 of
ssl4eo is taken by pixel index: its georeference is wrong (see docs/inputs.md); as georeferenced it
is reported apart. Where scikit-image can be imported, its phase_cross_correlation runs on the same
gradients: without mask (sub-pixel), and masked (whole pixels).
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from time import perf_counter
from typing import NamedTuple

import numpy as np
import rasterio
from scipy import fft, ndimage

from benchmarks.real_scenes import decibel, scenes
from model.clouds import simulate_clouds
from model.inputs import INPUTS
from transforms.pixels.coregister import APPLY_FROM, Shift, estimate_shift

STEPS = np.arange(0, 3.01, 0.25)
DIRECTIONS = ((1, 0), (0, 1), (1, -1), (-1, 0.5))
SEEDS = (0, 1, 2)
MIN_CLEAR_KM2 = 1.0
CHOSEN_ON = ("1970_fall_139_p839", "ssl4eo s2c", "sen1floods11", "36_85", "69_24", "57_38")


class Case(NamedTuple):
    name: str
    optical: np.ndarray  # (12, y, x) uint16, reflectance x 1e4
    sar: np.ndarray  # (2, y, x) int16, dB x 100
    half: str  # "chosen on" or "held out"


class Result(NamedTuple):
    error: float  # px, length
    shift: Shift
    textured: bool
    large: bool  # MIN_CLEAR_KM2 is clear


def cases(data: Path) -> Iterator[Case]:
    for scene in scenes(data):
        clear = scene.clear or scene.name == "ROIs2017_winter_112_p797 cloudy"  # 0 % by s2cloudless
        if not clear or (scene.sar == INPUTS.sar.nodata).all() or "slovenia" in scene.name:
            continue
        half = "chosen on" if any(c in scene.name for c in CHOSEN_ON) else "held out"
        if scene.name.startswith("ssl4eo"):
            yield Case(f"{scene.name} as georeferenced", scene.optical, scene.sar, "apart")
            (folder,) = (data / "pairs/ssl4eo/s1").glob("*_20200607T*")
            planes = [rasterio.open(folder / f"{p}.tif").read(1) for p in ("VV", "VH")]
            scene = scene._replace(sar=decibel(np.stack(planes)))
        yield Case(scene.name, scene.optical, scene.sar, half)


def moved(sar: np.ndarray, dy: float, dx: float, margin: int = 4) -> np.ndarray:
    """SAR whose pixel (y + dy, x + dx) shows what was at (y, x)."""
    padded = np.pad(sar.astype(float), [(0, 0), (16, 16), (16, 16)], mode="symmetric")
    ky, kx = (fft.fftfreq(n) for n in padded.shape[1:])
    phase = np.exp(-2j * np.pi * (ky[:, None] * dy + kx * dx))
    shifted = fft.ifft2(fft.fft2(padded) * phase).real[:, 16:-16, 16:-16]
    out = np.full_like(sar, INPUTS.sar.nodata)
    inner = np.s_[:, margin:-margin, margin:-margin]
    out[inner] = np.rint(shifted[inner]).clip(-32767, 32767)
    return out


def textured(case: Case) -> bool:
    def variation(plane: np.ndarray) -> float:
        plane = plane.astype(np.float32)
        smooth = [ndimage.gaussian_filter(plane, s) for s in (2, 8)]
        return float((smooth[0] - smooth[1]).std())

    nir = case.optical[INPUTS.optical.names.index("B08")]
    return variation(nir) >= 0.05 * nir.mean() and variation(case.sar[0] / 100) >= 1.0


def views(case: Case, quick: bool) -> Iterator[tuple[str, np.ndarray, np.ndarray, list]]:
    """(condition, optical, clear, shifts) of a case."""
    every = [(float(s * a), float(s * b)) for s in STEPS for a, b in DIRECTIONS if s or b == 0]
    yield "clear", case.optical, np.ones(case.sar.shape[1:], bool), every[:: 9 if quick else 1]
    for seed in SEEDS[: 1 if quick else None]:
        cloudy = simulate_clouds(case.optical, np.random.default_rng(seed), 0.5, "thick")
        turn = [
            (float(s * a), float(s * b)) for s, (a, b) in zip(STEPS, DIRECTIONS * 4, strict=False)
        ]
        yield "half cloudy", cloudy.optical, ~cloudy.mask(), turn[:: 4 if quick else 1]


def summary(results: list[Result]) -> dict:
    sure = [r for r in results if r.shift.confident]
    errors = np.array([r.error for r in sure])
    return {
        "estimates": len(results),
        "confident": round(len(sure) / max(len(results), 1), 3),
        "rmse where confident": round(float(np.sqrt((errors**2).mean())), 3) if sure else None,
        "largest": round(float(errors.max()), 2) if sure else None,
    }


def compare(case: Case, shifts: list, optical: np.ndarray, clear: np.ndarray) -> dict:
    """RMSE of scikit-image on gradient magnitudes, against its own estimate at zero shift."""
    from skimage.registration import phase_cross_correlation

    def edges(plane: np.ndarray) -> np.ndarray:
        return ndimage.gaussian_gradient_magnitude(plane.astype(float), 1.5)

    inner = np.s_[8:-8, 8:-8]
    red = np.log(np.maximum(optical[3], 30))
    ours = edges(red)[inner]
    mask = ndimage.binary_erosion(clear, iterations=4, border_value=1)[inner]

    def found(dy: float, dx: float, whole: bool) -> np.ndarray:
        theirs = edges(moved(case.sar, dy, dx, margin=1)[0])[inner]
        if whole:
            full = np.ones_like(mask)
            return -phase_cross_correlation(ours, theirs, reference_mask=mask, moving_mask=full)[0]
        return -phase_cross_correlation(ours, theirs, upsample_factor=20)[0]

    line = {}
    for name, whole in (("skimage", False), ("skimage masked", True)):
        own = found(0, 0, whole)
        errors = [np.hypot(*(found(*s, whole) - own - s)) for s in shifts]
        line[name] = round(float(np.sqrt(np.mean(np.square(errors)))), 2)
    return line


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--quick", action="store_true", help="a tenth of the shifts")
    args = parser.parse_args()
    try:
        import skimage
    except ImportError:
        skimage = None
    gathered: dict[tuple[str, str], list[Result]] = {}
    worse, unrelated, everyone = [], [], list(cases(args.data))
    for case in everyone:
        full = np.ones(case.sar.shape[1:], bool)
        start = perf_counter()
        own = estimate_shift(case.optical, moved(case.sar, 0, 0), full)
        line = {"pair": case.name, "half": case.half, "own shift": [own.dy, own.dx]}
        line |= {"error": round(own.error, 2), "quality": round(own.quality, 1)}
        line |= {"seconds": round(perf_counter() - start, 2), "textured": textured(case)}
        per: dict[str, list[Result]] = {}
        for condition, optical, clear, shifts in views(case, args.quick):
            large = clear.sum() * 1e-4 >= MIN_CLEAR_KM2
            for dy, dx in shifts:
                got = estimate_shift(optical, moved(case.sar, dy, dx), clear)
                error = float(np.hypot(got.dy - own.dy - dy, got.dx - own.dx - dx))
                per.setdefault(condition, []).append(Result(error, got, line["textured"], large))
            aligned = estimate_shift(optical, moved(case.sar, -own.dy, -own.dx), clear)
            if own.confident and case.half != "apart":
                worse.append(aligned.length if aligned.applies else 0.0)
        line |= {condition: summary(results) for condition, results in per.items()}
        if skimage:
            shifts = [(1.25, 0.75), (2.0, -2.5), (-1.75, 1.5), (0.25, -0.25)]
            line |= compare(case, shifts, case.optical, full)
        print(json.dumps(line), flush=True)
        for condition, results in per.items():
            gathered.setdefault((case.half, condition), []).extend(results)
    for one in everyone:
        for other in everyone:
            if one.name.split()[0] != other.name.split()[0] and "apart" not in (
                one.half,
                other.half,
            ):
                side = min(*one.sar.shape[1:], *other.sar.shape[1:])
                got = estimate_shift(
                    one.optical[:, :side, :side],
                    np.ascontiguousarray(np.rot90(other.sar[:, :side, :side], axes=(1, 2))),
                    np.ones((side, side), bool),
                )
                unrelated.append(got.confident)
    for (half, condition), results in gathered.items():
        rich = [r for r in results if r.textured]
        print(
            json.dumps(
                {
                    "half": half,
                    "condition": condition,
                    "textured": summary(rich),
                    "textured, 1 km2 clear": summary([r for r in rich if r.large]),
                }
            )
        )
    print(
        json.dumps(
            {
                "aligned pairs": len(worse),
                "made worse by more than 0.25 px": sum(w > 0.25 for w in worse),
                "applied from, px": APPLY_FROM,
                "unrelated pairs": len(unrelated),
                "of them confident": sum(unrelated),
            }
        )
    )


if __name__ == "__main__":
    main()
