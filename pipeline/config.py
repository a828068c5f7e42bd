"""One run: everything that decides its bytes, frozen, and kept in `run.json` beside them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

import pipeline
from model.inputs import INPUTS, InputSpec
from model.legend import LULC6, Legend
from model.precision import PRECISIONS
from pipeline.identity import deciding
from pipeline.region import Region
from transforms.grid import BlockKey, Grid, TileIndex
from transforms.layers import LAYERS, choose_layers
from transforms.mapcube import unclassified
from transforms.pixels.pairing import PairRule
from transforms.pixels.prepare import PixelOptions
from transforms.plan_file import unfetched
from transforms.product import ProductGrid, ProductTile, product_tiles
from transforms.publish import Publication, is_due
from transforms.stac_product import ProductRun
from transforms.store import (
    in_parallel,
    read_bytes,
)

WEIGHTS = Path(__file__).parent.parent / "model" / "weights"

DEFAULT_CHECKPOINT = str(WEIGHTS / "tiny.safetensors")


FIRST_YEAR = 2014
MOST_DAYS = 366


@dataclass(frozen=True)
class RunConfig:
    """A run is one region, one target date, one product version, one checkpoint.

    Attributes:
      region: what is mapped.
      rule: the target date and which acquisitions may map it.
      source: of imagery, as `transforms.sources.open_source` takes it.
      out: folder or gs:// address that holds everything the run writes.
      checkpoint: path of the weights.
      checkpoint_digest: sha256 of that file; the path may change, the digest may not.
      layers: names of the map layers, `lulc` among them.
      grid: processing grid.
      options: of the pixel arithmetic.
      product: grid of the product.
      blend: whether overlapping chips and blocks pass into each other, or end at their borders.
      precision: what the network computes in, "float32" or "bfloat16".
      keep_outside: whether the product shows what was mapped outside of the region's polygon.
      max_requests: scenes' blocks fetched at a time, over all workers.
      max_failed: failed keys up to which a job still counts as done.
      device: "cpu" or "cuda".
      threads: of torch per worker process; None: torch decides.
      only: blocks that the jobs do; None: all that are left.
    """

    region: Region
    rule: PairRule
    source: str
    out: str
    checkpoint: str
    checkpoint_digest: str
    layers: tuple[str, ...] = tuple(LAYERS)
    grid: Grid = field(default_factory=Grid)
    options: PixelOptions = field(default_factory=PixelOptions)
    product: ProductGrid = field(default_factory=ProductGrid)
    blend: bool = True
    precision: str = "float32"
    keep_outside: bool = False
    max_requests: int = 16
    max_failed: int = 0
    device: str = "cpu"
    threads: int | None = None
    only: frozenset[BlockKey] | None = None

    def __post_init__(self):
        if "lulc" not in self.layers or len(choose_layers(self.layers)) != len(self.layers):
            raise ValueError(f"layers: got {','.join(self.layers)}, expected lulc, and each once")
        if self.max_requests < 1 or self.max_failed < 0:
            raise ValueError(
                f"max-requests, max-failed: got {self.max_requests} and {self.max_failed}, "
                "expected 1 or more, and 0 or more"
            )
        coarser = self.grid.resolution / 2 / self.product.metres
        if coarser > 1:
            raise ValueError(
                f"product-resolution: got {self.product.resolution:g} in EPSG:{self.product.epsg}, "
                f"about {self.product.metres:.2g} m, and the map's pixels have "
                f"{self.grid.resolution} m: finer than half of that shows nothing more; choose "
                f"{self.product.resolution * coarser:.2g} or more"
            )
        if self.precision not in PRECISIONS:
            raise ValueError(
                f"precision: got {self.precision!r}, expected one of {', '.join(PRECISIONS)}"
            )
        if self.threads is not None and self.threads < 1:
            raise ValueError(f"threads: got {self.threads}, expected 1 or more")
        if self.target.year < FIRST_YEAR:
            raise ValueError(f"date: got {self.target}, and Sentinel-1 flies since {FIRST_YEAR}")
        if max(self.rule.max_optical_days, self.rule.max_sar_days) > MOST_DAYS:
            raise ValueError(
                f"max-optical-days, max-sar-days: got {self.rule.max_optical_days} and "
                f"{self.rule.max_sar_days}, expected {MOST_DAYS} at most: what was seen earlier "
                "says little of the date"
            )

    @property
    def inputs(self) -> InputSpec:
        return INPUTS

    @property
    def legend(self) -> Legend:
        return LULC6

    @property
    def target(self) -> date:
        return self.rule.target

    @property
    def blended(self) -> bool:
        """Whether there is an overlap, and it is to be blended."""
        return self.blend and self.grid.reach > 0

    def tiles(self) -> list[TileIndex]:
        return list(self.grid.tiles_covering(self.region.geometry))

    def blocks(self) -> Iterator:
        for tile in self.tiles():
            yield from self.grid.blocks(tile, self.region.geometry)

    def product_tiles(self) -> list[ProductTile]:
        return product_tiles(self.region.geometry, self.product)

    def publication(self) -> Publication:
        """What the product tiles are made from and say of themselves."""
        run = ProductRun(
            id=f"cloudlulc-{self.id}",
            region=self.region.name,
            target_date=self.target,
            legend=self.legend,
            layers=choose_layers(self.layers),
            checkpoint=Path(self.checkpoint).stem,
            checkpoint_digest=self.checkpoint_digest,
            version=pipeline.__version__,
            precision=self.precision,
        )
        where = self.out, self.region.geometry, self.grid
        return Publication(*where, run, self.checkpoint, self.keep_outside, self.blended)

    def blocks_to_fetch(self, tile: TileIndex) -> set[BlockKey]:
        """Blocks of a tile that ingest has still to do; all where the tile has no plan."""
        return unfetched(self.out, tile, self.grid, self.region.geometry, self.only)

    def blocks_to_classify(self, tile: TileIndex) -> set[BlockKey]:
        left = set(unclassified(tile, self.out, self.grid))
        return left if self.only is None else left & self.only

    def tiles_to_publish(self) -> list[ProductTile]:
        """Product tiles with map blocks that they do not show yet."""
        publication = self.publication()
        tiles = self.product_tiles()
        due = in_parallel(lambda tile: is_due(tile, publication), tiles)
        return [tile for tile, is_one in zip(tiles, due, strict=True) if is_one]

    def tiles_to_fetch(self) -> list[TileIndex]:
        """Tiles with blocks to fetch."""
        tiles = self.tiles()
        left = in_parallel(self.blocks_to_fetch, tiles)
        return [tile for tile, blocks in zip(tiles, left, strict=True) if blocks]

    def to_dict(self) -> dict:
        """What decides the bytes of the run, and where its weights lie.

        How it is executed (workers, device) stays out.
        """
        return {
            "region": self.region.to_dict(),
            "date": self.target.isoformat(),
            "max_optical_days": self.rule.max_optical_days,
            "max_sar_days": self.rule.max_sar_days,
            "optical": self.rule.optical,
            "stale_sar_days": self.rule.stale_sar_days,
            "source": self.source,
            "checkpoint": self.checkpoint,
            "checkpoint_digest": self.checkpoint_digest,
            "layers": list(self.layers),
            "grid": vars(self.grid).copy(),
            "options": vars(self.options).copy(),
            "product": vars(self.product).copy(),
            "blend": self.blend,
            "precision": self.precision,
            "keep_outside": self.keep_outside,
            "legend": self.legend.name,
            "software": f"cloudlulc {pipeline.__version__}",
        }

    @property
    def id(self) -> str:
        """Derives from what decides the bytes: equal runs have equal ids."""
        text = repr(sorted(deciding(self.to_dict()).items()))
        return hashlib.sha256(text.encode()).hexdigest()[:12]


def file_digest(path: str) -> str:
    """sha256 of a file, local or gs://. Raises ValueError where there is none."""
    try:
        return hashlib.sha256(read_bytes(path)).hexdigest()
    except OSError as error:
        why = error.strerror or error
        raise ValueError(f"checkpoint: {path} cannot be read: {why}") from None
