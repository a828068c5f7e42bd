"""The versions of a scheduled country: every dated run over what was known before it."""

from __future__ import annotations

from transforms.change import write_change
from transforms.merge import write_merged
from transforms.period import parse_day
from transforms.product import collection_url
from transforms.store import exists, join, list_folder
from transforms.versions import open_versions

CONFIDENCE = 60
"""Percent that both dates need in the change between two versions."""


def make_versions(series: str, rule: str) -> list[str]:
    """Bring the versions beside a series of runs up to date.

    Below `<series>-versions/<date>` lie `map`, the run of that date over the version before it,
    and `change` between these two. What was made from the same inputs is left as it is, so that a
    late scene in an old run reaches all versions after it, tile by tile.

    Args:
      series: folder of the runs, by date.
      rule: which date decides a pixel, see `transforms.merge.settle`.

    Returns:
      Addresses of the versions, oldest first.
    """
    made: list[str] = []
    for name in list_folder(series):
        run = join(series, parse_day(name).isoformat())
        if not exists(collection_url(run)):
            continue
        folder = join(f"{series}-versions", name)
        version = join(folder, "map")
        write_merged(open_versions([*made[-1:], run]), version, rule)
        if made:
            write_change(*open_versions([made[-1], version]), join(folder, "change"), CONFIDENCE)
        made.append(version)
    return made
