"""The command line. Only the parser lives here: what a command needs is imported when it runs."""

from __future__ import annotations

import argparse
import logging
import sys

from pipeline import __version__

EXIT_OK, EXIT_FAILED, EXIT_BAD_INPUT = 0, 1, 2

DESCRIPTION = """\
Land-cover maps of a given date, cloud or not, from Sentinel-1 and Sentinel-2.

  cloudlulc run --region ghana --date 2024-06-15 --source files:my/catalog --out maps/ghana
"""

EPILOG = """\
Flags of Apache Beam follow after a lone --, for instance:
  cloudlulc run ... -- --direct_num_workers=2 --direct_running_mode=multi_processing

Exit codes: 0 done, 1 a job failed (see failures/ in the output folder), 2 bad input.
"""

JOBS = {
    "run": "ingest, classify and mosaic, one after the other",
    "ingest": "fetch, pair and chip the scenes: imagery -> chip cubes",
    "classify": "run the network on the chips: chip cubes -> map cubes",
    "mosaic": "lay the maps onto the product grid: map cubes -> COG, Zarr, STAC",
}


def main(argv: list[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    argv = list(sys.argv[1:] if argv is None else argv)
    argv, beam_args = _split(argv)
    args = build_parser().parse_args(_join_negative_region(argv))
    from pipeline import commands
    from transforms.store import storage_errors

    # gcsfs prints a traceback of whatever it raises.
    logging.getLogger("gcsfs").setLevel(logging.CRITICAL)
    try:
        return commands.COMMANDS[args.command](args, beam_args)
    except ValueError as error:
        print(f"cloudlulc {args.command}: {error}", file=sys.stderr)
        return EXIT_BAD_INPUT
    except storage_errors() as error:
        urls = [value for value in vars(args).values() if isinstance(value, str) and "://" in value]
        where = f"storage ({', '.join(urls)})" if urls else "storage"
        print(
            f"cloudlulc {args.command}: {where} refused, {type(error).__name__}: {error}; mend "
            "that and run the same command again: what is finished stays",
            file=sys.stderr,
        )
        return EXIT_FAILED


def _split(argv: list[str]) -> tuple[list[str], list[str]]:
    """What stands before and after a lone `--`: ours, and Beam's."""
    if "--" not in argv:
        return argv, []
    cut = argv.index("--")
    return argv[:cut], argv[cut + 1 :]


def _join_negative_region(argv: list[str]) -> list[str]:
    """`--region -17,13,-13,14` -> `--region=-17,...`: argparse takes the box for an option."""
    joined = list(argv)
    for i in range(len(joined) - 2, -1, -1):
        if joined[i] == "--region" and joined[i + 1][:2].strip("-").isdigit():
            joined[i : i + 2] = [f"--region={joined[i + 1]}"]
    return joined


def build_parser() -> argparse.ArgumentParser:
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(
        "cloudlulc", description=DESCRIPTION, epilog=EPILOG, formatter_class=formatter
    )
    parser.add_argument("--version", action="version", version=f"cloudlulc {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, summary: str, description: str = "") -> argparse.ArgumentParser:
        return commands.add_parser(
            name,
            help=summary,
            description=description or summary,
            epilog=EPILOG if name in (*JOBS, "submit", "schedule") else None,
            formatter_class=formatter,
        )

    for name, summary in JOBS.items():
        add_run_options(
            command(
                name,
                summary,
                f"{summary}.\n\nA run that was started before goes on where it stopped: then "
                "--out alone is enough,\nand options that differ from run.json are an error.",
            )
        )
    _add_submit_options(
        command(
            "submit",
            "the jobs on Google Cloud Dataflow",
            "Run the jobs on Google Cloud Dataflow, one after the other, and wait for them.\n\n"
            "A job that has nothing left to do is not started; one that is running is waited for.",
        )
    )
    _add_schedule_options(
        command(
            "schedule",
            "which countries are mapped when: show, list what is due, run it",
            "render prints every country's newest run, due what has to be run and why, run runs "
            "it here.",
        )
    )
    info = command("info", "what a run or a checkpoint holds; or: info regions")
    info.add_argument("what", help="output folder, .safetensors file, or the word regions")
    inspect = command(
        "inspect",
        "what the pixels of scenes say of their metadata",
        "Look at scenes: offset, defects, range of values, shift of SAR against optical.\n\n"
        "Exit code 1 where a scene belongs in quarantine.",
    )
    inspect.add_argument(
        "items", nargs="+", metavar="ITEM", help="STAC item, folder of items, or catalog"
    )
    _add_train_options(command("train", "train the network on a CloudLULC-Set folder"))
    return parser


def add_run_options(parser: argparse.ArgumentParser) -> None:
    what = parser.add_argument_group("what to map")
    what.add_argument(
        "--region",
        help="GeoJSON file (gs:// too), west,south,east,north in degrees, or a shipped country",
    )
    what.add_argument("--date", help="target date, YYYY-MM-DD")
    what.add_argument(
        "--source",
        help="files:FOLDER_OR_CATALOG (STAC items + GeoTIFF), stac:PRESET_OR_FILE[,sar=...] (STAC "
        "API), earthengine:PROJECT, or synthetic:[seed=N]; see docs/sources.md",
    )
    what.add_argument("--out", required=True, help="output folder or gs:// address")
    what.add_argument(
        "--layers",
        help="comma-separated map layers: lulc and any of confidence, reliability, cloud, "
        "optical_age, sar_age (default: all)",
    )
    how = parser.add_argument_group("how to map it")
    how.add_argument("--checkpoint", help="weights, .safetensors (default: the shipped ones)")
    how.add_argument(
        "--max-optical-days", type=int, help="optical at most this far from the date (default: 10)"
    )
    how.add_argument(
        "--max-sar-days", type=int, help="SAR at most this far from the optical (default: 12)"
    )
    how.add_argument(
        "--optical",
        choices=("nearest", "least-cloudy"),
        help="which optical pass within reach (default: nearest, however cloudy)",
    )
    how.add_argument(
        "--stale-sar-days",
        type=int,
        help="SAR further from the optical than this is counted as stale (default: 6)",
    )
    how.add_argument(
        "--inputs",
        choices=("measure", "trust"),
        help="measure each pair's shift and offset first, or trust metadata (default: measure)",
    )
    how.add_argument("--chip-size", type=int, help="network input, px (default: 512)")
    how.add_argument("--halo", type=int, help="context per side of a chip, px (default: 32)")
    how.add_argument(
        "--speckle", choices=("none", "lee"), help="speckle filter for SAR (default: none)"
    )
    how.add_argument(
        "--no-harmonise",
        action="store_true",
        default=None,
        help="keep the +1000 offset of Sentinel-2 baselines from 04.00 on",
    )
    how.add_argument("--product-epsg", type=int, help="CRS of the product (default: 4326)")
    how.add_argument(
        "--product-resolution",
        type=float,
        help="product pixel in CRS units (default: 1/12000 degree, or 10 m)",
    )
    run = parser.add_argument_group("how to execute it")
    run.add_argument("--max-requests", type=int, help="blocks fetched at a time (default: 16)")
    run.add_argument(
        "--max-failed", type=int, default=0, help="failed keys tolerated per job (default: 0)"
    )
    run.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="for the network")
    run.add_argument("--threads", type=int, help="torch threads per process (default: torch's)")


def _add_submit_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("jobs", nargs="+", choices=JOBS, metavar="JOB", help=", ".join(JOBS))
    add_run_options(parser)
    place = parser.add_argument_group("where Dataflow runs it")
    place.add_argument("--gcp-project", required=True, help="project of Google Cloud")
    place.add_argument("--gcp-region", required=True, help="region of Google Cloud: europe-west4")
    place.add_argument("--temp", required=True, help="gs:// folder for staged and temporary files")
    place.add_argument("--network", help="VPC network of the workers")
    place.add_argument("--subnetwork", help="its subnetwork, by name or path")
    place.add_argument(
        "--no-public-ips", action="store_true", help="workers have no public address"
    )
    place.add_argument("--service-account", help="e-mail address that the workers act as")
    place.add_argument("--labels", help="labels of the jobs: key=value,...")
    workers = parser.add_argument_group("what it runs on")
    workers.add_argument("--image", help="container image of the workers (default: Beam's own)")
    workers.add_argument(
        "--setup-file",
        help="setup.py of the package that workers install (default: this checkout's), or none "
        "where the image holds it",
    )
    workers.add_argument(
        "--max-workers", type=int, help="workers a job (default: Dataflow's limit)"
    )
    for job in ("ingest", "mosaic"):
        workers.add_argument(f"--machine-type-{job}", help=f"workers of {job}")
    add_gpu_options(parser)
    how = parser.add_argument_group("how it is submitted")
    how.add_argument("--template", help="gs:// folder of Flex Templates to launch the jobs from")
    how.add_argument("--dry-run", action="store_true", help="print the requests, send nothing")
    how.add_argument("--detach", action="store_true", help="start one job and do not wait for it")


def add_gpu_options(parser: argparse.ArgumentParser) -> None:
    gpu = parser.add_argument_group("what classify runs on")
    gpu.add_argument("--machine-type-classify", help="workers of classify")
    gpu.add_argument("--gpu", help="TYPE:COUNT a worker: nvidia-l4:1; also TYPE:COUNT:DRIVER")
    gpu.add_argument(
        "--gpu-process-model",
        choices=("one-per-gpu", "mps"),
        help="one process a GPU, or one a core that share it by MPS (default: one-per-gpu)",
    )
    gpu.add_argument(
        "--right-fitting",
        action="store_true",
        help="ask for the GPU by resource hints on the network's steps, not by service option",
    )


def _add_schedule_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", choices=("render", "due", "run"))
    parser.add_argument("--file", required=True, help="the schedule: deploy/schedule.toml")
    parser.add_argument("--date", help="the day taken for today (default: today, UTC)")
    parser.add_argument("--country", action="append", help="only this one; may be repeated")
    parser.add_argument("--due", action="store_true", help="run: only what is due, not every one")
    parser.add_argument("--json", action="store_true", help="render, due: for machines")


def _add_train_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("dataset", help="folder in the layout of CloudLULC-Set")
    parser.add_argument("--out", required=True, help="folder for checkpoints and metrics")
    parser.add_argument("--preset", default="tiny", help="tiny, base or large (default: tiny)")
    parser.add_argument("--start", help="checkpoint to start from (default: random weights)")
    parser.add_argument("--steps", type=int, default=40_000, help="in all (default: 40000)")
    parser.add_argument("--batch", type=int, default=16, help="crops per step (default: 16)")
    parser.add_argument("--crop", type=int, default=256, help="side of a crop, px (default: 256)")
    parser.add_argument("--lr", type=float, default=4e-4, help="peak rate (default: 4e-4)")
    parser.add_argument("--warmup", type=int, default=1500, help="steps to the peak rate")
    parser.add_argument("--seed", type=int, default=0, help="(default: 0)")
    parser.add_argument("--save-every", type=int, default=500, help="steps between saved states")
    parser.add_argument(
        "--validate-every", type=int, default=1000, help="steps between validations"
    )
    parser.add_argument(
        "--card", help="JSON file for the checkpoint's card: data, licences, limits"
    )
    parser.add_argument("--threads", type=int, help="torch threads (default: torch's)")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument(
        "--labels-from-1", action="store_true", help="labels are 1..6, not 0..5, in the files"
    )
