"""No checkpoint maps a country before it has mapped the golden chips as the shipped one does.

`cloudlulc canary` leaves its verdict beside the weights, `<checkpoint>.canary.json`; where there is
none, a run that is about to start tries them itself.
"""

from __future__ import annotations

from model.canary import LEAST_AGREEMENT, MOST_DRIFT, Comparison, compare, golden_chips
from model.checkpoint import Checkpoint
from pipeline.config import DEFAULT_CHECKPOINT, file_digest
from transforms.store import exists, read_json, write_json
from transforms.weights import load_checkpoint


def verdict_url(path: str) -> str:
    return f"{path}.canary.json"


def try_checkpoint(path: str, against: str = DEFAULT_CHECKPOINT) -> Comparison:
    """Map the golden chips with a checkpoint and with the one that is in use.

    Raises:
      ValueError: one of them is no checkpoint, or their legends differ.
    """
    return compare(load_checkpoint(path), load_checkpoint(against), golden_chips())


def write_verdict(path: str, found: Comparison, accepted: bool) -> str:
    """Leave the verdict beside the weights; returns its address."""
    url = verdict_url(path)
    write_json(url, found.to_dict() | {"accepted": accepted})
    return url


def require_passed(loaded: Checkpoint, path: str) -> None:
    """Raise ValueError where a checkpoint maps the golden chips otherwise than the shipped one.

    The shipped checkpoint itself passes, and one whose drift was accepted.
    """
    if loaded.digest == file_digest(DEFAULT_CHECKPOINT):
        return
    if exists(verdict_url(path)):
        verdict = read_json(verdict_url(path))
        if verdict["digest"] == loaded.digest and (verdict["passed"] or verdict["accepted"]):
            return
    found = compare(loaded, load_checkpoint(DEFAULT_CHECKPOINT), golden_chips())
    if not found.passed:
        raise ValueError(
            f"checkpoint {path} maps the golden chips otherwise than the shipped one: "
            f"{verdict_text(found)}; see cloudlulc canary {path}; with --accept-drift that "
            "command lets it be used nevertheless"
        )


def verdict_text(found: Comparison) -> str:
    return (
        f"{found.drift:.0%} of the pixels change hands between classes ({MOST_DRIFT:.0%} allowed), "
        f"{found.agreement:.0%} keep their class ({LEAST_AGREEMENT:.0%} needed)"
    )


def text(found: Comparison) -> str:
    """What people read of a comparison."""
    lines = [f"{'class':12} {'this':>7} {'other':>7}"]
    lines += [f"{name:12} {a:7.1%} {b:7.1%}" for name, (a, b) in found.shares.items()]
    for name in ("confidence", "reliability"):
        a, b = getattr(found, name)
        lines.append(f"{name:12} {a:6.1f}% {b:6.1f}%")
    verdict = "passed" if found.passed else "FAILED"
    return "\n".join([*lines, f"canary {verdict}: {verdict_text(found)}"])
