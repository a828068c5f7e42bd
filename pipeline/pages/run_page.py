"""The report of a run: one HTML file that holds all it shows, without scripts or addresses."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import jinja2

import pipeline
from pipeline import launch
from pipeline.actual import compare
from pipeline.config import RunConfig
from pipeline.evidence import histograms, pictures, thin_out, under_cloud_rule
from pipeline.records import read_records
from transforms.failures import read_failures
from transforms.layers import LAYERS
from transforms.product import item_url
from transforms.provenance import planned_scenes
from transforms.publish import blocks_under
from transforms.published import open_product
from transforms.stac_product import attribution
from transforms.store import exists, join, read_bytes, read_json

TEMPLATE = Path(__file__).with_name("run.html")

SAID_BY = {
    "agreement.txt": (
        "Agreement with other maps",
        "cloudlulc agree {out} --with worldcover FILE",
    ),
    "seams.txt": ("Seams", "cloudlulc audit {out} --seams"),
    "audit.txt": ("Completeness", "cloudlulc audit {out}"),
}
"""What other commands leave in a run's `reports/`: heading, and the command that makes it."""


def run_page(run: RunConfig) -> str:
    """The report of a run with a product.

    Raises:
      ValueError: the run has no finished product.
    """
    product = open_product(run.out)
    publication = run.publication()
    by_name = {tile.name: tile for tile in run.product_tiles()}
    items = [read_json(item_url(run.out, tile.name)) for tile in product.tiles]
    blocks = [blocks_under(by_name[tile.name], publication) for tile in product.tiles]
    scenes = [planned_scenes(run.out, keys) for keys in blocks]
    overview = thin_out(product)
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    return environment.from_string(TEMPLATE.read_text(encoding="utf-8")).render(
        run=run,
        version=pipeline.__version__,
        classes=sorted(run.legend.classes, key=lambda c: c.code),
        areas=_totals(items, "cloudlulc:class_area_km2"),
        coverage=_coverage(items, under_cloud_rule(overview, scenes, run.target)),
        regimes=_totals(items, "cloudlulc:regimes"),
        step=overview.step,
        pictures=pictures(overview, run.legend),
        histograms=histograms(overview),
        layers=LAYERS,
        scenes=sorted({scene for of_tile in scenes for scene in of_tile}, key=_by_time),
        jobs={job: read_records(run.out, job) for job in launch.JOBS},
        plan=compare(run),
        failures=_failures(run),
        said=_said(run),
        attribution=attribution([scene for of_tile in scenes for scene in of_tile]),
        tiles=[(tile.name, tile.geobox) for tile in product.tiles],
    )


def _by_time(scene) -> tuple:
    return scene.sensor, str(scene.time or scene.start or ""), scene.id


def _totals(items: list[dict], name: str) -> dict[str, Any]:
    """Sums over the tiles of what their items say by name; accuracies are no sums."""
    totals: Counter[str] = Counter()
    for item in items:
        for key, value in item["properties"].get(name, {}).items():
            totals[key] += value["blocks"] if isinstance(value, dict) else value
    return dict(totals)


def _coverage(items: list[dict], rule: dict | None) -> dict[str, Any]:
    def total(name: str) -> float:
        return sum(item["properties"][f"cloudlulc:{name}_km2"] for item in items)

    region, mapped, screened = total("region"), total("mapped"), total("screened")
    return {
        "region": region,
        "mapped": mapped,
        "share": min(1.0, mapped / region) if region else 0.0,
        "cloudy": total("cloudy") / screened if screened else None,
        "rule": rule,
    }


def _failures(run: RunConfig) -> list[tuple[str, str, int, str]]:
    """(job, cause, how many keys, one of them), the most frequent cause first."""
    rows = []
    for job in launch.JOBS:
        causes: dict[tuple[str, str], list[str]] = {}
        for failure in read_failures(run.out, job):
            # What comes after the first colon names the kind; keys and numbers differ.
            causes.setdefault((job, failure.error.split(":")[0]), []).append(failure.key)
        rows += [(*cause, len(keys), keys[0]) for cause, keys in causes.items()]
    return sorted(rows, key=lambda row: -row[2])


def _said(run: RunConfig) -> list[tuple[str, str, str]]:
    """(heading, text, command that would make it): the text is "" where it was not made yet."""
    said = []
    for name, (heading, command) in SAID_BY.items():
        url = join(run.out, "reports", name)
        text = read_bytes(url).decode() if exists(url) else ""
        said.append((heading, text, command.format(out=run.out)))
    return said
