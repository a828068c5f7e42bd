"""Cloud and shadow by a deep model: ukis-csmask, whose package brings its weights.

A U-Net for Sentinel-2 and Landsat in reflectance, at about 30 m (Wieland, Li and Martinis 2019,
Remote Sensing of Environment 230; weights of 2025; DLR, Apache-2.0). The package is large (145 MB)
and an extra of this one: `pip install "cloudlulc[clouds]"`.
"""

from __future__ import annotations

import warnings

import numpy as np

AUTO, UKIS_CSMASK = "auto", "ukis-csmask"
CLOUD_MASKS = (AUTO, UKIS_CSMASK)
"""What screens for clouds: the best that came with the scene or knows its level; or this model."""

BANDS = ("B02", "B03", "B04", "B08", "B11", "B12")
_ORDER = ("blue", "green", "red", "nir", "swir16", "swir22")
_FACTOR = 3  # the model knows 30 m, chips have 10
_CLOUD, _SHADOW = 1, 2  # its classes


def check_cloud_mask(name: str) -> None:
    """Raise ValueError where a cloud mask needs a package that is not installed."""
    if name == UKIS_CSMASK:
        _model()


def _model() -> type:
    try:
        from ukis_csmask.mask import CSmask  # 145 MB and onnxruntime: an extra
    except ImportError as error:
        raise ValueError(
            f"cloud-mask {UKIS_CSMASK}: its package is not installed here ({error.name}); install "
            'the extra, pip install "cloudlulc[clouds]", also on workers, or leave the option out'
        ) from error
    return CSmask


def cloud_and_shadow(reflectance: np.ndarray, level: str) -> tuple[np.ndarray, np.ndarray]:
    """Cloud and shadow of a scene.

    Pixels without data are left out of the means that bring the scene to 30 m. The outer 120 m
    depend on where the window ends; a halo holds them.

    Args:
      reflectance: (band, y, x) uint16, reflectance x 1e4, 0 nodata; the bands are `BANDS`. Where
        B11 or B12 has no data at all, the model of four bands is used.
      level: "L1C", or anything else for surface reflectance.

    Returns:
      cloud, shadow: (y, x) bool.

    Raises:
      ValueError: the package is not installed, or one of the four 10 m bands has no data.
    """
    model = _model()
    empty = [band for band, plane in zip(BANDS, reflectance, strict=True) if not plane.any()]
    if lacking := sorted({*empty} & {*BANDS[:4]}):
        raise ValueError(
            f"cloud-mask {UKIS_CSMASK}: no data in {', '.join(lacking)}, which it needs; leave the "
            "option out for scenes without these bands"
        )
    count = 4 if empty else len(BANDS)
    height, width = reflectance.shape[1:]
    with warnings.catch_warnings():
        # A window of less than 2.5 km is smaller than its tiles; it is padded.
        warnings.filterwarnings("ignore", message="Your input image is smaller")
        found = model(
            np.moveaxis(_coarse(reflectance[:count]), 0, -1),
            band_order=list(_ORDER[:count]),
            product_level="l1c" if level == "L1C" else "l2a",
            # One thread: a worker prepares several blocks at once.
            intra_op_num_threads=1,
            inter_op_num_threads=1,
            providers=["CPUExecutionProvider"],
        ).csm[..., 0]
    fine = found.repeat(_FACTOR, axis=0).repeat(_FACTOR, axis=1)[:height, :width]
    return fine == _CLOUD, fine == _SHADOW


def _coarse(reflectance: np.ndarray) -> np.ndarray:
    """Means of the data in cells of 3 x 3 px, (band, y, x) float32, 0-1; 0 where there are none."""
    bands, height, width = reflectance.shape
    pad = (0, 0), (0, -height % _FACTOR), (0, -width % _FACTOR)
    cells = np.pad(reflectance, pad).astype(np.float32)
    cells = cells.reshape(bands, -(-height // _FACTOR), _FACTOR, -(-width // _FACTOR), _FACTOR)
    known = (cells > 0).sum(axis=(2, 4), dtype=np.float32)
    return cells.sum(axis=(2, 4)) / np.maximum(known, 1) * np.float32(1e-4)
