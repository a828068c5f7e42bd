"""The network's forward pass: float32 as it is usually written, and the ways we compute it.

    python -m benchmarks.network [CHECKPOINT] [--real DATA] [--threads 1 2] [--repeats 7]

Chips of 512 x 512 pixels, as many at once as there are threads, each on one of them, as `Predictor`
has it. The ways:

    eager     float32, every layer over the whole map, torch's own dilated convolution and average
    autocast  the same under torch's autocast to bfloat16
    float32   what `--precision float32` runs
    bfloat16  what `--precision bfloat16` runs

The first two run in a process as torch has it, the others in one that keeps its memory, as
`Predictor` does; all take turns.

Checked in the same run: classes against `eager`, where that is sure to 60 % and more. Then the
presets: parameters, multiply-adds, peak memory, rate; and what the bytes and operations of a
forward pass would cost an H100, which is computed, not measured. Chips are the real ones of the
canary (64 pixels each, laid side by side), or with --real the scenes of `real_scenes`.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from statistics import median

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.bf16 import CONFIDENT, real_chips
from benchmarks.timing import context, interleaved, print_line, print_table, ratio
from model import layers, orm
from model.canary import golden_chips
from model.checkpoint import Checkpoint, load
from model.config import PRESETS
from model.layers import FarDepthwise
from model.network import CloudLULCNet
from model.predict import keep_freed_memory

SIZE = 512
FASTER, SAME = 2.5, 0.999
TINY = Path(orm.__file__).parent / "weights" / "tiny.safetensors"
H100 = {"GB/s": 3350, "bfloat16 TFLOP/s": 989}  # SXM, from NVIDIA's data sheet, without sparsity

AS_WRITTEN = ("eager", "autocast")

Forward = Callable[[Tensor, Tensor], Tensor]


def as_usually_written(network: CloudLULCNet) -> CloudLULCNet:
    """The same network of torch's own layers; see `as_written` for the rest of it."""
    for part in network.modules():
        if isinstance(part, FarDepthwise):
            part.forward = lambda x, p=part: F.conv2d(
                x, p.weight, p.bias, padding=9, dilation=3, groups=p.groups
            )
    return network


@contextmanager
def as_written() -> Iterator[None]:
    """Layers are torch's meanwhile and work on whole maps, as in training."""
    plain, mean_around = layers.plain, orm.mean_around
    layers.plain = orm.plain = lambda x: True
    orm.mean_around = lambda x: F.avg_pool2d(x, 7, 1, 3, count_include_pad=False)
    try:
        yield
    finally:
        layers.plain = orm.plain = plain
        orm.mean_around = mean_around


def ways_of(make: Callable[[], CloudLULCNet], usual: bool) -> dict[str, Forward]:
    """Name -> (optical, SAR) -> logits (1,classes,y,x): of the usual ways, or of ours."""
    full = make().to(memory_format=torch.channels_last)
    if not usual:
        half = make().in_bfloat16().to(memory_format=torch.channels_last)
        return {
            "float32": lambda *chip: full(*chip).logits,
            "bfloat16": lambda *chip: half(*chip).logits,
        }
    as_usually_written(full)

    def autocast(*chip: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            return full(*chip).logits

    return {"eager": lambda *chip: full(*chip).logits, "autocast": autocast}


class Side:
    """A process that computes chips in the usual ways, or in ours."""

    def __init__(self, checkpoint: Path, chips: list[tuple[Tensor, Tensor]], usual: bool):
        fresh = get_context("spawn")
        arrays = [tuple(x.numpy() for x in chip) for chip in chips]
        given = checkpoint, arrays, usual
        self.pool = ProcessPoolExecutor(1, fresh, initializer=_begin, initargs=given)

    def logits(self, name: str, chip: int, number: int = 1) -> Tensor:
        return torch.from_numpy(self.pool.submit(_compute, name, chip, number).result().copy())

    def run(self, name: str, number: int) -> None:
        """Computes the first chip, as many times at once."""
        self.pool.submit(_run, name, number).result()


_HERE: dict = {}


def _begin(checkpoint: Path, arrays: list[tuple[np.ndarray, np.ndarray]], usual: bool) -> None:
    if not usual:
        keep_freed_memory()
    chips = [tuple(torch.from_numpy(x) for x in chip) for chip in arrays]
    _HERE.update(chips=chips, ways=ways_of(load(checkpoint).network, usual))


def _compute(name: str, chip: int, number: int) -> np.ndarray:
    return at_once(name, _HERE["ways"][name], _HERE["chips"][chip], number).numpy()


def _run(name: str, number: int) -> None:
    _compute(name, 0, number)


def side_by_side(chips: list[tuple[np.ndarray, np.ndarray]]) -> tuple[Tensor, Tensor]:
    """Equal squares fill one chip of 512 x 512, from the first on again where they run out."""
    n = SIZE // chips[0][0].shape[1]
    rows = [[chips[(y * n + x) % len(chips)] for x in range(n)] for y in range(n)]
    sensors = [
        np.concatenate([np.concatenate([c[i] for c in row], 2) for row in rows], 1) for i in (0, 1)
    ]
    return tuple(torch.from_numpy(s[None].astype(np.float32)) for s in sensors)


def full_chips(data: Path | None) -> list[tuple[Tensor, Tensor]]:
    if data is None:
        return [side_by_side(list(zip(*golden_chips(), strict=True)))]
    real = [c for c in real_chips(data) if c[0].shape[1:] == (256, 256) and c[0].any()]
    return [side_by_side(real[i : i + 4]) for i in range(0, len(real) - 3, 4)]


def at_once(name: str, way: Forward, chip: tuple[Tensor, Tensor], number: int) -> Tensor:
    """The logits of one chip, computed on as many threads side by side, each on one thread."""

    def one(_: int) -> Tensor:
        with torch.inference_mode():
            return way(*chip)

    with as_written() if name in AS_WRITTEN else nullcontext():
        with ThreadPoolExecutor(number, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            return list(pool.map(one, range(number)))[0]


def agreement(checkpoint: Checkpoint, way: list[Tensor], eager: list[Tensor]) -> dict:
    """Shares of equal classes among the pixels of which `eager` is sure, and among the others.

    Args:
      checkpoint: calibrates the logits.
      way, eager: logits (1,classes,y,x) of the same chips.
    """
    same = {True: [], False: []}
    change = 0.0
    for logits in zip(eager, way, strict=True):
        a, b = ((x.float() / checkpoint.temperature).softmax(1) for x in logits)
        sure = a.amax(1) >= CONFIDENT / 100
        equal = a.argmax(1) == b.argmax(1)
        for which in same:
            same[which].append(equal[sure == which])
        change = max(change, (a - b).abs().max().item())
    shares = {k: torch.cat(v).float().mean().item() for k, v in same.items()}
    return {
        "same class where sure": shares[True],
        "same class elsewhere": shares[False],
        "largest change of a probability": change,
    }


def compare(path: Path, chips: list, threads: list[int], repeats: int) -> None:
    checkpoint = load(path)
    about = context(("torch",)) | {"checkpoint": checkpoint.digest[:12]}
    usual, ours = (Side(path, chips, side) for side in (True, False))
    ways = {"eager": usual, "autocast": usual, "float32": ours, "bfloat16": ours}
    every = range(len(chips))
    logits = {name: [side.logits(name, i) for i in every] for name, side in ways.items()}
    found = {name: agreement(checkpoint, x, logits["eager"]) for name, x in logits.items()}
    rows = []
    for number in threads:
        calls = {name: partial(side.run, name, number) for name, side in ways.items()}
        seconds = interleaved(calls, repeats)
        for name, took in seconds.items():
            times = ratio(seconds["eager"], took)
            figures = {
                "way": name,
                "threads": number,
                "seconds a chip": round(median(took) / number, 4),
                "times eager": round(times.median, 2),
                "lowest": round(times.lowest, 2),
                "highest": round(times.highest, 2),
                "bits as alone": torch.equal(ways[name].logits(name, 0, number), logits[name][0]),
                **{k: round(v, 5) for k, v in found[name].items()},
            }
            aimed = name == "bfloat16"
            reached = times.median >= FASTER and found[name]["same class where sure"] >= SAME
            target = f"{FASTER} times eager, {SAME:.1%} of sure pixels equal" if aimed else ""
            print_line("network forward", figures, about, target, reached or not aimed)
            rows.append(figures)
    for side in (usual, ours):
        side.pool.shutdown()
    print_table(rows)


class Bytes(TorchDispatchMode):
    """Counts what a forward pass reads and writes, each layer for itself; views cost nothing."""

    def __init__(self):
        super().__init__()
        self.total = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        if not func.is_view:
            tensors = (*_tensors(args), *_tensors((out,)))
            self.total += sum(t.numel() * t.element_size() for t in tensors)
        return out


def _tensors(values: tuple) -> list[Tensor]:
    flat = [x for v in values for x in (v if isinstance(v, list | tuple) else (v,))]
    return [x for x in flat if isinstance(x, Tensor)]


def peak_kib() -> int:
    """Of this process alone: what `getrusage` says counts its parent's memory, too."""
    status = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))


def preset(name: str, precision: str) -> None:
    """One line on a preset with random weights, on one thread, in a process of its own."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    keep_freed_memory()
    network = CloudLULCNet(PRESETS[name]).eval().to(memory_format=torch.channels_last)
    chip = side_by_side(list(zip(*golden_chips(), strict=True)))
    if precision == "bfloat16":
        network.in_bfloat16()
    took = interleaved({"forward": lambda: network(*chip)}, 4)["forward"][1:]
    peak = peak_kib()
    macs = FlopCounterMode(display=False)
    with macs:
        network(*chip)
    figures = {
        "preset": name,
        "precision": precision,
        "parameters M": round(sum(p.numel() for p in network.parameters()) / 1e6, 2),
        "GMACs": round(macs.get_total_flops() / 2e9, 1),
        "Mpx/s": round(SIZE**2 / 1e6 / median(took), 2),
        "peak MiB of the process": round(peak / 1024),
        "accuracy": "model/weights/README.md" if name == "tiny" else "no checkpoint",
    }
    if precision == "bfloat16":
        figures |= floor(network, chip, macs.get_total_flops())
    print_line("network preset", figures, context(("torch",)))


def floor(network: CloudLULCNet, chip: tuple[Tensor, Tensor], flops: int) -> dict:
    """The least time of four chips on an H100; computed, not measured."""
    four = [x.expand(4, -1, -1, -1) for x in chip]
    counter = Bytes()
    with as_written(), counter:
        network(*four)
    memory = counter.total / (H100["GB/s"] * 1e9)
    compute = 4 * flops / (H100["bfloat16 TFLOP/s"] * 1e12)
    return {
        "GB moved a chip, layer by layer": round(counter.total / 4e9, 2),
        "H100 floor ms a chip, computed: memory": round(1e3 * memory / 4, 3),
        "H100 floor ms a chip, computed: arithmetic": round(1e3 * compute / 4, 3),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("checkpoint", type=Path, nargs="?", default=TINY)
    parser.add_argument("--real", type=Path, metavar="DATA")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--presets", nargs="*", choices=PRESETS, default=list(PRESETS))
    parser.add_argument("--only-preset", nargs=2, metavar=("NAME", "PRECISION"))
    args = parser.parse_args()
    with torch.inference_mode():
        if args.only_preset:
            preset(*args.only_preset)
            return
        compare(args.checkpoint, full_chips(args.real), args.threads, args.repeats)
    for name in args.presets:
        for precision in ("float32", "bfloat16"):
            command = [sys.executable, "-m", "benchmarks.network", "--only-preset"]
            subprocess.run([*command, name, precision], check=True)


if __name__ == "__main__":
    main()
