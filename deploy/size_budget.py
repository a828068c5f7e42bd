"""Compressed size of the worker images: estimated from wheel sizes, or read from a manifest.

    python deploy/size_budget.py                                    estimate, against the budget
    python deploy/size_budget.py --manifest gpu=manifest.json       measured, after a push
    python deploy/size_budget.py --from-lock uv.lock > deploy/wheel_sizes.csv

Image layers are gzipped and wheels are deflated, the same algorithm over nearly the same files,
so the sum of the wheels is a good estimate of the layers. `wheel_sizes.csv` holds the sizes that
PyPI states (the CPU build of torch: its file). A lock that carries sizes comes from `uv lock` in a
folder whose pyproject.toml depends on the packages of the requirement lists.
"""

from __future__ import annotations

import argparse
import csv
import json
import re
import sys
import tomllib
from pathlib import Path

FOLDER = Path(__file__).parent

BUDGET = {"cpu": 1_500_000_000, "gpu": 4_000_000_000}
"""Bytes, compressed, by image."""

REQUIREMENTS = {
    "cpu": ("requirements-torch-cpu.txt", "requirements-worker.txt"),
    "gpu": ("requirements-torch-cuda.txt", "requirements-worker.txt"),
}

BASE = {
    "python:3.11-slim-bookworm": 50_000_000,
    "libexpat, libgomp": 1_000_000,
    "/opt/apache/beam": 150_000_000,
    "cloudlulc with weights": 60_000_000,
}
"""Bytes, compressed, rounded up: assumptions, since no registry of images was asked."""

COMPILED = 1.1
"""pip compiles what it installs: bytecode adds less than a tenth to layers of this kind."""

INSTALLABLE = re.compile(
    r"-(py3|py2\.py3|cp3\d*)-(none|abi3|cp311)-(any|(manylinux|linux)[\w.]*x86_64)\.whl$"
)


def pins(path: Path) -> dict[str, str]:
    """Name -> version of a requirements file; every line must pin.

    Raises:
      ValueError: a line is not `name==version`.
    """
    found = {}
    for line in path.read_text().splitlines():
        line = line.split("#")[0].strip()
        if not line or line.startswith("--index-url "):
            continue
        match = re.fullmatch(r"([a-z0-9-]+)==([\w.+]+)", line)
        if not match:
            raise ValueError(f"{path.name}: got {line!r}, expected name==version")
        found[match[1]] = match[2]
    return found


def wheel_sizes() -> dict[tuple[str, str], int]:
    """(name, version) -> bytes, of `wheel_sizes.csv`."""
    with open(FOLDER / "wheel_sizes.csv", newline="") as f:
        return {(row["package"], row["version"]): int(row["bytes"]) for row in csv.DictReader(f)}


def estimate(image: str) -> int:
    """Compressed bytes of an image.

    Raises:
      ValueError: a package has no entry in the table.
    """
    sizes = wheel_sizes()
    total = 0
    for name in REQUIREMENTS[image]:
        for package in pins(FOLDER / name).items():
            if package not in sizes:
                raise ValueError(
                    f"{name}: {'=='.join(package)} is not in deploy/wheel_sizes.csv; make the "
                    "table again (--from-lock)"
                )
            total += sizes[package]
    return sum(BASE.values()) + round(total * COMPILED)


def measured(manifest: dict) -> int:
    """Compressed bytes of a pushed image, from what `docker manifest inspect` prints."""
    if "layers" not in manifest:
        raise ValueError("expected the manifest of one platform, with layers")
    return sum(layer["size"] for layer in manifest["layers"])


def table_from_lock(lock: dict) -> list[tuple[str, str, int]]:
    """(name, version, bytes) of what Linux and Python 3.11 would install, from a uv.lock."""
    rows = []
    for package in lock["package"]:
        wheels = [w["size"] for w in package.get("wheels", []) if INSTALLABLE.search(w["url"])]
        archive = package.get("sdist", {}).get("size")
        if wheels or archive:
            size = max(wheels) if wheels else archive
            rows.append((package["name"], package["version"], size))
    return sorted(rows)


def main(argv: list[str] | None = None) -> int:
    """Print sizes against the budget; 1 where one is over it."""
    parser = argparse.ArgumentParser("size_budget", description=__doc__.splitlines()[0])
    parser.add_argument("--manifest", action="append", metavar="IMAGE=FILE", help="of cpu or gpu")
    parser.add_argument("--from-lock", metavar="FILE", help="print wheel_sizes.csv of a uv.lock")
    args = parser.parse_args(argv)
    if args.from_lock:
        # torch without CUDA is in no lock that is made from PyPI: its row is kept.
        rows = table_from_lock(tomllib.loads(Path(args.from_lock).read_text()))
        rows += [(*key, size) for key, size in wheel_sizes().items() if key[1].endswith("+cpu")]
        csv.writer(sys.stdout, lineterminator="\n").writerows(
            [("package", "version", "bytes"), *sorted(rows)]
        )
        return 0
    if args.manifest:
        files = dict(text.split("=", 1) for text in args.manifest)
        sizes = {image: measured(json.loads(Path(f).read_text())) for image, f in files.items()}
    else:
        sizes = {image: estimate(image) for image in BUDGET}
    for image, size in sizes.items():
        print(f"{image}: {size / 1e9:.2f} GB of {BUDGET[image] / 1e9:.1f} GB, compressed")
    return int(any(size > BUDGET[image] for image, size in sizes.items()))


if __name__ == "__main__":
    sys.exit(main())
