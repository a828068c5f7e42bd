"""Whole shards of Zarr arrays, to bytes and back, on the caller's own thread.

Zarr writes and reads any part of an array; for that it copies what it is given, and one loop and
one pool of threads serve a whole process. A block's writer and reader take whole shards, and need
none of it. The bytes are Zarr's: its codec `sharding_indexed`, with the index at the end.
"""

from __future__ import annotations

import google_crc32c
import numpy as np

from transforms.cubes import BLOSC, ArraySpec


def encode(values: np.ndarray, chunks: tuple[int, ...] | None) -> bytes:
    """The bytes of one shard whose chunks have that shape; None: of a chunk of its own.

    Chunks that hold nothing but the fill value are written, too: what is missing was never written.
    """
    if chunks is None:
        return BLOSC.encode(np.ascontiguousarray(values))
    encoded = []
    for place in np.ndindex(*(size // n for size, n in zip(values.shape, chunks, strict=True))):
        part = tuple(slice(n * i, n * (i + 1)) for n, i in zip(chunks, place, strict=True))
        encoded.append(BLOSC.encode(np.ascontiguousarray(values[part])))
    sizes = [len(chunk) for chunk in encoded]
    starts = np.cumsum([0, *sizes[:-1]])
    index = np.stack([starts, sizes], axis=1).astype("<u8").tobytes()
    return b"".join([*encoded, index, google_crc32c.value(index).to_bytes(4, "little")])


def decode(shard: bytes, spec: ArraySpec) -> np.ndarray:
    """What a shard holds, of an array whose chunks lie one behind the other on the first axis.

    What was altered on its way is not noticed here: see `transforms/seal.py`.
    """
    values = np.empty(spec.shards or spec.chunks, spec.dtype)
    if spec.shards is None:
        BLOSC.decode(shard, values)
        return values
    count = spec.shards[0] // spec.chunks[0]
    index = np.frombuffer(shard[-16 * count - 4 : -4], "<u8").reshape(count, 2)
    for (start, size), chunk in zip(index.tolist(), np.split(values, count), strict=True):
        BLOSC.decode(memoryview(shard)[start : start + size], chunk)
    return values
