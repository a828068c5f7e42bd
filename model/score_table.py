"""A report of `model.evaluate` as text for people."""

from __future__ import annotations

from collections.abc import Sequence

from model.legend import LULC6


def score_table(report: dict) -> str:
    """Overall scores, classes, cloud bins, pixels, inputs and the confusion matrix, as text."""
    parts = [_overall(report["overall"]), _classes(report["overall"])]
    parts.append(_subsets("cloud cover, %", report["cloud_bins"]))
    parts.append(_subsets("pixels", report["pixels"]))
    if "modalities" in report:
        wholes = {name: part["overall"] for name, part in report["modalities"].items()}
        parts.append(_subsets("inputs", wholes))
        for figure in ("oa", "miou"):
            parts.append(_modalities_by_bin(report["modalities"], figure))
    parts.append(_confusion(report["overall"]["confusion"]))
    return "\n\n".join(parts)


def _overall(s: dict) -> str:
    lines = [
        f"{label:<9}{_percent(s[name])}  {_interval(s, name)}"
        for label, name in (("OA", "oa"), ("mean F1", "f1"), ("mIoU", "miou"))
    ]
    lines.append(
        f"{s['samples']} samples, {s['pixels']} pixels, {s['classes_present']} of "
        f"{len(LULC6.classes)} classes; kappa {_number(s['kappa'])}, ECE {_number(s['ece'])}, "
        f"AUC of reliability {_number(s['reliability_auc'])}"
    )
    if s["unmapped"]:
        lines.append(
            f"{s['unmapped']} labelled pixels got no class; counted as wrong: OA "
            f"{_percent(s['oa_unmapped_wrong']).strip()}"
        )
    return "\n".join(lines)


def _classes(s: dict) -> str:
    return _rows(
        ("class", "IoU", "F1", "precision", "recall", "pixels"),
        [
            (name, *(_percent(c[k]) for k in ("iou", "f1", "precision", "recall")), c["pixels"])
            for name, c in s["classes"].items()
        ],
    )


def _subsets(title: str, subsets: dict[str, dict]) -> str:
    return _rows(
        (title, "samples", "pixels", "OA", "95 %", "mean F1", "mIoU", "95 %"),
        [
            (name, s["samples"], s["pixels"], _percent(s["oa"]), _interval(s, "oa"),
             _percent(s["f1"]), _percent(s["miou"]), _interval(s, "miou"))
            for name, s in subsets.items()
        ],
    )  # fmt: skip


def _modalities_by_bin(modalities: dict[str, dict], figure: str) -> str:
    bins = next(iter(modalities.values()))["cloud_bins"]
    return _rows(
        (f"{ {'oa': 'OA', 'miou': 'mIoU'}[figure] } by cover, %", *bins),
        [
            (name, *(_percent(s[figure]) for s in part["cloud_bins"].values()))
            for name, part in modalities.items()
        ],
    )


def _confusion(matrix: Sequence[Sequence[int]]) -> str:
    names = [c.name for c in LULC6.classes]
    rows = [(name, *row) for name, row in zip(names, matrix, strict=True)]
    return _rows(("truth \\ map", *names), rows)


def _rows(header: Sequence, rows: Sequence[Sequence]) -> str:
    cells = [[str(cell) for cell in row] for row in (header, *rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in cells
    )


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.2f}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _interval(s: dict, name: str) -> str:
    low, high = s["interval"].get(name, (None, None))
    return "" if low is None else f"{100 * low:.1f}-{100 * high:.1f}"
