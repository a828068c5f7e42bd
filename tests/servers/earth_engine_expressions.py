"""The part of Earth Engine's language that the source speaks, computed on an archive.

Expressions arrive as the client library serializes them: a graph of function invocations. A
function that is not here is refused by name, as the service refuses an unknown one.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from typing import Any, NamedTuple

import numpy as np

from tests.servers.earth_engine_archive import Plane
from transforms.grid import GeoBox
from transforms.period import Period


class Refused(Exception):
    """What the service answers 400 to."""


class Layer(NamedTuple):
    """One band of an image that is still to be computed."""

    name: str
    pixels: Callable[[GeoBox], Plane]
    image: str  # asset that it is from; "" of a constant
    source: str  # band of the asset
    interpolated: bool = False
    dtype: str = ""

    def then(self, change: Callable[[np.ndarray, np.ndarray], Plane], **fields) -> Layer:
        before = self.pixels
        return self._replace(pixels=lambda box: change(*before(box)), **fields)


class Collection(NamedTuple):
    name: str
    filters: tuple[dict, ...] = ()


class Evaluator:
    """Computes one serialized expression."""

    def __init__(self, archive, expression: dict):
        self.archive = archive
        self.values = expression["values"]
        self.root = expression["result"]

    def result(self) -> Any:
        return self._value({"valueReference": self.root})

    def _value(self, node: dict) -> Any:
        [(kind, content)] = node.items()
        if kind == "constantValue":
            return content
        if kind == "valueReference":
            return self._value(self.values[content])
        if kind == "arrayValue":
            return [self._value(v) for v in content["values"]]
        if kind == "dictionaryValue":
            return {k: self._value(v) for k, v in content["values"].items()}
        if kind != "functionInvocationValue":
            raise Refused(f"Unknown expression {kind}.")
        name = content["functionName"]
        function = getattr(self, "_" + name.replace(".", "_"), None)
        if function is None:
            raise Refused(f"Unknown function {name}.")
        return function(**{k: self._value(v) for k, v in content["arguments"].items()})

    # Images are lists of layers.

    def _Image_load(self, id):
        return id

    def _Image_constant(self, value):
        def pixels(box):
            return np.full(box.shape, value), np.ones(box.shape, bool)

        return [Layer("constant", pixels, "", "")]

    def _Image_select(self, input, bandSelectors):
        def layer(band):
            def pixels(box):
                try:
                    return self.archive.plane(input, band, box)
                except KeyError:
                    raise Refused(
                        f"Image.load: Image asset '{input}' not found (does not exist or caller "
                        "does not have access)."
                    ) from None

            return Layer(band, pixels, input, band)

        return [layer(band) for band in bandSelectors]

    def _Image_resample(self, image, mode):
        assert mode == "bilinear"
        return [layer._replace(interpolated=True) for layer in image]

    def _Image_multiply(self, image1, image2):
        return _pairwise(image1, image2, np.multiply)

    def _Image_add(self, image1, image2):
        return _pairwise(image1, image2, np.add)

    def _Image_round(self, value):
        return [layer.then(lambda v, m: (np.rint(v), m)) for layer in value]

    def _Image_unmask(self, input, value, sameFootprint=True):
        if sameFootprint:
            raise Refused("The stand-in has no footprints: unmask with sameFootprint=False.")
        return [layer.then(lambda v, m: (_filled(v, m, value), np.ones_like(m))) for layer in input]

    def _Image_toUint16(self, value):
        return _cast(value, "<u2")

    def _Image_toUint8(self, value):
        return _cast(value, "|u1")

    def _Image_toFloat(self, value):
        return _cast(value, "<f4")

    def _Image_rename(self, input, names):
        return [layer._replace(name=n) for layer, n in zip(input, names, strict=True)]

    def _Image_addBands(self, dstImg, srcImg):
        return dstImg + srcImg

    # Collections are searched when their columns are asked for.

    def _ImageCollection_load(self, id):
        return Collection(id)

    def _Collection_filter(self, collection, filter):
        return collection._replace(filters=(*collection.filters, filter))

    def _GeometryConstructors_Polygon(self, coordinates, geodesic):
        x, y = zip(*coordinates[0], strict=True)
        west, east = min(x), max(x)
        return (
            west - 360 if west > 180 else west,
            min(y),
            east - 360 if east > 180 else east,
            max(y),
        )

    def _Feature(self, geometry):
        return geometry

    def _Filter_intersects(self, leftField, rightValue):
        return {"bounds": rightValue}

    def _DateRange(self, start, end):
        return Period(date.fromisoformat(start), date.fromisoformat(end))

    def _Filter_dateRangeContains(self, leftValue, rightField):
        return {"period": leftValue}

    def _Filter_equals(self, leftField, rightValue):
        return {"keep": lambda image: image[leftField] == rightValue}

    def _Filter_listContains(self, leftField, rightValue):
        return {"keep": lambda image: rightValue in image[leftField]}

    def _images(self, collection):
        found = {k: v for f in collection.filters for k, v in f.items() if k != "keep"}
        keep = [f["keep"] for f in collection.filters if "keep" in f]
        try:
            images = self.archive.images(collection.name, found["bounds"], found["period"])
        except KeyError:
            raise Refused(f"ImageCollection asset '{collection.name}' not found.") from None
        return [image for image in images if all(k(image) for k in keep)]

    def _Reducer_toList(self, tupleSize, numOptional=0):
        return tupleSize, numOptional

    def _Collection_reduceColumns(self, collection, reducer, selectors):
        size, optional = reducer
        assert size == len(selectors)
        rows = [[image.get(s) for s in selectors] for image in self._images(collection)]
        return {"list": [r for r in rows if None not in r[: size - optional]]}

    def _AggregateFeatureCollection_array(self, collection, property):
        return [image[property] for image in self._images(collection)]

    def _Dictionary_get(self, dictionary, key):
        return dictionary[key]


def _pairwise(image: list[Layer], constant: list[Layer], operation) -> list[Layer]:
    [other] = constant

    def layer(one: Layer) -> Layer:
        before, after = one.pixels, other.pixels
        return one._replace(
            pixels=lambda box: (operation(before(box)[0], after(box)[0]), before(box)[1])
        )

    return [layer(one) for one in image]


def _filled(values: np.ndarray, mask: np.ndarray, constant: list[Layer]) -> np.ndarray:
    box = GeoBox(0, 0, 0, 1, values.shape[1], values.shape[0])
    return np.where(mask, values, constant[0].pixels(box)[0])


def _cast(image: list[Layer], dtype: str) -> list[Layer]:
    return [layer.then(lambda v, m: (v.astype(dtype), m), dtype=dtype) for layer in image]
