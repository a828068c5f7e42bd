"""The card of a checkpoint, read without its weights and without torch."""

from __future__ import annotations

import json
from pathlib import Path

from safetensors import safe_open

METADATA_KEY = "cloudlulc"
"""Of the one text in a checkpoint's metadata: safetensors writes several in random order."""


def read_card(path: str | Path) -> dict:
    """Licence, training data and scores of a checkpoint that `model.checkpoint.load` takes."""
    with safe_open(path, framework="np") as file:
        return json.loads(file.metadata()[METADATA_KEY])["card"]
