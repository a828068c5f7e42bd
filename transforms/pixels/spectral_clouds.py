"""Cloud and shadow by spectrum alone, for images that nothing else says it of.

Without the cirrus band, which L2A lacks, s2cloudless cannot be asked. The brightness tests are
those of Earth Engine's Sentinel-2 cloud score without cirrus (Schmitt et al. 2019, doi
10.5194/isprs-annals-IV-2-W7-145-2019), which SEN12MS-CR's masks were made by, too. On ukis-csmask's
reference scene the cloud has an IoU of 0.74, cloud and shadow together 0.74. Thin haze is missed;
bright roofs and bright sand may be taken for cloud.
"""

from __future__ import annotations

import numpy as np
from scipy.ndimage import uniform_filter

from model.inputs import INPUTS

THRESHOLD = 0.2  # of the score, as in SEN12MS-CR
_SMOOTH = 5  # px: a single bright pixel is no cloud
_REACH = 48  # px from a cloud to its shadow: 480 m of shift
_DARK_NIR, _DARK_SWIR = 0.18, 0.15


def spectral_mask(reflectance: np.ndarray) -> np.ndarray:
    """Pixels under cloud or in its shadow.

    Args:
      reflectance: (12, y, x) uint16, surface reflectance x 1e4 of `INPUTS.optical`, 0 nodata.

    Returns:
      (y, x) bool; False where there is no data.
    """
    band = dict(zip(INPUTS.optical.names, reflectance.astype(np.float32) / 1e4, strict=True))
    known = (reflectance != INPUTS.optical.nodata).all(axis=0)
    green, swir, nir = band["B03"], band["B11"], band["B08"]
    snow = (green - swir) / np.maximum(green + swir, 1e-4)
    score = np.minimum.reduce(
        [
            _rise(band["B02"], 0.1, 0.5),
            _rise(band["B01"], 0.1, 0.3),
            _rise(band["B02"] + green + band["B04"], 0.2, 0.8),
            _rise(-snow, -0.8, -0.6),
        ]
    )
    cloud = known & (uniform_filter(score * known, _SMOOTH) > THRESHOLD)
    near = (
        uniform_filter(cloud.astype(np.float32), 2 * _REACH + 1, mode="constant")
        > 0.5 / (2 * _REACH + 1) ** 2
    )
    # Darker than green in the near infrared is water, in the shade or not.
    shadow = near & (nir < _DARK_NIR) & (swir < _DARK_SWIR) & (nir > green)
    return known & (cloud | shadow)


def _rise(x: np.ndarray, low: float, high: float) -> np.ndarray:
    """0 below `low` to 1 above `high`."""
    return np.clip((x - low) / (high - low), 0, 1)
