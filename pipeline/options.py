"""The options of a run, for every command that takes them. Light: --help imports this."""

from __future__ import annotations

import argparse

JOBS = {
    "run": "ingest, classify and mosaic, one after the other",
    "ingest": "fetch, pair and chip the scenes: imagery -> chip cubes",
    "classify": "run the network on the chips: chip cubes -> map cubes",
    "mosaic": "lay the maps onto the product grid: map cubes -> COG, Zarr, STAC",
}


def add_run_options(parser: argparse.ArgumentParser, needs_out: bool = True) -> None:
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
    what.add_argument("--out", required=needs_out, help="output folder or gs:// address")
    what.add_argument(
        "--layers",
        help="comma-separated map layers: lulc and any of confidence, reliability, cloud, "
        "optical_age, sar_age (default: all of these), quality, probabilities",
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
        "--no-blend",
        action="store_true",
        default=None,
        help="end chips and blocks at their borders (default: neighbours pass into each other)",
    )
    how.add_argument(
        "--speckle", choices=("none", "lee"), help="speckle filter for SAR (default: none)"
    )
    how.add_argument(
        "--cloud-mask",
        choices=("auto", "ukis-csmask"),
        help="what screens for clouds: what came with the scene or s2cloudless, or the deep model "
        "of the extra cloudlulc[clouds] (default: auto)",
    )
    how.add_argument(
        "--no-harmonise",
        action="store_true",
        default=None,
        help="keep the +1000 offset of Sentinel-2 baselines from 04.00 on",
    )
    how.add_argument(
        "--precision",
        choices=("float32", "bfloat16"),
        help="what the network computes in; bfloat16 needs AVX512-BF16 or a GPU from A100 and L4 "
        "on (default: float32)",
    )
    how.add_argument("--product-epsg", type=int, help="CRS of the product (default: 4326)")
    how.add_argument(
        "--product-resolution",
        type=float,
        help="product pixel in CRS units (default: 1/12000 degree, or 10 m)",
    )
    how.add_argument(
        "--keep-outside",
        action="store_true",
        default=None,
        help="show what was mapped outside of the region's polygon, too (default: nodata there)",
    )
    add_execution_options(parser)


def add_execution_options(parser: argparse.ArgumentParser) -> None:
    """What decides no byte."""
    run = parser.add_argument_group("how to execute it")
    run.add_argument("--max-requests", type=int, help="blocks fetched at a time (default: 16)")
    run.add_argument(
        "--max-failed", type=int, default=0, help="failed keys tolerated per job (default: 0)"
    )
    run.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="for the network")
    run.add_argument("--threads", type=int, help="torch threads per process (default: torch's)")


def add_recovery_options(parser: argparse.ArgumentParser) -> None:
    again = parser.add_argument_group("a run that was started before")
    again.add_argument(
        "--refresh",
        action="store_true",
        help="search again, and make the blocks anew whose scenes came late or were replaced",
    )
    add_lock_option(again)


def add_lock_option(parser: argparse._ActionsContainer) -> None:
    parser.add_argument(
        "--break-lock",
        action="store_true",
        help="take the folder over from a run on another host that shows no sign of life",
    )


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
