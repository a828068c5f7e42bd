"""Cloud, shadow and snow per pixel: from what came with the scene, s2cloudless or a deep model."""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np

from transforms.pixels import cloudmask
from transforms.pixels.chip import CLOUD_UNKNOWN, Quality, set_flag
from transforms.pixels.sentinel2 import to_reflectance
from transforms.scene import Raster, Scene

S2CLOUDLESS_BANDS = ("B01", "B02", "B04", "B05", "B08", "B8A", "B09", "B10", "B11", "B12")

# Classes of the scene classification, Sentinel-2 L2A Algorithm Theoretical Basis Document. Class 1
# (saturated or defective) is neither masked nor flagged: its other bands are still evidence.
SCL_NODATA, SCL_SHADOW, SCL_SNOW = 0, 3, 11
SCL_CLOUD = (8, 9, 10)  # medium probability, high probability, thin cirrus

_BATCH = 65536  # pixels that s2cloudless sees at once: bounds its memory


class Screening(NamedTuple):
    """What is known of clouds in one scene."""

    cloud: np.ndarray  # (y, x) uint8, cloud probability 0-100, 255 unknown
    flags: np.ndarray  # (y, x) uint8, `Quality` bits CLOUD, SHADOW, SNOW, UNSCREENED


def screening_bands(scene: Scene) -> tuple[str, ...]:
    """Bands that `screen` needs of a scene, beyond or among the optical ones."""
    has = set(scene.bands)
    if given := tuple(b for b in ("SCL", "CLOUD_PROBABILITY") if b in has):
        return given
    return S2CLOUDLESS_BANDS if scene.level == "L1C" and has.issuperset(S2CLOUDLESS_BANDS) else ()


def screen(
    raster: Raster,
    scene: Scene,
    valid: np.ndarray,
    threshold: int,
    mask: str = cloudmask.AUTO,
) -> Screening:
    """Cloud probability and flags of one scene, from the best evidence that it has.

    1. `CLOUD_PROBABILITY`, 0-100: the probability as it is; CLOUD from `threshold` on.
    2. `SCL`: sets SHADOW, SNOW, and CLOUD for its classes 8, 9, 10. Where it is alone, the
       probability is 100 in these classes and 0 elsewhere: a mask, not a probability.
    3. L1C with the ten bands of s2cloudless: see `s2cloudless`.
    4. Otherwise the probability is unknown and UNSCREENED is set.

    With mask `cloudmask.UKIS_CSMASK` that model sets CLOUD and SHADOW whatever came with the scene,
    and the probability is 100 or 0; SNOW stays that of `SCL`.

    Args:
      raster: pixels (band, y, x), with at least `screening_bands(scene)`.
      scene: the scene they are from.
      valid: (y, x) bool, where the scene has optical data; elsewhere nothing is said.
      threshold: cloud probability from which a pixel counts as cloud, percent.
      mask: one of `cloudmask.CLOUD_MASKS`.

    Raises:
      ValueError: a cloud probability is above 100 and not nodata; or see
        `cloudmask.cloud_and_shadow`.
    """
    bands = screening_bands(scene)
    cloud = np.full(valid.shape, CLOUD_UNKNOWN, np.uint8)
    flags = np.zeros(valid.shape, np.uint8)
    deep = mask == cloudmask.UKIS_CSMASK
    if bands == S2CLOUDLESS_BANDS and not deep:
        reflectance = to_reflectance(raster, scene, S2CLOUDLESS_BANDS)
        cloud, mask = s2cloudless(reflectance, threshold)
        set_flag(flags, Quality.CLOUD, mask)
    if "SCL" in bands:
        scl = raster.pixels[raster.bands.index("SCL")]
        cloudy = np.isin(scl, SCL_CLOUD)
        cloud[scl != SCL_NODATA] = 0
        cloud[cloudy] = 100
        set_flag(flags, Quality.CLOUD, cloudy)
        set_flag(flags, Quality.SHADOW, scl == SCL_SHADOW)
        set_flag(flags, Quality.SNOW, scl == SCL_SNOW)
    if deep and valid.any():
        cloudy, shadow = cloudmask.cloud_and_shadow(
            to_reflectance(raster, scene, cloudmask.BANDS), scene.level
        )
        cloud = np.where(cloudy, 100, 0).astype(np.uint8)
        flags &= np.uint8(Quality.SNOW)
        set_flag(flags, Quality.CLOUD, cloudy)
        set_flag(flags, Quality.SHADOW, shadow)
    elif "CLOUD_PROBABILITY" in bands:
        stored = _stored_probability(raster, scene, valid)
        known = stored != CLOUD_UNKNOWN
        cloud = np.where(known, stored, cloud)
        set_flag(flags, Quality.CLOUD, known & (stored >= threshold))
    set_flag(flags, Quality.UNSCREENED, cloud == CLOUD_UNKNOWN)
    cloud[~valid] = CLOUD_UNKNOWN
    flags[~valid] = 0
    return Screening(cloud, flags)


def _stored_probability(raster: Raster, scene: Scene, valid: np.ndarray) -> np.ndarray:
    stored = raster.pixels[raster.bands.index("CLOUD_PROBABILITY")]
    asset = scene.asset("CLOUD_PROBABILITY")
    # Not raster.nodata: it fills what lies outside of the scene, and its 0 is "clear" inside.
    known = valid & (stored != CLOUD_UNKNOWN) & np.isfinite(stored)
    if asset.nodata is not None:
        known &= stored != asset.nodata
    percent = np.where(known, stored, 0) * asset.scale + asset.offset
    if ((percent < 0) | (percent > 100))[known].any():
        raise ValueError(
            f"scene {scene.id}, band CLOUD_PROBABILITY: values {percent[known].min():g} to "
            f"{percent[known].max():g}, expected 0 to 100; correct its scale in the item"
        )
    return np.where(known, np.rint(percent), CLOUD_UNKNOWN).astype(np.uint8)


def s2cloudless(reflectance: np.ndarray, threshold: int) -> tuple[np.ndarray, np.ndarray]:
    """Cloud probability and mask of an L1C scene by s2cloudless 1.7 (Sentinel Hub, CC BY-SA 4.0).

    The probability is per pixel at 10 m, as in Earth Engine's COPERNICUS/S2_CLOUD_PROBABILITY. The
    mask averages it over a disk of 4 px, thresholds it and dilates it by 2 px, the package's usual
    setting. So the mask (never the probability) of the outer 6 px depends on where the window
    ends; a halo of 6 px or more, which is cropped from every result, holds them.

    Args:
      reflectance: (band, y, x) uint16, top-of-atmosphere reflectance x 1e4, 0 nodata; the bands
        are `S2CLOUDLESS_BANDS`.
      threshold: averaged probability above which a pixel is cloud, percent.

    Returns:
      cloud: (y, x) uint8, probability 0-100, 255 where any of the ten bands is nodata.
      mask: (y, x) bool.
    """
    detector = _detector()
    known = (reflectance != 0).all(axis=0)
    spectra = reflectance[:, known].T
    found = np.empty(len(spectra), np.float32)
    for start in range(0, len(spectra), _BATCH):
        batch = spectra[start : start + _BATCH] / np.float32(1e4)
        # One thread: a worker prepares several blocks at once.
        maps = detector.get_cloud_probability_maps(batch[None, None], num_threads=1)
        found[start : start + _BATCH] = maps[0, 0]
    probability = np.zeros(known.shape, np.float32)
    probability[known] = found
    mask = detector.get_mask_from_prob(probability[None], threshold / 100)[0].astype(bool)
    cloud = np.where(known, np.rint(100 * probability), CLOUD_UNKNOWN).astype(np.uint8)
    return cloud, mask & known


@cache
def _detector():
    from s2cloudless import S2PixelCloudDetector  # heavy, and needed by L1C scenes only

    return S2PixelCloudDetector(average_over=4, dilation_size=2, all_bands=False)
