"""Dead letters: which keys a run's jobs gave up on, by cause, and trying just those again."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

from pipeline.config import RunConfig
from pipeline.launch import JOBS
from transforms.failures import Failure, read_failures
from transforms.grid import BlockKey

CAUSES = 5
"""Causes that are printed; failures/*.jsonl has all."""

_PARTICULAR = (
    (re.compile(r"\b\d{1,2}[NS]/x-?\d+y-?\d+(/r\d+c\d+)?"), "KEY"),
    (re.compile(r"\b[a-z][a-z0-9+.-]*://[^\s,;]+"), "URL"),
    (re.compile(r"(?<![\w.])/[^\s,;:]+"), "PATH"),
    (re.compile(r"\bS[12][A-D]_\w+"), "SCENE"),
    (re.compile(r"\b[0-9a-f]{8,}\b"), "HASH"),
    (re.compile(r"\d+(\.\d+)?"), "N"),
)


def cause(failure: Failure) -> str:
    """What a failure has in common with others of its kind: keys, addresses, numbers left out."""
    text = failure.error
    for pattern, name in _PARTICULAR:
        text = pattern.sub(name, text)
    return f"{failure.stage}: {text}"


def by_cause(failures: Iterable[Failure]) -> list[str]:
    """One line a cause, the most frequent first, with the first of its failures as it was said."""
    failures = sorted(failures)
    counts = Counter(cause(failure) for failure in failures)
    first = {cause(failure): failure for failure in reversed(failures)}
    lines = []
    for name, count in counts.most_common(CAUSES):
        key, stage, error = first[name]
        lines.append(f"  {count} x {stage}, {key}: {error}")
    if len(counts) > CAUSES:
        lines.append(f"  and {len(counts) - CAUSES} more causes")
    return lines


def failed_blocks(run: RunConfig) -> frozenset[BlockKey]:
    """Blocks that the last attempts of ingest and classify gave up on.

    A tile that could not be planned stands for all of its blocks.
    """
    names = {f.key for job in ("ingest", "classify") for f in read_failures(run.out, job)}
    return frozenset(key for key in run.blocks() if {str(key), str(key.tile)} & names)


def anything_failed(run: RunConfig) -> bool:
    return any(read_failures(run.out, job) for job in JOBS)
