"""What a map is computed in: float32, or bfloat16 where a machine does that fast."""

from __future__ import annotations

PRECISIONS = ("float32", "bfloat16")


def check_precision(precision: str, device: str) -> None:
    """Raise ValueError where a device does not compute in a precision, or only slowly."""
    if precision not in PRECISIONS:
        raise ValueError(f"precision: got {precision!r}, expected one of {', '.join(PRECISIONS)}")
    if precision == "bfloat16" and not bfloat16_is_fast(device):
        missing = (
            "its GPU is of a compute capability below 8.0"
            if device.startswith("cuda")
            else "its processor has no avx512_bf16 (a flag in /proc/cpuinfo)"
        )
        raise ValueError(
            f"precision: got bfloat16, which this machine computes slowly if at all: {missing}; "
            "take another machine, or a run of its own with --precision float32"
        )


def bfloat16_is_fast(device: str) -> bool:
    """Whether a torch device computes in bfloat16 by instructions of its own."""
    import torch  # here: who only names a precision goes without the second that it takes

    if device.startswith("cuda"):
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return device == "cpu" and torch.cpu._is_avx512_bf16_supported()
