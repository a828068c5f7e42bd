"""What people read: how the jobs went, what the products hold."""

from __future__ import annotations

from pipeline import launch
from pipeline.config import RunConfig
from pipeline.launch import JobReport
from transforms.product import item_url
from transforms.store import exists, read_json


def job_line(report: JobReport) -> str:
    """One line on a job that ended."""
    if report.todo == 0:
        return f"{report.job}: nothing to do"
    unit = "product tiles" if report.job == "mosaic" else "blocks"
    notes = [f"{report.done} {unit} in {report.seconds:.1f} s"]
    if report.failed:
        notes.append(f"{report.failed} failed")
    for name in ("blocks without optical", "blocks without SAR", "no pair"):
        count = report.counters.get(f"plan: {name}", 0)
        if count:
            notes.append(f"{count} {name}")
    for name, where in (("scenes in quarantine", " (reasons below plan/)"), ("pairs shifted", "")):
        if count := report.counters.get(f"measure: {name}", 0):
            notes.append(f"{count} {name}{where}")
    return f"{report.job}: " + ", ".join(notes)


def summary(run: RunConfig) -> str:
    """What the products of a run hold, read from their STAC items."""
    tiles, areas, screened, cloudy = [], {}, 0.0, 0.0
    for tile in run.product_tiles():
        if exists(item_url(run.out, tile.name)):
            properties = read_json(item_url(run.out, tile.name))["properties"]
            tiles.append(tile.name)
            for name, km2 in properties["cloudlulc:class_area_km2"].items():
                areas[name] = areas.get(name, 0.0) + km2
            screened += properties["cloudlulc:screened_km2"]
            cloudy += properties["cloudlulc:cloudy_km2"]
    total = sum(areas.values())
    chips = launch.finished_classify(run) * run.grid.chips_in_block
    share = f"{cloudy / screened:.0%} under cloud" if screened else "not screened for clouds"
    lines = [
        f"{run.region.name}, {run.target}: {total:,.2f} km2 mapped in {len(tiles)} product "
        f"tile(s), {chips} chips, {share}",
    ]
    for c in run.legend.classes:
        km2 = areas.get(c.name, 0.0)
        lines.append(f"  {c.name:10} {km2:12,.3f} km2 {km2 / total if total else 0:6.1%}")
    lines += [f"  {item_url(run.out, name)}" for name in tiles]
    return "\n".join(lines)


def run_text(run: RunConfig) -> str:
    """What a run is and how far it has come."""
    left = {job: launch.left(run, job) for job in launch.JOBS}
    lines = [
        f"run {run.id} in {run.out}",
        f"  region      {run.region.name}",
        f"  date        {run.target} (optical within {run.rule.max_optical_days} days, SAR within "
        f"{run.rule.max_sar_days} days of it)",
        f"  source      {run.source}",
        f"  checkpoint  {run.checkpoint} ({run.checkpoint_digest[:12]})",
        f"  layers      {', '.join(run.layers)}",
        "  left to do  " + ", ".join(f"{job}: {count}" for job, count in left.items()),
    ]
    return "\n".join([*lines, summary(run)])


def checkpoint_text(path: str) -> str:
    """What a checkpoint is."""
    from model import checkpoint  # here: what the other texts say needs no torch

    loaded = checkpoint.load(path)
    card = "\n".join(f"  {name}: {value}" for name, value in loaded.card.items())
    classes = ", ".join(f"{c.code} {c.name}" for c in loaded.legend.classes)
    return (
        f"{path}\n  digest: {loaded.digest}\n"
        f"  optical: {' '.join(loaded.inputs.optical.names)}\n"
        f"  SAR: {' '.join(loaded.inputs.sar.names)}\n"
        f"  classes: {classes}\n  temperature: {loaded.temperature:.3f}\n{card}"
    )
