"""The viewer's server, asked over HTTP by a real client."""

import hashlib
import io
import json
import re
import shutil
import signal
import socket
import subprocess
import sys
from datetime import date
from pathlib import Path

import numpy as np
import pytest
import rasterio
import requests
import shapely
from fsspec.registry import _registry
from gcsfs.core import GCSFileSystem
from PIL import Image
from pyproj import Geod, Transformer
from viewed import GRID, STATIC, make_product, served

from model.legend import LULC6
from pipeline.viewer import areas
from pipeline.viewer.products import open_products
from tests.servers.gcs import gcs_emulator
from transforms import store
from transforms.grid import BlockKey
from transforms.layers import LAYERS
from transforms.merge import write_merged
from transforms.product import ProductGrid
from transforms.versions import open_versions

KEY, METRES = "two-tiles-2024-06-15", "two-tiles-2024-07-01"
PLACES = np.random.default_rng(7).uniform((6.0, 50.0), (6.08, 50.05), (25, 2))
VIEW = {"west": 6.0213, "south": 50.0107, "east": 6.0649, "north": 50.0391}
"""Cuts both product tiles."""


@pytest.fixture(scope="module")
def roots(tmp_path_factory):
    folder = tmp_path_factory.mktemp("products")
    lambert = ProductGrid(epsg=3035, tile_size=700)
    return [
        make_product(str(folder / "june")),
        make_product(str(folder / "july"), date(2024, 7, 1), 5, lambert, ("lulc",)),
    ]


@pytest.fixture(scope="module")
def address(roots):
    with served(open_products(roots)) as url:
        yield url


def get(address: str, path: str, **kwargs) -> requests.Response:
    return requests.get(f"{address}/{path}", timeout=60, **kwargs)


def at_places(root: str, layer: str, places: np.ndarray) -> list[int | None]:
    """Values by rasterio; None where no tile lies."""
    values: list[int | None] = [None] * len(places)
    for path in sorted(Path(root).glob(f"product/*/*_{layer}.tif")):
        with rasterio.open(path) as cog:
            to_cog = Transformer.from_crs(4326, cog.crs, always_xy=True)
            points = list(zip(*to_cog.transform(*places.T), strict=True))
            left, bottom, right, top = cog.bounds
            for i, (x, y) in enumerate(points):
                if left <= x < right and bottom < y <= top:
                    values[i] = int(next(cog.sample([(x, y)]))[0])
    return values


def tile_and_pixel(lon: float, lat: float, z: int) -> tuple[int, int, int, int]:
    """Map tile (x, y), and (column, row) in it, of a place."""
    x = (lon + 180) / 360 * 2**z
    y = (1 - np.arcsinh(np.tan(np.radians(lat))) / np.pi) / 2 * 2**z
    return int(x), int(y), int(x % 1 * 256), int(y % 1 * 256)


def color_at(address: str, key: str, layer: str, lon: float, lat: float, z: int = 18):
    x, y, col, row = tile_and_pixel(lon, lat, z)
    answer = get(address, f"api/{key}/tiles/{layer}/{z}/{x}/{y}.png")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/png")
    with Image.open(io.BytesIO(answer.content)) as image:
        assert image.size == (256, 256)
        return image.convert("RGBA").getpixel((col, row))


def test_tiles_show_the_classes_colours(address, roots):
    colors = {c.code: (*c.color, 255) for c in LULC6.classes}
    for key, root in zip((KEY, METRES), roots, strict=True):
        values = at_places(root, "lulc", PLACES[:10])
        assert len(set(values)) > 3
        for (lon, lat), value in zip(PLACES[:10], values, strict=True):
            assert color_at(address, key, "lulc", lon, lat) == colors.get(value, (0, 0, 0, 0)), lon


def test_a_tile_is_laid_together_from_product_tiles(address, roots):
    x, y, *_ = tile_and_pixel(6.05, 50.02, 11)
    answer = get(address, f"api/{KEY}/tiles/lulc/11/{x}/{y}.png")
    with Image.open(io.BytesIO(answer.content)) as image:
        alpha = np.array(image.convert("RGBA"))[:, :, 3]
    # The map's column of 6.05 E, where one product tile ends and the next begins.
    column = tile_and_pixel(6.05, 50.02, 11)[2]
    row = tile_and_pixel(6.05, 50.02, 11)[3]
    assert (alpha[row, column - 20 : column + 20] == 255).all()


def test_tiles_of_evidence_follow_the_legend(address, roots):
    about = get(address, "api/products").json()["layers"]
    for lon, lat in PLACES[:4]:
        place = np.array([[lon, lat]])
        (confidence,) = at_places(roots[0], "confidence", place)
        low, high = (int(about["confidence"]["stops"][i][1:3], 16) for i in (0, -1))
        red = color_at(address, KEY, "confidence", lon, lat)[0]
        assert 33 <= red <= 253 and (low, high) == (68, 253)
        if confidence in (0, 100):
            assert red == (low, high)[confidence == 100]
        (age,) = at_places(roots[0], "optical_age", place)
        firsts = (-99, -10, -5, -2, 0, 1, 3, 6, 11)
        entry = about["optical_age"]["entries"][sum(age >= first for first in firsts) - 1]
        color = color_at(address, KEY, "optical_age", lon, lat)
        assert f"#{bytes(color[:3]).hex()}" == entry["color"], age
    assert color_at(address, KEY, "confidence", *place_of(roots[0], "confidence", 0)) == (
        *(68, 1, 84, 255),
    )
    assert color_at(address, KEY, "confidence", *place_of(roots[0], "confidence", 50)) == (
        *(33, 145, 140, 255),
    )
    assert color_at(address, KEY, "cloud", *place_of(roots[0], "cloud", 100))[:3] == (255,) * 3


def place_of(root: str, layer: str, value: int) -> tuple[float, float]:
    """Centre of a pixel with a value."""
    with rasterio.open(next(iter(sorted(Path(root).glob(f"product/*/*_{layer}.tif"))))) as cog:
        return cog.xy(*np.argwhere(cog.read(1) == value)[3])


def test_nothing_is_drawn_beside_the_product_and_where_nothing_is_mapped(address):
    assert color_at(address, KEY, "lulc", 7.0, 50.02)[3] == 0
    assert color_at(address, KEY, "lulc", 6.02, 50.048)[3] == 0


def test_pixels_are_what_rasterio_reads(address, roots):
    seen = set()
    expected = {layer: at_places(roots[0], layer, PLACES) for layer in LAYERS}
    for i, (lon, lat) in enumerate(PLACES):
        answer = get(address, f"api/{KEY}/pixel?lon={lon}&lat={lat}").json()
        read = {layer: values[i] for layer, values in expected.items()}
        known = {n: None if v == LAYERS[n].nodata else v for n, v in read.items()}
        assert answer["values"] == known
        if read["lulc"] == 0:
            assert answer["class"] is None and answer["inputs"] is None
            continue
        (name,) = (c.name for c in LULC6.classes if c.code == read["lulc"])
        assert answer["class"]["name"].lower() == name
        day = date.fromisoformat(answer["acquired"]["optical"])
        assert (day - date(2024, 6, 15)).days == read["optical_age"]
        key = block_of(lon, lat)
        assert answer["inputs"]["name"] == str(key)
        ids = [scene["id"] for scene in answer["inputs"]["scenes"]]
        sar, optical = "S1A_IW_GRDH_20240615T173000_T32ULB", "S2A_MSIL2A_20240615T103000_T32ULB"
        assert answer["inputs"]["expected_accuracy"] == (0.75 if key.col % 2 else None)
        if key.col % 2:
            assert (answer["inputs"]["regime"], ids) == ("both", [sar, optical])
        else:
            assert (answer["inputs"]["regime"], ids) == ("sar only", [sar])
        seen.add(answer["inputs"]["regime"])
    assert seen == {"both", "sar only"}


def block_of(lon: float, lat: float) -> BlockKey:
    """The block whose core holds a place, looked for among all."""
    x, y = Transformer.from_crs(4326, 32632, always_xy=True).transform(lon, lat)
    around = shapely.box(lon, lat, lon + 1e-6, lat + 1e-6)
    keys = [key for tile in GRID.tiles_covering(around) for key in GRID.blocks(tile, around)]
    boxes = {key: GRID.core_geobox(key).bounds for key in keys}
    (key,) = (k for k, (w, s, e, n) in boxes.items() if w <= x < e and s < y <= n)
    return key


def test_a_pixel_beside_the_product_has_no_tile(address):
    assert get(address, f"api/{KEY}/pixel?lon=7&lat=50").json()["tile"] is None
    assert get(address, f"api/{KEY}/pixel?lon=700&lat=50").status_code == 422


def test_a_product_without_its_run_names_the_scenes_of_the_tile(roots, tmp_path):
    shutil.copytree(Path(roots[0]) / "product", tmp_path / "copied")
    with served(open_products([str(tmp_path / "copied")])) as address:
        answer = get(address, f"api/{KEY}/pixel?lon=6.02&lat=50.02").json()
    assert (answer["inputs"]["of"], answer["inputs"]["regime"]) == ("tile", None)
    assert [(s["sensor"], s["time"]) for s in answer["inputs"]["scenes"]] == [
        ("sentinel-1", "2024-06-15T17:30:00+00:00"),
        ("sentinel-2", "2024-06-15T10:30:00+00:00"),
    ]


def independent_areas(root: str, view: dict[str, float]) -> dict[int, float]:
    """km2 by class: the polygon of each pixel on the ellipsoid whose centre the view holds."""
    geod, km2 = Geod(ellps="WGS84"), {}
    for path in Path(root).glob("product/*/*_lulc.tif"):
        with rasterio.open(path) as cog:
            codes, step = cog.read(1), cog.res[0]
            to_degrees = Transformer.from_crs(cog.crs, 4326, always_xy=True)
            x = cog.bounds.left + step * np.arange(cog.width + 1)
            y = cog.bounds.top - step * np.arange(cog.height + 1)
        lon, lat = to_degrees.transform(*np.meshgrid(x[:-1] + step / 2, y[:-1] - step / 2))
        inside = (lon >= view["west"]) & (lon < view["east"])
        inside &= (lat > view["south"]) & (lat <= view["north"])
        for row in np.flatnonzero(inside.any(1)):
            # Pixels of a row are all but alike: one in the middle stands for them.
            col = int(np.flatnonzero(inside[row]).mean())
            corners = [(col, row), (col, row + 1), (col + 1, row + 1), (col + 1, row)]
            ring = to_degrees.transform([x[c] for c, _ in corners], [y[r] for _, r in corners])
            area = abs(geod.polygon_area_perimeter(*ring)[0]) / 1e6
            found, counts = np.unique(codes[row][inside[row]], return_counts=True)
            for code, count in zip(found, counts, strict=True):
                km2[int(code)] = km2.get(int(code), 0) + count * area
    km2.pop(0, None)
    return km2


@pytest.mark.parametrize("which", [0, 1], ids=["degrees", "metres"])
def test_areas_of_a_view_are_those_of_its_pixels(address, roots, which):
    answer = get(address, f"api/{(KEY, METRES)[which]}/areas", params=VIEW).json()
    expected = independent_areas(roots[which], VIEW)
    assert len(expected) == 6 and answer["coarser"] == 1
    found = {c["code"]: c["km2"] for c in answer["classes"]}
    assert found == pytest.approx(expected, rel=1e-4)


def test_whole_tiles_are_taken_from_their_items(address, roots):
    everything = {"west": -180, "south": -80, "east": 180, "north": 80}
    answer = get(address, f"api/{KEY}/areas", params=everything).json()
    items = [json.loads(p.read_text()) for p in Path(roots[0]).glob("product/*/*.json")]
    stated = [item["properties"]["cloudlulc:class_area_km2"] for item in items]
    assert len(stated) == 2
    for c in answer["classes"]:
        assert c["km2"] == pytest.approx(sum(s[c["name"].lower()] for s in stated))
    exact = independent_areas(roots[0], everything)
    assert {c["code"]: c["km2"] for c in answer["classes"]} == pytest.approx(exact, rel=1e-6)


def test_large_views_are_counted_on_overviews_and_say_so(roots):
    (product,) = open_products(roots[:1]).values()
    view = tuple(VIEW[edge] for edge in ("west", "south", "east", "north"))
    exact = areas.class_areas(product, view)
    coarse = areas.class_areas(product, view, most_pixels=100_000)
    assert (exact.coarser, coarse.coarser) == (1, 2)
    assert coarse.km2 == pytest.approx(exact.km2, rel=0.02)
    assert coarse.km2 != exact.km2


def test_a_view_over_the_antimeridian_has_two_parts():
    assert areas._within_180((170, -10, 200, 10)) == [(170, -10, 180, 10), (-180, -10, -160, 10)]
    assert areas._within_180((365, 0, 370, 1)) == [(5, 0, 10, 1)]
    assert areas._within_180((-300, 0, 300, 1)) == [(-180, 0, 180, 1)]


def test_other_hosts_are_refused(address):
    port = address.rpartition(":")[2]
    for host, code in (
        *(("rebound.example", 400), (f"rebound.example:{port}", 400), ("127.0.0.1.example", 400)),
        *((f"localhost:{port}", 200), (f"127.0.0.1:{port}", 200)),
    ):
        for path in ("", "api/products"):
            assert get(address, path, headers={"Host": host}).status_code == code, host


def test_pages_from_elsewhere_can_read_nothing(address):
    for path in ("api/products", "api/countries", ""):
        answer = get(address, path, headers={"Origin": "https://elsewhere.example"})
        assert "access-control-allow-origin" not in answer.headers
        assert answer.headers["cross-origin-resource-policy"] == "same-origin"
        assert "default-src 'self'" in answer.headers["content-security-policy"]


def test_it_listens_on_this_machine_alone(address):
    port = int(address.rpartition(":")[2])
    others = {info[4][0] for info in socket.getaddrinfo(socket.gethostname(), port)}
    for other in {"127.0.0.2"} | others - {"127.0.0.1"}:
        with socket.socket(socket.AF_INET6 if ":" in other else socket.AF_INET) as client:
            assert client.connect_ex((other, port)) != 0, other


@pytest.mark.parametrize(
    ("path", "message"),
    [
        (
            f"api/{KEY}/tiles/water/3/1/1.png",
            "layer 'water': product two-tiles-2024-06-15 has lulc",
        ),
        (f"api/{METRES}/tiles/cloud/3/1/1.png", f"layer 'cloud': product {METRES} has lulc"),
        (f"api/{KEY}/tiles/lulc/3/8/1.png", "map tile 3/8/1"),
        ("api/nigeria/tiles/lulc/3/1/1.png", "product 'nigeria': shown are two-tiles-2024-06-15"),
        ("api/nigeria/areas?west=0&south=0&east=1&north=1", "product 'nigeria'"),
        ("docs", "Not Found"),
        ("..%2f..%2fserver.py", "Not Found"),
        ("leaflet/..%2f..%2fserver.py", "Not Found"),
    ],
)
def test_what_is_not_there_is_named(address, path, message):
    answer = get(address, path)
    assert answer.status_code == 404
    assert message in answer.json()["detail"]


def test_no_query_opens_another_file(address, roots):
    other = next(Path(roots[1]).glob("product/*/*_lulc.tif"))
    x, y, *_ = tile_and_pixel(6.05, 50.02, 11)
    plain = get(address, f"api/{KEY}/tiles/lulc/11/{x}/{y}.png").content
    for query in ({"url": str(other)}, {"assets": str(other)}):
        assert get(address, f"api/{KEY}/tiles/lulc/11/{x}/{y}.png", params=query).content == plain


def test_a_file_that_went_away_is_named(roots, tmp_path):
    shutil.copytree(Path(roots[0]) / "product", tmp_path / "copied")
    with served(open_products([str(tmp_path / "copied")])) as address:
        for path in tmp_path.glob("copied/*/*_lulc.tif"):
            path.unlink()
        x, y, *_ = tile_and_pixel(6.05, 50.02, 11)
        answer = get(address, f"api/{KEY}/tiles/lulc/11/{x}/{y}.png")
    assert answer.status_code == 502
    assert "cannot be read" in answer.json()["detail"] and "_lulc.tif" in answer.json()["detail"]


def test_countries_come_with_the_package(address):
    countries = get(address, "api/countries").json()
    names = {feature["properties"]["name"] for feature in countries["features"]}
    assert len(names) == 241 and {"Ghana", "Belgium"} <= names and "Africa" not in names


def test_incomplete_products_say_what_is_missing(roots, tmp_path):
    copied = tmp_path / "copied"
    shutil.copytree(Path(roots[0]) / "product", copied)
    east = sorted(path.name for path in copied.iterdir() if path.is_dir())[1]
    (copied / east / f"{east}_cloud.tif").unlink()
    (product,) = open_products([str(copied)]).values()
    assert product.notices == (f"Layer cloud is missing in {east}, though the STAC items list it.",)
    (copied / east / f"{east}.json").unlink()
    (product,) = open_products([str(copied)]).values()
    assert len(product.tiles) == 1
    assert f"1 tile is listed in collection.json but missing: {east}" in product.notices[0]
    (copied / "collection.json").unlink()
    (product,) = open_products([str(copied)]).values()
    assert "no collection.json" in product.notices[0] and "1 tile is shown" in product.notices[0]


def test_two_products_of_one_name_have_two_keys(roots):
    assert list(open_products([roots[0], roots[0]])) == [KEY, f"{KEY}-2"]


def test_items_cannot_point_elsewhere(roots, tmp_path):
    shutil.copytree(Path(roots[0]) / "product", tmp_path / "copied")
    item = next(iter(tmp_path.glob("copied/*/*.json")))
    for href in ("../../../../etc/passwd", "/etc/passwd", "https://elsewhere.example/a.tif"):
        document = json.loads(item.read_text())
        document["assets"]["lulc"]["href"] = href
        item.write_text(json.dumps(document))
        with pytest.raises(ValueError, match="does not lie beside the item; not opened"):
            open_products([str(tmp_path / "copied")])


def test_a_merged_product_has_a_date_for_each_pixel(roots, tmp_path):
    older = make_product(str(tmp_path / "older"), date(2024, 6, 1), seed=9)
    merged = str(tmp_path / "merged")
    write_merged(open_versions([older, roots[0]]), merged, "best-evidence")
    dates = at_places(merged, "date", PLACES)
    assert {20240601, 20240615} == set(dates) - {0, None}
    with served(open_products([merged])) as address:
        (product,) = get(address, "api/products").json()["products"]
        for (lon, lat), number in zip(PLACES, dates, strict=True):
            answer = get(address, f"api/{product['key']}/pixel?lon={lon}&lat={lat}").json()
            if not number:
                continue
            assert answer["date"].replace("-", "") == str(number)
            seen = date.fromisoformat(answer["acquired"]["optical"])
            age = (seen - date.fromisoformat(answer["date"])).days
            assert age == answer["values"]["optical_age"]
            assert answer["inputs"]["of"] == "tile"


def test_maps_of_change_are_refused(roots, tmp_path):
    shutil.copytree(Path(roots[0]) / "product", tmp_path / "copied")
    item = next(iter(tmp_path.glob("copied/*/*.json")))
    document = json.loads(item.read_text())
    document["assets"]["change"] = document["assets"].pop("lulc")
    item.write_text(json.dumps(document))
    with pytest.raises(ValueError, match="it is no land-cover map"):
        open_products([str(tmp_path / "copied")])


def test_products_on_gs_are_read_as_the_jobs_read_them(roots, tmp_path, monkeypatch):
    (tmp_path / "buckets" / "bucket").mkdir(parents=True)
    with gcs_emulator(tmp_path / "buckets") as url:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", url)
        # gcsfs would ask for the kind of a bucket by gRPC, which an emulator does not speak.
        monkeypatch.setitem(_registry, "gs", GCSFileSystem)
        GCSFileSystem.clear_instance_cache()
        for name in store.list_files(f"{roots[1]}/product"):
            store.write_bytes(
                f"gs://bucket/product/{name}", store.read_bytes(f"{roots[1]}/product/{name}")
            )
        with served(open_products(["gs://bucket/product"])) as address:
            lon, lat = PLACES[0]
            values = at_places(roots[1], "lulc", PLACES[:1])
            answer = get(address, f"api/{METRES}/pixel?lon={lon}&lat={lat}").json()
            assert [answer["values"]["lulc"]] == values
            colors = {c.code: (*c.color, 255) for c in LULC6.classes}
            assert color_at(address, METRES, "lulc", lon, lat) == colors[values[0]]
            areas_there = get(address, f"api/{METRES}/areas", params=VIEW).json()
        GCSFileSystem.clear_instance_cache()
    with served(open_products(roots[1:])) as address:
        assert get(address, f"api/{METRES}/areas", params=VIEW).json() == areas_there


def test_what_is_bundled_is_what_was_published():
    noted = re.findall(r"^([0-9a-f]{64})  (\S+)$", (STATIC / "README.md").read_text(), re.M)
    assert {name for _, name in noted} == {f"leaflet/{p.name}" for p in STATIC.glob("leaflet/*")}
    for digest, name in noted:
        assert hashlib.sha256((STATIC / name).read_bytes()).hexdigest() == digest, name


def command(*args: str) -> subprocess.Popen:
    program = [sys.executable, "-m", "pipeline", "view", *args]
    root = Path(__file__).parents[2]
    pipe = subprocess.PIPE
    return subprocess.Popen(program, cwd=root, stdout=pipe, stderr=pipe, text=True)


def test_the_command_serves_until_it_is_stopped(roots):
    process = command(roots[0], "--no-browser")
    address = process.stdout.readline().strip()
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/", address), process.stderr.read()
    page = requests.get(address, timeout=60)
    assert page.status_code == 200 and "CloudLULC viewer" in page.text
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "Two tiles, 2024-06-15: 2 product tile(s)" in said and "Traceback" not in said


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda folder: None, "there is nothing; expected a run's output folder"),
        (lambda folder: folder.mkdir(), "no product tile is finished"),
        (
            lambda folder: (folder.mkdir(), (folder / "run.json").write_text("{}")),
            "the run has no product yet; finish it with `cloudlulc run --out",
        ),
    ],
)
def test_a_missing_product_is_bad_input(tmp_path, make, message):
    make(tmp_path / "run")
    with pytest.raises(ValueError, match=message):
        open_products([str(tmp_path / "run")])


def test_a_port_that_is_taken_is_bad_input(roots, address):
    process = command(roots[0], "--no-browser", "--port", address.rpartition(":")[2])
    _, said = process.communicate(timeout=60)
    assert process.returncode == 2
    assert "Address already in use; choose another, or 0 for a free one" in said
