"""Starting and ending soon: what Beam and torch import stays, and is not searched for garbage.

Their imports make half a million objects. Python's collector looks through them time and again
while they are made, which is a third of the time of importing, and once more when the process ends.
"""

from __future__ import annotations

import atexit
import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def importing() -> Iterator[None]:
    """The body imports: it does so without collections, and what it brought is never looked at."""
    before, was_on = len(sys.modules), gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if len(sys.modules) > before:
            gc.freeze()
        if was_on:
            gc.enable()


# What is left when the process ends goes back to the system with it.
atexit.register(gc.freeze)
