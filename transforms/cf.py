"""Georeferencing of Zarr groups, so that xarray, rioxarray and GDAL find the CRS.

CF conventions 1.11 (coordinates, grid mapping, flags), and GeoZarr's `proj` and `spatial`
conventions in the group's attributes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from model.legend import NODATA_CODE, Legend
from transforms.cubes import ArraySpec
from transforms.grid import GeoBox
from transforms.layers import Layer

if TYPE_CHECKING:
    import zarr

_CONVENTIONS = [
    {
        "name": "proj",
        "uuid": "f17cb550-5864-4468-aeb7-f3180cfb622f",
        "schema_url": "https://raw.githubusercontent.com/zarr-conventions/geo-proj/refs/tags/v1/"
        "schema.json",
        "spec_url": "https://github.com/zarr-conventions/geo-proj/blob/v1/README.md",
        "description": "Coordinate reference system information for geospatial data",
    },
    {
        "name": "spatial",
        "uuid": "689b58e2-cf7b-45e0-9fff-9cfc0883d6b4",
        "schema_url": "https://raw.githubusercontent.com/zarr-conventions/spatial/refs/tags/v1/"
        "schema.json",
        "spec_url": "https://github.com/zarr-conventions/spatial/blob/v1/README.md",
        "description": "Spatial coordinate information",
    },
]


def group_attributes(geobox: GeoBox) -> dict[str, Any]:
    """Attributes of a group whose (y, x) arrays lie on `geobox`."""
    x0, dx, _, y0, _, dy = geobox.gdal_transform
    return {
        "Conventions": "CF-1.11",
        "zarr_conventions": _CONVENTIONS,
        "proj:code": f"EPSG:{geobox.epsg}",
        "spatial:dimensions": ["y", "x"],
        "spatial:shape": list(geobox.shape),
        "spatial:transform": [dx, 0.0, x0, 0.0, dy, y0],
        "spatial:bbox": list(geobox.bounds),
    }


def layer_attributes(layer: Layer, legend: Legend) -> dict[str, Any]:
    """Attributes of a layer's array.

    The nodata value is not called `_FillValue`: xarray would turn integers into floats.
    """
    attributes = {
        "long_name": layer.description,
        "grid_mapping": "spatial_ref",
        # Not a coordinate by CF, but so named xarray makes it one, and rioxarray finds the CRS.
        "coordinates": "spatial_ref",
        "nodata": layer.nodata,
    }
    if layer.unit:
        attributes["units"] = layer.unit
    if layer.classes:
        classes = sorted(legend.classes, key=lambda c: c.code)
        attributes |= {
            "flag_values": [NODATA_CODE, *(c.code for c in classes)],
            "flag_meanings": " ".join(["nodata", *(c.name.replace(" ", "_") for c in classes)]),
            "flag_colors": " ".join(["#000000", *(f"#{bytes(c.color).hex()}" for c in classes)]),
        }
    return attributes


def coordinate_arrays(geobox: GeoBox) -> dict[str, ArraySpec]:
    """Metadata of the arrays `spatial_ref`, `y` and `x` of a group."""
    from pyproj import CRS

    crs = CRS.from_epsg(geobox.epsg)
    transform = " ".join(repr(float(number)) for number in geobox.gdal_transform)
    reference = crs.to_cf() | {"spatial_ref": crs.to_wkt(), "GeoTransform": transform}
    axes = {attributes["axis"].lower(): attributes for attributes in crs.cs_to_cf()}
    return {
        "spatial_ref": ArraySpec((), (), None, "int64", 0, (), reference),
        **{
            name: ArraySpec((size,), (size,), None, "float64", 0.0, (name,), axes[name])
            for name, size in (("y", geobox.height), ("x", geobox.width))
        },
    }


def write_coordinates(group: zarr.Group, geobox: GeoBox) -> None:
    """Fill `y` and `x` with pixel centres, CRS units."""
    group["y"][:] = geobox.y0 - (np.arange(geobox.height) + 0.5) * geobox.resolution
    group["x"][:] = geobox.x0 + (np.arange(geobox.width) + 0.5) * geobox.resolution
