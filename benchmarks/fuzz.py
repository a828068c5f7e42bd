"""Malformed input for every parser: refused with a clear error, or read; nothing else.

    python -m benchmarks.fuzz [--examples 10000] [PARSER ...]

Valid documents are damaged by hypothesis, without a random seed: same code, same examples. Prints a
JSON line per parser. `tests/hostile/test_parsers.py` does the same with few examples.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import platform
import signal
import sys
import tempfile
import time
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings

from benchmarks.fuzzed_parsers import PARSERS, Parser
from transforms.scene import SourceUnavailable

SECONDS = 20
"""A parser that takes longer hangs."""


class Hang(Exception):
    """A parser took more than SECONDS."""


_writes: list[str] = []
_watching: list[str] = []  # the folder that may be written to, while a parser is at work


def _audit(event: str, arguments: tuple) -> None:
    if _watching and event == "open" and isinstance(arguments[0], str):
        writes = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
        path = os.path.abspath(arguments[0])
        if (arguments[2] or 0) & writes and not path.startswith(_watching[0] + os.sep):
            _writes.append(path)


sys.addaudithook(_audit)


def outcome(parser: Parser, data: bytes, folder: Path) -> str:
    """What a parser makes of the bytes: "read" or "refused".

    Raises:
      Exception: whatever it raised that is no clear error.
      Hang: it did not end.
    """

    def hang(*_: Any) -> None:
        raise Hang(f"more than {SECONDS} s")

    before, _writes[:] = signal.signal(signal.SIGALRM, hang), []
    signal.alarm(SECONDS)
    logging.disable()  # sources log each item that is of no use
    _watching.append(str(folder))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            parser.parse(data, folder)
        return "read"
    except (ValueError, SourceUnavailable) as error:
        # Subclasses are what a library says: which file, and what to do, is ours to say.
        if type(error) not in (ValueError, SourceUnavailable) or not str(error):
            raise AssertionError(f"no clear error: {error!r}") from error
        return "refused"
    finally:
        _watching.clear()
        logging.disable(logging.NOTSET)
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
        if _writes:
            raise AssertionError(f"wrote {_writes[0]}")


def fuzz(name: str, examples: int, folder: Path) -> Counter:
    """How often a parser read and refused.

    Raises:
      Exception: of the first example, shrunk, that ended otherwise.
    """
    parser, counted = PARSERS[name], Counter()

    @settings(
        max_examples=examples,
        derandomize=True,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
        phases=(Phase.generate, Phase.shrink),
    )
    @given(parser.strategy())
    def every(data: bytes) -> None:
        for old in folder.iterdir():
            old.unlink()
        counted[outcome(parser, data, folder)] += 1

    every()
    return counted


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("parsers", nargs="*", metavar="PARSER", help=", ".join(PARSERS))
    options.add_argument("--examples", type=int, default=10_000, help="of each parser")
    args = options.parse_args()
    failed = 0
    for name in args.parsers or PARSERS:
        began = time.monotonic()
        line: dict[str, Any] = {"parser": name, "examples": args.examples}
        with tempfile.TemporaryDirectory() as folder:
            try:
                line |= fuzz(name, args.examples, Path(folder).resolve())
            except Exception as error:  # noqa: BLE001 the finding is the result
                line |= {"failed": f"{type(error).__name__}: {error}"[:500]}
                failed += 1
        line["seconds"] = round(time.monotonic() - began, 1)
        print(json.dumps(line | {"machine": platform.machine()}), flush=True)
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()
