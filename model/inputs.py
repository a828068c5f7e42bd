"""What a chip holds: ordered bands, units, scale and nodata of the network's input."""

from __future__ import annotations

from typing import NamedTuple


class Band(NamedTuple):
    name: str  # as in the Sentinel product: "B02", "VV"
    common_name: str  # STAC eo:common_name, "" where there is none
    resolution: int  # native pixel size, m
    wavelength: float  # centre, micrometre; 0 for SAR


class BandSet(NamedTuple):
    """Ordered bands of one sensor and how their stored integers become physical values."""

    name: str
    bands: tuple[Band, ...]
    dtype: str  # numpy dtype at rest
    unit: str
    scale: float  # physical value = stored integer * scale
    nodata: int  # stored integer of a missing pixel

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(b.name for b in self.bands)


SENTINEL2_L2A = BandSet(
    "sentinel-2-l2a",
    (
        Band("B01", "coastal", 60, 0.443),
        Band("B02", "blue", 10, 0.490),
        Band("B03", "green", 10, 0.560),
        Band("B04", "red", 10, 0.665),
        Band("B05", "rededge071", 20, 0.704),
        Band("B06", "rededge075", 20, 0.740),
        Band("B07", "rededge078", 20, 0.783),
        Band("B08", "nir", 10, 0.842),
        Band("B8A", "nir08", 20, 0.865),
        Band("B09", "nir09", 60, 0.945),
        Band("B11", "swir16", 20, 1.610),
        Band("B12", "swir22", 20, 2.190),
    ),
    dtype="uint16",
    unit="reflectance",
    scale=1e-4,
    nodata=0,
)

SENTINEL1_GRD = BandSet(
    "sentinel-1-grd",
    (Band("VV", "", 10, 0.0), Band("VH", "", 10, 0.0)),
    dtype="int16",
    unit="dB",
    scale=1e-2,
    nodata=-32768,
)


class InputSpec(NamedTuple):
    """The two band sets of a chip, in channel order."""

    optical: BandSet = SENTINEL2_L2A
    sar: BandSet = SENTINEL1_GRD

    def to_dict(self) -> dict:
        def plain(s: BandSet) -> dict:
            return s._asdict() | {"bands": [b._asdict() for b in s.bands]}

        return {"optical": plain(self.optical), "sar": plain(self.sar)}

    @classmethod
    def from_dict(cls, d: dict) -> InputSpec:
        def load(s: dict) -> BandSet:
            return BandSet(**{**s, "bands": tuple(Band(**b) for b in s["bands"])})

        return cls(load(d["optical"]), load(d["sar"]))


INPUTS = InputSpec()
"""What CloudLULC-Net takes: 12 Sentinel-2 L2A bands and Sentinel-1 VV, VH."""
