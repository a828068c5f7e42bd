"""Runs the main job on the shipped sample: `make demo`.

Every place of demo.json is one run of `cloudlulc run`, with smaller chips than the default, since
these scenes are small. What is finished is not done again.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

SAMPLE = Path(__file__).parent
CHIPS = ("--chip-size=256", "--halo=32")


def arguments(run: dict, out: Path) -> list[str]:
    """The command line that maps one place of the demo."""
    return [
        "run",
        f"--region={SAMPLE / run['region']}",
        f"--date={run['date']}",
        f"--source=files:{SAMPLE / 'catalog.json'}",
        f"--out={out / run['name']}",
        *CHIPS,
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("out/demo"), help="folder of the runs")
    out = parser.parse_args().out
    print("Loading Beam and torch ...", file=sys.stderr, flush=True)
    from pipeline.cli import main as cloudlulc

    began = time.monotonic()
    runs = json.loads((SAMPLE / "demo.json").read_text(encoding="utf-8"))
    for number, run in enumerate(runs, 1):
        print(f"\n[{number}/{len(runs)}] {run['note']}", file=sys.stderr, flush=True)
        code = cloudlulc(arguments(run, out))
        if code:
            return code
    seconds = time.monotonic() - began
    print(
        f"\nMapped {len(runs)} places in {seconds:.0f} s. For each place and product tile, under "
        f"{out}/PLACE/product/TILE/:\n"
        "  TILE.png                  quicklook with legend and scale\n"
        "  TILE_lulc.tif             land-cover class (GeoTIFF with colours, opens in QGIS)\n"
        "  TILE_confidence.tif, TILE_reliability.tif, TILE_cloud.tif,\n"
        "  TILE_optical_age.tif, TILE_sar_age.tif     the evidence for each pixel\n"
        "  TILE.zarr                 all layers, for xarray\n"
        "  TILE.json                 STAC item: inputs, checkpoint, class areas"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
