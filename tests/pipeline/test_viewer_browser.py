"""The viewer's page in a real browser, as its reader uses it."""

import io
from datetime import date

import numpy as np
import pytest
from browser import browser, chromium
from PIL import Image
from viewed import make_product, served

from model.legend import LULC6
from pipeline.viewer.products import open_products

JUNE, JULY = "two-tiles-2024-06-15", "two-tiles-2024-07-01"

SETTLED = (
    "document.querySelector('#areas table') && !document.querySelector('#areas[aria-busy]')"
    " && document.querySelectorAll('.leaflet-tile').length > 0"
    " && [...document.querySelectorAll('.leaflet-tile')].every("
    "t => t.classList.contains('leaflet-tile-loaded') && getComputedStyle(t).opacity == 1)"
)
"""Every tile is loaded and faded in, and the areas are those of the view."""

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(chromium() is None, reason="no Chromium or Chrome on this machine"),
]


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    folder = tmp_path_factory.mktemp("products")
    roots = [
        make_product(str(folder / "june")),
        make_product(str(folder / "july"), date(2024, 7, 1), seed=5),
    ]
    with served(open_products(roots)) as url:
        yield url


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    with browser(chromium(), tmp_path_factory.mktemp("profile")) as page:
        yield page


def colors(page, tmp_path) -> np.ndarray:
    """The page as (y, x, 3)."""
    page.picture(tmp_path / "page.png")
    with Image.open(io.BytesIO((tmp_path / "page.png").read_bytes())) as image:
        return np.array(image.convert("RGB"))


PLACE = 6.0 + 36 / 12000, 50.05 - 84 / 12000
"""(lon, lat) of the middle of a square of one class."""


def test_two_dates_are_compared(page, address, tmp_path):
    page.size(1280, 800)
    lon, lat = PLACE
    page.open(f"{address}/#map=17/{lat}/{lon}&left={JUNE}/lulc&right={JULY}/lulc")
    page.wait(SETTLED)
    size = page.run("[document.querySelector('#map').clientWidth, innerHeight]")
    x, y = size[0] // 2, size[1] // 2
    legend = {c["name"]: c["color"] for c in LULC6_CLASSES}

    def shown_at(x, y):
        found = tuple(int(v) for v in colors(page, tmp_path)[y, x])
        return next((name for name, color in legend.items() if color == found), found)

    # A step left of the bar is June, a step right of it is July.
    answers = [
        page.run(f"fetch('api/{key}/pixel?lon={lon}&lat={lat}').then(r => r.json())")
        for key in (JUNE, JULY)
    ]
    names = [answer["class"]["name"].lower() for answer in answers]
    assert names[0] != names[1]
    assert [shown_at(x - 30, y + 40), shown_at(x + 30, y + 40)] == names

    page.run("document.querySelector('#split').focus()")
    page.key("End", 35)
    page.wait(SETTLED)
    assert shown_at(x + 30, y + 40) == names[0]
    page.wait("location.hash.includes('split=100')")
    assert "change" in page.run("document.querySelector('#areas').innerText")


LULC6_CLASSES = [{"name": c.name, "color": tuple(c.color)} for c in LULC6.classes]


def test_a_click_names_class_evidence_and_scenes(page, address):
    page.size(1280, 800)
    lon, lat = PLACE
    page.open(f"{address}/#map=17/{lat}/{lon}&left={JUNE}/confidence")
    page.wait(SETTLED)
    width = page.run("document.querySelector('#map').clientWidth")
    page.click(width // 2, 400)
    page.wait("document.querySelector('#pixel h3')")
    answer = page.run(
        "fetch('api/" + JUNE + "/pixel?' + (at => `lon=${at[1]}&lat=${at[0]}`)"
        "(new URLSearchParams(location.hash.slice(1)).get('at').split(','))).then(r => r.json())"
    )
    text = page.run("document.querySelector('#pixel').innerText")
    values = answer["values"]
    assert answer["class"]["name"] in text
    for percent in (values["confidence"], values["reliability"], values["cloud"]):
        assert f"{percent} %" in text
    assert answer["acquired"]["optical"] in text and "S1A_IW_GRDH_20240615" in text
    assert page.run("document.querySelector('#legends').innerText").startswith("Confidence")


def test_the_keyboard_is_enough(page, address):
    page.size(1280, 800)
    page.open(f"{address}/#map=16/50.03/6.03&left={JUNE}/lulc")
    page.wait(SETTLED)
    page.run("document.querySelector('#map').focus()")
    page.key("ArrowRight", 39)
    page.wait("!location.hash.includes('6.030000') && " + SETTLED)
    page.key("Enter", 13, "\r")
    page.wait("document.querySelector('#pixel h3')")
    lon = float(page.run("new URLSearchParams(location.hash.slice(1)).get('at').split(',')[1]"))
    assert 6.03 < lon < 6.04
    page.run("document.querySelector('#left-lulc').focus()")
    page.key("ArrowRight", 39)
    page.wait("location.hash.includes('/confidence') && " + SETTLED)
    assert page.run("document.activeElement.id") == "left-confidence"


def test_areas_follow_the_view(page, address):
    page.size(1280, 800)
    page.open(f"{address}/#map=10/50.02/6.04&left={JUNE}/lulc")
    page.wait(SETTLED)
    whole = page.run("document.querySelector('#areas tfoot td:nth-child(2)').innerText")
    page.open(f"{address}/#map=6/0/-60&left={JUNE}/lulc")
    page.wait("document.querySelector('#areas table')")
    assert "Nothing in view" in page.run("document.querySelector('#areas').innerText")
    page.run("document.querySelector('#fit').click()")
    page.wait(SETTLED + " && !document.querySelector('#areas').innerText.includes('Nothing')")
    assert page.run("document.querySelector('#areas tfoot td:nth-child(2)').innerText") == whole


def test_it_fits_a_phone(page, address):
    page.size(390, 844, mobile=True)
    page.open(f"{address}/#left={JUNE}/lulc")
    page.wait(SETTLED)
    assert page.run("document.documentElement.scrollWidth") <= 390
    box = page.run(
        "JSON.parse(JSON.stringify(document.querySelector('#map').getBoundingClientRect()))"
    )
    assert box["width"] == 390 and 350 < box["height"] < 500
    assert page.run("document.querySelector('.panel').scrollWidth") <= 390


def test_nothing_is_asked_of_another_machine_and_nothing_fails(page, address):
    page.open(f"{address}/#left={JUNE}/lulc&right={JULY}/cloud")
    page.wait(SETTLED)
    asked = {url for url in page.requested if not url.startswith(("data:", "about:"))}
    assert asked and all(url.startswith(f"{address}/") for url in asked)
    assert page.problems == []
