"""Imagery from files: STAC items (a folder, an ItemCollection or a catalog) and their GeoTIFFs.

Catalogues and files lie in local folders or under gs://.
"""

from __future__ import annotations

from collections.abc import Iterator

from transforms.grid import GeoBox
from transforms.period import Period
from transforms.scene import Bounds, Raster, Scene, overlap
from transforms.sources.assets import declared_crs
from transforms.sources.catalog import read_items
from transforms.sources.headers import check_scene
from transforms.sources.hrefs import reach_of
from transforms.sources.items import scene_from_item
from transforms.sources.patience import PATIENCE, Patience
from transforms.sources.remote import ONCE, patient_attempt
from transforms.sources.windows import read_scene


class FilesSource:
    """Scenes of a STAC catalogue on disk or in a bucket.

    Attributes:
      catalog: a folder of item files (searched recursively), an ItemCollection, a catalog or
        collection (its child and item links are followed), or one item; a path or gs:// address.
      patience: how often a remote file is tried; a local one is read once.
      hosts: that items may name although they are not on the internet; see `hrefs`.
    """

    def __init__(
        self, catalog: str, patience: Patience = PATIENCE, hosts: frozenset[str] = frozenset()
    ):
        self.catalog, self.patience, self.hosts = catalog, patience, hosts
        self._index: _Index | None = None
        self._checked: set[str] = set()

    def __getstate__(self) -> dict:
        # Every process reads the catalogue itself: it may be larger than what a job may carry.
        return vars(self) | {"_index": None, "_checked": set()}

    def __repr__(self) -> str:
        return f"FilesSource({self.catalog!r})"

    def search(self, bounds: Bounds, period: Period) -> list[Scene]:
        """Scenes that touch the bounds and lie in the period; see `ImagerySource.search`."""
        return [
            scene
            for scene in self._read_index().scenes
            if overlap(scene.footprint, bounds) and scene.within(period)
        ]

    def read(self, scene: Scene, geobox: GeoBox, bands: tuple[str, ...]) -> Raster:
        """Pixels of `bands` on exactly `geobox`; see `ImagerySource.read`."""
        reach_of(self.catalog, self.hosts).check_hosts(scene)
        return read_scene(scene, geobox, bands, patient_attempt(self.patience, scene), ONCE)

    def check(self, bounds: Bounds, period: Period) -> None:
        """Open the headers of all scenes that would be used, once; see `ImagerySource.check`."""
        for scene in self.search(bounds, period):
            if scene.id not in self._checked:
                self.check_scene(scene)
                self._checked.add(scene.id)

    def check_scene(self, scene: Scene, bands: tuple[str, ...] | None = None) -> None:
        """Open the headers of a scene's files before work starts; see `headers.check_scene`.

        Raises:
          ValueError: a file will not do; the message names scene, band and file.
          SourceUnavailable: a remote file could not be opened.
        """
        reach_of(self.catalog, self.hosts).check_hosts(scene)
        check_scene(scene, self._read_index().declared, bands)

    def _read_index(self) -> _Index:
        if self._index is None:
            self._index = _Index(self.catalog, self.hosts)
        return self._index


def scenes_of(
    catalog: str, hosts: frozenset[str] = frozenset()
) -> Iterator[tuple[Scene, dict[str, str]]]:
    """Every scene of a catalogue, and the CRS that its item declares by asset href.

    Raises:
      ValueError: an item is unusable, or names what it may not; see `hrefs`.
      SourceUnavailable: the catalogue could not be read now.
    """
    reach = reach_of(catalog, hosts)
    for item, location in read_items(catalog):
        scene = scene_from_item(item, location)
        reach.check_scene(scene)
        yield scene, declared_crs(item, location)


class _Index:
    """All scenes of a catalogue, in order, and the CRS that items declare by asset href."""

    def __init__(self, catalog: str, hosts: frozenset[str]):
        found: dict[str, Scene] = {}
        self.declared: dict[str, str] = {}
        for scene, declared in scenes_of(catalog, hosts):
            if scene.id in found:
                raise ValueError(
                    f"catalog {catalog}: two items are called {scene.id!r}, "
                    f"{found[scene.id].link} and {scene.link}; give each its own id"
                )
            found[scene.id] = scene
            self.declared |= declared
        if not found:
            raise ValueError(f"catalog {catalog}: it holds no STAC item")
        self.scenes = sorted(found.values(), key=lambda s: (s.start, s.id))
