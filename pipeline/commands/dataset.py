"""`cloudlulc dataset build`: a data set from any imagery source and a land-cover product."""

from __future__ import annotations

import argparse

from pipeline import EXIT_FAILED, EXIT_OK

DESCRIPTION = """\
Make a data set in the layout of CloudLULC-Set, for train and evaluate: pairs of a region and date
with clouds as they come, their cloud masks, a clear image where there is one, and labels from a
land-cover product. Places, never patches, are drawn into train, val and test.

A build that was stopped goes on with the same command. See docs/dataset.md.
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", choices=("build",))
    parser.add_argument("out", help="folder of the data set, or gs:// address")
    what = parser.add_argument_group("what it shows")
    what.add_argument(
        "--region",
        required=True,
        help="GeoJSON file (gs:// too), west,south,east,north in degrees, or a shipped country",
    )
    what.add_argument("--date", required=True, nargs="+", help="target dates, YYYY-MM-DD")
    what.add_argument("--source", required=True, help="imagery; see cloudlulc run --help")
    what.add_argument("--labels", required=True, help="raster, or folder of rasters; gs:// too")
    what.add_argument(
        "--label-product",
        required=True,
        help="whose codes they hold: worldcover (our own maps, too), dynamicworld or lulc6 (0-5)",
    )
    how = parser.add_argument_group("how it is made")
    how.add_argument("--patch", type=int, default=512, help="pixels per side (default: 512)")
    how.add_argument("--blocks", type=int, help="only so many blocks of 2 x 2 patches, drawn")
    how.add_argument(
        "--clear-days", type=int, default=60, help="reach for a clear image (default: 60)"
    )
    how.add_argument(
        "--max-optical-days", type=int, default=10, help="optical from the date (default: 10)"
    )
    how.add_argument(
        "--max-sar-days", type=int, default=12, help="SAR from the optical (default: 12)"
    )
    how.add_argument(
        "--inputs",
        choices=("measure", "trust"),
        default="measure",
        help="measure each pair's shift and offset first, or trust metadata (default: measure)",
    )
    split = parser.add_argument_group("how it is split")
    split.add_argument(
        "--split-by-place",
        choices=("block", "tile"),
        default="block",
        help="what is drawn: blocks of 2 x 2 patches, or tiles of 10 x 10 blocks (default: block)",
    )
    split.add_argument(
        "--shares", default="70,10,20", help="of train, val and test (default: 70,10,20)"
    )
    split.add_argument("--seed", type=int, default=0, help="of what is drawn (default: 0)")


def run(args: argparse.Namespace, beam_args: list[str]) -> int:
    """Make what is missing of a data set; fails where a block could not be made, or none was."""
    from dataclasses import replace

    from model.legend import CROSSWALKS, IGNORE_INDEX
    from pipeline.arguments import absolute, absolute_source
    from pipeline.progress import say
    from pipeline.region import load_region
    from transforms.dataset_build import SplitRule, build, choose_blocks
    from transforms.grid import Grid
    from transforms.labelled_patches import PatchMaker
    from transforms.other_map import OtherRasters
    from transforms.period import parse_day
    from transforms.pixels.pairing import PairRule
    from transforms.pixels.prepare import PixelOptions
    from transforms.scene import SourceUnavailable
    from transforms.sources import open_source

    if args.label_product not in CROSSWALKS:
        raise ValueError(
            f"--label-product: got {args.label_product!r}, expected one of {sorted(CROSSWALKS)}"
        )
    for name, least in (("blocks", 1), ("clear_days", 0)):
        number = getattr(args, name)
        if number is not None and number < least:
            option = f"--{name.replace('_', '-')}"
            raise ValueError(f"{option}: got {number}, expected {least} or more")
    days = [parse_day(text) for text in args.date]
    rule = PairRule(days[0], args.max_optical_days, args.max_sar_days)
    split_rule = SplitRule(args.split_by_place, _shares(args.shares), args.seed)
    grid = Grid(chip_size=args.patch, halo=0)
    region = load_region(args.region)
    blocks = choose_blocks(grid, region.geometry, args.blocks, args.seed)
    split_rule.assign(key for keys in blocks.values() for key in keys)
    out, source = absolute(args.out), open_source(absolute_source(args.source))
    try:
        for tile in blocks:
            for day in days:
                source.check(grid.footprint(tile), replace(rule, target=day).period)
    except SourceUnavailable as error:
        raise ValueError(str(error)) from error
    nodata = 0 if args.label_product == "worldcover" else IGNORE_INDEX
    with OtherRasters(absolute(args.labels), nodata) as labels:
        _remember(out, args, region.to_dict())
        maker = PatchMaker(
            grid,
            source,
            PixelOptions(inputs=args.inputs),
            labels.read,
            CROSSWALKS[args.label_product],
        )
        summary = build(out, blocks, days, rule, args.clear_days, split_rule, maker, say)
    for line in summary.failed[:5]:
        say(f"  {line}")
    print(_text(summary))
    return EXIT_OK if not summary.failed and any(summary.patches.values()) else EXIT_FAILED


def _shares(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise ValueError(f"--shares: got {text!r}, expected numbers such as 70,10,20") from None


def _remember(out: str, args: argparse.Namespace, region: dict) -> None:
    """Write what the data set is made of; raise ValueError where it was made of something else."""
    from pipeline.arguments import absolute, absolute_source
    from transforms.store import exists, join, read_json, write_json

    made_of = {k: v for k, v in vars(args).items() if k not in ("command", "action", "out")}
    made_of |= {
        "region": region,
        "source": absolute_source(args.source),
        "labels": absolute(args.labels),
    }
    url = join(out, "dataset.json")
    if not exists(url):
        write_json(url, made_of)
        return
    before, now = read_json(url), _json(made_of)
    other = sorted(k for k in before.keys() | now.keys() if before.get(k) != now.get(k))
    if other:
        raise ValueError(
            f"{out} was built with other options ({', '.join(other)}; see {url}); use the same "
            "ones, or another folder"
        )


def _json(document: dict) -> dict:
    import json

    return json.loads(json.dumps(document))


def _text(summary) -> str:
    lines = [f"{split}: {count} patches" for split, count in summary.patches.items()]
    lines += [f"left out, {reason}: {count}" for reason, count in sorted(summary.skipped.items())]
    empty = [split for split, count in summary.patches.items() if not count]
    if empty:
        lines.append(f"without a patch, and without a list: {', '.join(empty)}")
    if summary.failed:
        lines.append(f"failed: {len(summary.failed)}; the same command tries them again")
    return "\n".join(lines)
