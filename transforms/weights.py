"""Checkpoints by their address: a local path, or one below gs://."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from model.card import read_card
from transforms.store import is_local, local_path, read_bytes

if TYPE_CHECKING:
    from model.checkpoint import Checkpoint


def load_checkpoint(url: str) -> Checkpoint:
    """The checkpoint at `url`.

    Raises:
      FileNotFoundError: nothing lies under the gs:// address.
      ValueError: what lies there is no checkpoint.
    """
    from model import checkpoint

    with _as_file(url) as path:
        return checkpoint.load(path)


def load_card(url: str, digest: str) -> dict:
    """The card of the checkpoint at `url`; neither its network is made nor torch needed.

    Raises:
      FileNotFoundError: nothing lies under the gs:// address.
      ValueError: the checkpoint there is another one than that of `digest`.
    """
    with _as_file(url) as path:
        found = hashlib.sha256(path.read_bytes()).hexdigest()
        if found != digest:
            raise ValueError(
                f"checkpoint {url}: its digest is {found[:12]}, the maps were made with "
                f"{digest[:12]}; name that one by --checkpoint"
            )
        return read_card(path)


@contextmanager
def _as_file(url: str) -> Iterator[Path]:
    """The file itself, or a copy for as long as the body runs: its format is read from a file."""
    if is_local(url):
        yield Path(local_path(url))
        return
    with tempfile.TemporaryDirectory(prefix="cloudlulc-") as folder:
        path = Path(folder) / url.rpartition("/")[2]
        path.write_bytes(read_bytes(url))
        yield path
