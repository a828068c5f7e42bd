"""What Prometheus reads of a run."""

import re
from datetime import UTC, datetime

from pipeline.launch import JobReport
from pipeline.records import add_record

SAMPLE = re.compile(r'(\w+)(\{(?:\w+="(?:[^"\\\n]|\\.)*",?)*\}) (-?\d+(?:\.\d+)?)')


def samples(text: str) -> dict[str, float]:
    found = {}
    for line in text.splitlines():
        if not line.startswith("#"):
            name, labels, value = SAMPLE.fullmatch(line).groups()
            assert name + labels not in found, "a series stands once"
            found[name + labels] = float(value)
    return found


def test_metrics_add_up_over_executions(tmp_path):
    folder = tmp_path / 'a "run"'
    ended = datetime(2026, 11, 22, 12, tzinfo=UTC)
    for done, failed in ((3, 1), (1, 0)):
        report = JobReport("ingest", done + failed, done, failed, 1.25, {"fetch: reads": 2 * done})
        add_record(str(folder), report, ended)
    text = (folder / "reports" / "metrics.prom").read_text()
    assert text.endswith("# EOF\n")
    run = str(folder).replace('"', r"\"")
    label = f'{{run="{run}",job="ingest"}}'
    assert samples(text) == {
        f"cloudlulc_job_seconds_total{label}": 2.4,
        f"cloudlulc_keys_total{label}": 4,
        f'cloudlulc_events_total{{run="{run}",job="ingest",step="fetch",event="reads"}}': 8,
        f"cloudlulc_failed_keys{label}": 0,
        f"cloudlulc_job_ended_seconds{label}": ended.timestamp(),
    }
    families = re.findall(r"# TYPE (\w+) (\w+)\n# HELP \1 \S", text)
    assert len(families) == 5
