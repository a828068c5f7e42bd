"""What items and links may name: files below their catalogue, buckets and the internet."""

from __future__ import annotations

import json
import os
from datetime import date

import numpy as np
import pytest
import rasterio

from tests.servers.cog_server import CogServer, serving
from tests.transforms.sources.made_scenes import BOX, optical_item, save, write_tif
from transforms.period import Period
from transforms.scene import Asset, SourceUnavailable
from transforms.sources import hrefs
from transforms.sources.catalog import read_items
from transforms.sources.files import FilesSource
from transforms.sources.headers import open_asset
from transforms.sources.hrefs import HOSTS_VARIABLE, Reach, reach_of
from transforms.sources.patience import Patience
from transforms.sources.presets import Catalog, Product
from transforms.sources.stac import StacSource

WORLD = (-180.0, -90.0, 180.0, 90.0)
JUNE = Period(date(2024, 6, 1), date(2024, 7, 1))
PIXELS = np.full(BOX.shape, 1234, np.uint16)


def item(href: str) -> dict:
    return optical_item("one", "2024-06-10", BOX) | {"assets": {"B02": {"href": href}}}


def search(folder, href: str):
    """The scenes of a catalogue whose one item names `href`."""
    save(folder / "item.json", item(href))
    return FilesSource(str(folder)).search(WORLD, JUNE)


METADATA = [
    "http://169.254.169.254/latest/meta-data/",
    "http://169.254.169.254:80/x.tif",
    "http://2852039166/x.tif",
    "http://0xa9fea9fe/x.tif",
    "http://0251.0376.0251.0376/x.tif",
    "http://169.254.43518/x.tif",
    "http://[::ffff:169.254.169.254]/x.tif",
    "http://[fd00:ec2::254]/x.tif",
    "http://[fe80::1]/x.tif",
    "http://168.63.129.16/x.tif",
    "http://100.100.100.200/x.tif",
    "http://metadata.google.internal/computeMetadata/v1/",
    "http://metadata.google.internal./computeMetadata/v1/",
    "http://METADATA.GOOGLE.INTERNAL/x.tif",
    "http://metadata/x.tif",
    "http://metadata.goog/x.tif",
    "http://localhost/x.tif",
    "http://127.0.0.1:8080/x.tif",
    "http://127.1/x.tif",
    "http://[::1]/x.tif",
    "http://0.0.0.0/x.tif",
    "http://10.0.0.5/x.tif",
    "http://192.168.1.1/x.tif",
    "https://intranet/x.tif",
    "https://wiki.corp.local/x.tif",
]


@pytest.mark.parametrize("href", METADATA)
def test_items_cannot_name_what_only_a_worker_can_reach(tmp_path, href):
    with pytest.raises(ValueError, match="not of the internet|names no host"):
        search(tmp_path, href)


@pytest.mark.parametrize(
    "href",
    [
        "/etc/passwd",
        "file:///etc/passwd",
        "../outside.tif",
        "a/../../outside.tif",
        "/vsicurl/http://169.254.169.254/x",
        "/vsicurl?url=http://169.254.169.254/x",
        "/vsizip//vsicurl/https://example.org/a.zip/b.tif",
        "/vsigs/private/x.tif",
        "/vsimem/x.tif",
        "/vsistdin/",
        "/proc/self/environ",
        "ftp://example.org/x.tif",
        "FILE:///etc/passwd",
        "vsicurl://example.org/x.tif",
        "memory://x.tif",
        "zip://x.tif::http://127.0.0.1/a.zip",
        "simplecache::http://127.0.0.1/x.tif",
        "https://user:secret@example.org/x.tif",
        "https://example.org\\@169.254.169.254/x.tif",
        "https://exa mple.org/x.tif",
        "https://example.org/\nHost: x",
        "https:///x.tif",
        "https://[::1/x.tif",
        "gs:///x.tif",
        "gs://user@bucket/x.tif",
        "x\0.tif",
    ],
)
def test_items_cannot_name_other_files_schemes_and_tricks(tmp_path, href):
    with pytest.raises(ValueError):
        search(tmp_path, href)


def test_hosts_of_the_internet_and_buckets_may_be_named(tmp_path):
    for href in (
        "https://sentinel-cogs.s3.us-west-2.amazonaws.com/sentinel-s2-l2a-cogs/1/B02.tif",
        "https://account.blob.core.windows.net/container/B02.tif?sv=1&sig=2",
        "https://8.8.8.8/B02.tif",
        "gs://gcp-public-data-sentinel-2/B02.tif",
        "s3://eodata/Sentinel-2/B02.jp2",
        "below/B02.tif",
        str(tmp_path / "B02.tif"),
    ):
        assert len(search(tmp_path, href)) == 1


def test_a_catalogue_file_answers_for_its_folder(tmp_path):
    save(tmp_path / "here" / "item.json", item("../there/B02.tif"))
    with pytest.raises(ValueError, match="lies outside of .*here.*above both"):
        FilesSource(str(tmp_path / "here" / "item.json")).search(WORLD, JUNE)
    assert len(FilesSource(str(tmp_path)).search(WORLD, JUNE)) == 1


def test_symbolic_links_lead_nowhere_else(tmp_path):
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    write_tif(outside / "B02.tif", PIXELS, BOX)
    write_tif(inside / "data" / "B02.tif", PIXELS, BOX)
    (inside / "away.tif").symlink_to(outside / "B02.tif")
    (inside / "folder").symlink_to(outside)
    (inside / "here.tif").symlink_to(inside / "data" / "B02.tif")
    for href in ("away.tif", "folder/B02.tif"):
        with pytest.raises(ValueError, match="lies outside"):
            search(inside, href)
    assert len(search(inside, "here.tif")) == 1
    (tmp_path / "link").symlink_to(inside)  # the catalogue itself may be one
    assert len(FilesSource(str(tmp_path / "link")).search(WORLD, JUNE)) == 1


@pytest.mark.parametrize(
    "href",
    [
        *("../outside.json", "/etc/passwd", "file:///etc/passwd", "http://169.254.169.254/x.json"),
        *("https://example.org/item.json", "s3://bucket/item.json", "memory://x.json"),
        "simplecache::https://example.org/item.json",
    ],
)
def test_links_of_catalogues_stay_below_them(tmp_path, href):
    links = [{"rel": "child", "href": href}]
    save(tmp_path / "catalog.json", {"type": "Catalog", "links": links})
    with pytest.raises(ValueError):
        list(read_items(str(tmp_path / "catalog.json")))


@pytest.mark.parametrize("catalog", ["http://127.0.0.1/c.json", "memory://c", "s3://b/c.json"])
def test_catalogues_are_local_or_on_gs(catalog):
    with pytest.raises(ValueError, match="expected a path or gs://"):
        list(read_items(catalog))
    assert reach_of("gs://bucket/catalog").folder == ""
    with pytest.raises(ValueError, match="not local"):
        reach_of("gs://bucket/catalog").check("/etc/passwd", "item")


class Api(StacSource):
    """An API that answers what a test gives it."""

    def __init__(self, url: str, found: list):
        product = Product(("sentinel-2-l2a",), level="L2A")
        super().__init__(Catalog("made", url, optical=product), patience=Patience(attempts=1))
        self.found = found

    def _client(self, catalog):
        class Client:
            def items(_, product, bounds, period):
                yield from self.found

        return Client()


def api_item(href: str, name: str = "bad") -> dict:
    bands = ("B01 B02 B03 B04 B05 B06 B07 B08 B8A B09 B11 B12").split()
    assets = {b: {"href": f"https://example.org/{b}.tif"} for b in bands}
    return optical_item(name, "2024-06-10", BOX) | {
        "assets": assets | {"B02": {"href": href}},
    }


@pytest.mark.parametrize("href", [*METADATA[:3], "/etc/passwd", "file:///etc/passwd", "../../x"])
def test_items_of_an_api_are_refused_one_by_one(href):
    url = "https://stac.example.org/v1"
    source = Api(url, [api_item(href), api_item("https://example.org/B02.tif", "good")])
    found = [scene.id for scene in source.search(WORLD, JUNE)]
    # A relative href of an API's item lies on the API's own host.
    assert found == (["bad", "good"] if href == "../../x" else ["good"])
    assert set(source.refused) == ({"bad"} if found == ["good"] else set())


def test_an_api_of_ones_own_network_may_name_its_own_host_and_no_other():
    found = [api_item("http://10.0.0.5/B02.tif", "own"), api_item("http://10.0.0.6/B02.tif")]
    source = Api("http://10.0.0.5:8080/stac", found)
    assert [scene.id for scene in source.search(WORLD, JUNE)] == ["own"]


def test_hosts_of_ones_own_network_are_trusted_by_name(tmp_path, monkeypatch):
    monkeypatch.setenv(HOSTS_VARIABLE, "minio.local,10.0.0.5")
    assert len(search(tmp_path, "http://minio.local:9000/B02.tif")) == 1
    with pytest.raises(ValueError, match=f"{HOSTS_VARIABLE}=10.0.0.6"):
        search(tmp_path, "http://10.0.0.6/B02.tif")


def test_a_public_name_for_a_metadata_server_is_found_before_it_is_asked(tmp_path, monkeypatch):
    means = {"evil.example.org": "169.254.169.254", "good.example.org": "8.8.8.8"}
    monkeypatch.setattr(
        hrefs.socket, "getaddrinfo", lambda host, *a, **k: [(0, 0, 0, "", (means[host], 0))]
    )
    hrefs._means_metadata.cache_clear()
    scene = search(tmp_path, "https://evil.example.org/B02.tif")[0]
    with pytest.raises(ValueError, match="evil.example.org means this machine or a metadata"):
        FilesSource(str(tmp_path)).read(scene, BOX, ("B02",))
    Reach().check_hosts(search(tmp_path, "https://good.example.org/B02.tif")[0])
    hrefs._means_metadata.cache_clear()


def test_a_file_that_names_further_files_is_no_raster(tmp_path):
    """GDAL opens a VRT whatever it is called; it may name any file or address."""
    write_tif(tmp_path / "secret.tif", PIXELS, BOX)
    with rasterio.open(tmp_path / "secret.tif") as secret:
        transform, wkt = secret.transform.to_gdal(), secret.crs.to_wkt()
    (tmp_path / "cat" / "B02.tif").parent.mkdir()
    (tmp_path / "cat" / "B02.tif").write_text(
        f'<VRTDataset rasterXSize="{BOX.width}" rasterYSize="{BOX.height}"><SRS>{wkt}</SRS>'
        f"<GeoTransform>{','.join(map(str, transform))}</GeoTransform>"
        '<VRTRasterBand dataType="UInt16" band="1"><SimpleSource>'
        f"<SourceFilename>{tmp_path}/secret.tif</SourceFilename></SimpleSource>"
        "</VRTRasterBand></VRTDataset>"
    )
    with rasterio.open(tmp_path / "cat" / "B02.tif") as read:  # so this is what would happen
        assert (read.read() == 1234).all()
    scene = search(tmp_path / "cat", "B02.tif")[0]
    with pytest.raises(SourceUnavailable, match="B02.tif"):
        FilesSource(str(tmp_path / "cat")).read(scene, BOX, ("B02",))


@pytest.mark.parametrize("name", ["WMS:http", "GTIFF_DIR:1:B02.tif", "NETCDF:x", "<VRTDataset/>"])
def test_a_relative_path_is_a_file_and_never_a_driver_of_gdal(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    write_tif(tmp_path / "B02.tif", PIXELS, BOX)
    with pytest.raises(rasterio.errors.RasterioIOError, match="No such file|recognized|does not"):
        open_asset(Asset("B02", name))
    if "/" not in name:
        os.rename("B02.tif", name)
        with open_asset(Asset("B02", name)) as dataset:
            assert dataset.read(1)[0, 0] == 1234


def test_the_next_page_of_an_api_is_not_asked_of_the_metadata_server(tmp_path):
    asked = []

    def answer(handler, body):
        asked.append(handler.path)
        found = api_item("https://example.org/B02.tif")
        page = {"type": "FeatureCollection", "features": [found]}
        root = {"type": "Catalog", "id": "c", "description": "", "stac_version": "1.0.0"}
        root |= {
            "conformsTo": [
                "https://api.stacspec.org/v1.0.0/core",
                "https://api.stacspec.org/v1.0.0/item-search",
            ],
            "links": [{"rel": "search", "href": f"{url}/search", "type": "application/geo+json"}],
        }
        page["links"] = [{"rel": "next", "href": "http://169.254.169.254/latest", "method": "GET"}]
        content = page if handler.path.startswith("/search") else root
        return 200, {"Content-Type": "application/json"}, json.dumps(content).encode()

    with serving(answer) as url:
        product = Product(("sentinel-2-l2a",), level="L2A")
        source = StacSource(
            Catalog("made", url, optical=product), patience=Patience(attempts=1), timeout=5
        )
        with pytest.raises(ValueError, match="169.254.169.254.*not of the internet"):
            source.search(WORLD, JUNE)
    assert any(path.startswith("/search") for path in asked)


def test_servers_of_the_tests_are_refused_unless_trusted(tmp_path):
    write_tif(tmp_path / "web" / "B02.tif", PIXELS, BOX)
    with serving(CogServer(tmp_path / "web").answer) as url:
        with pytest.raises(ValueError, match="not of the internet"):
            search(tmp_path / "cat", f"{url}/B02.tif")
        trusting = FilesSource(str(tmp_path / "cat"), hosts=frozenset({"127.0.0.1"}))
        raster = trusting.read(trusting.search(WORLD, JUNE)[0], BOX, ("B02",))
    assert (raster.pixels == 1234).all()


def test_names_of_files_are_no_patterns(tmp_path):
    save(tmp_path / "a[1]*.json", item("B02.tif"))
    assert len(FilesSource(str(tmp_path)).search(WORLD, JUNE)) == 1
    links = [{"rel": "item", "href": "a*.json"}]
    save(tmp_path / "sub" / "catalog.json", {"type": "Catalog", "links": links})
    save(tmp_path / "sub" / "ab.json", item("B02.tif"))
    with pytest.raises(ValueError, match="there is no file"):
        list(read_items(str(tmp_path / "sub" / "catalog.json")))
