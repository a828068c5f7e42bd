"""Pixel arithmetic in plain numpy: no Beam, no torch, no network access."""
