"""The sources that the contract is tested on."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import NamedTuple

import pytest
import rasterio

from tests.servers.cog_server import CogServer, serving
from tests.servers.stac_api import stac_api
from tests.transforms.sources import made_cogs
from tests.transforms.sources.made_scenes import BOX, footprint, write_scenes
from transforms.grid import GeoBox
from transforms.period import Period
from transforms.scene import SENTINEL1, SENTINEL2, Bounds, ImagerySource
from transforms.sources import open_source
from transforms.sources.files import FilesSource
from transforms.sources.stac import StacSource
from transforms.sources.synthetic import SyntheticSource

SAMPLE = Path(__file__).parents[3] / "data" / "sample" / "catalog.json"


class Case(NamedTuple):
    """A source, and where and when it has scenes of both sensors."""

    source: ImagerySource
    bounds: Bounds
    period: Period
    geobox: GeoBox  # inside of the scenes, on the pixel grid of the 10 m bands


@pytest.fixture(scope="session")
def scenes_folder(tmp_path_factory) -> Path:
    return write_scenes(tmp_path_factory.mktemp("scenes"))


class Cogs(NamedTuple):
    """A web server with the made COGs."""

    url: str
    server: CogServer


class Api(NamedTuple):
    """A STAC API whose items point to the made COGs."""

    url: str
    cogs: Cogs


@pytest.fixture(scope="session")
def cogs(tmp_path_factory) -> Iterator[Cogs]:
    server = CogServer(tmp_path_factory.mktemp("web"))
    made_cogs.write_cogs(server.folder)
    with serving(server.answer) as url:
        yield Cogs(url, server)


@pytest.fixture(scope="session")
def api(cogs, tmp_path_factory) -> Iterator[Api]:
    with stac_api(made_cogs.items(cogs.url), tmp_path_factory.mktemp("api")) as url:
        yield Api(url, cogs)


def _stac(request) -> Case:
    api = request.getfixturevalue("api")
    box = made_cogs.BOX
    inner = box._replace(x0=box.x0 + 300, y0=box.y0 - 240, width=64, height=56)
    source = StacSource(made_cogs.catalog(api.url))
    return Case(source, tuple(footprint(box)), _JUNE, inner)


def _files(request) -> Case:
    folder = request.getfixturevalue("scenes_folder")
    bounds = tuple(footprint(BOX))
    inner = BOX._replace(x0=BOX.x0 + 200, y0=BOX.y0 - 200, width=64, height=56)
    return Case(FilesSource(str(folder)), bounds, _JUNE, inner)


def _synthetic(request) -> Case:
    box = GeoBox(32633, 520_000.0, 5_150_000.0, 10.0, 64, 56)
    return Case(SyntheticSource(seed=3), tuple(footprint(box)), _JUNE, box)


def _sample(request) -> Case:
    if not SAMPLE.exists():
        pytest.skip("data/sample is not there")
    source = FilesSource(str(SAMPLE))
    period = Period(date(2018, 6, 1), date(2018, 7, 1))
    scene = next(s for s in source.search((-180, -90, 180, 90), period) if s.time)
    with rasterio.open(scene.assets[0].href) as dataset:
        box = GeoBox(dataset.crs.to_epsg(), dataset.transform.c + 20, dataset.transform.f - 20,
                     10.0, 64, 56)  # fmt: skip
    return Case(source, scene.footprint, period, box)


@pytest.fixture(scope="session")
def earth_engine():
    from tests.servers.earth_engine import serve

    yield from serve()


def _earthengine(request) -> Case:
    server = request.getfixturevalue("earth_engine")
    box = GeoBox(32633, 520_000.0, 5_150_000.0, 10.0, 64, 56)
    source = open_source(f"earthengine:test-project,url={server.url},anonymous=1")
    return Case(source, tuple(footprint(box)), _JUNE, box)


_JUNE = Period(date(2024, 6, 1), date(2024, 7, 1))
CASES = {
    "files": _files,
    "stac": _stac,
    "synthetic": _synthetic,
    "sample": _sample,
    "earthengine": _earthengine,
}


@pytest.fixture(params=CASES)
def case(request) -> Case:
    return CASES[request.param](request)


@pytest.fixture(params=[SENTINEL1, SENTINEL2])
def sensor(request) -> str:
    return request.param
