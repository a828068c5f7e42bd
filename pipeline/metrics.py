"""How the jobs of a run went, for Prometheus: `reports/metrics.prom`, in OpenMetrics text.

https://prometheus.io/docs/specs/om/open_metrics_spec/; the textfile collector of Prometheus' node
exporter reads it, too.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any


def metrics_text(root: str, records: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """All executions of the jobs of a run.

    Args:
      root: the run's folder, which tells its metrics from those of others.
      records: by job, oldest first, as `pipeline.records.read_records` gives them.
    """
    seconds, keys, events, ended, failed = {}, {}, {}, {}, {}
    for job, executions in records.items():
        if not executions:
            continue
        label = _labels(run=root, job=job)
        counted: Counter[str] = Counter()
        for record in executions:
            counted.update(record["counters"])
        seconds[label] = round(sum(record["seconds"] for record in executions), 1)
        keys[label] = sum(record["done"] for record in executions)
        failed[label] = executions[-1]["failed"]
        ended[label] = int(datetime.fromisoformat(executions[-1]["ended"]).timestamp())
        for name, count in sorted(counted.items()):
            step, _, event = name.partition(": ")
            events[_labels(run=root, job=job, step=step, event=event)] = count
    families = [
        _family("cloudlulc_job_seconds", "counter", "Seconds in which a job ran.", seconds),
        _family("cloudlulc_keys", "counter", "Blocks or product tiles that a job finished.", keys),
        _family("cloudlulc_events", "counter", "What the steps of a job counted.", events),
        _family("cloudlulc_failed_keys", "gauge", "Keys the last execution gave up.", failed),
        _family("cloudlulc_job_ended_seconds", "gauge", "When a job last ended, Unix time.", ended),
    ]
    return "".join(families) + "# EOF\n"


def _family(name: str, kind: str, about: str, samples: Mapping[str, float]) -> str:
    suffix = "_total" if kind == "counter" else ""
    lines = [f"# TYPE {name} {kind}", f"# HELP {name} {about}"]
    lines += [f"{name}{suffix}{labels} {value}" for labels, value in samples.items()]
    return "".join(f"{line}\n" for line in lines)


def _labels(**labels: str) -> str:
    escaped = (
        (name, value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n"))
        for name, value in labels.items()
    )
    return "{" + ",".join(f'{name}="{value}"' for name, value in escaped) + "}"
