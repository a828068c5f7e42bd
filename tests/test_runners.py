"""The jobs on other runners than the default, and workers that die."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from servers.beam_workers import JOB_SERVICE, WORKER_POOL, beam_service
from test_promises import SOURCE, content, differing, run_with_beam
from test_promises import loop as loop
from test_promises import make_run as make_run
from test_promises import weights as weights

from pipeline.cli import main
from pipeline.runners import beam_options, check_services
from pipeline.watchdog import WorkerDied, watched

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def pool_log(tmp_path_factory):
    return tmp_path_factory.mktemp("pool") / "pool.log"


@pytest.fixture(scope="module")
def pool(pool_log):
    with beam_service(WORKER_POOL, pool_log) as address:
        yield address


def workers_started(pool_log: Path) -> int:
    return pool_log.read_text().count("Starting worker with command")


@pytest.mark.timeout(600)
def test_an_external_pool_of_two_workers_writes_the_same_bytes(
    pool, pool_log, loop, make_run, tmp_path
):
    before = workers_started(pool_log)
    args = ["--environment_type=EXTERNAL", f"--environment_config={pool}", "--direct_num_workers=2"]
    reports = run_with_beam(make_run(tmp_path / "out"), "--runner=FnApiRunner", *args)
    assert [r.failed for r in reports] == [0, 0, 0]
    assert all(r.done == r.todo > 0 for r in reports)
    assert differing(content(tmp_path / "out"), loop[1]) == []
    assert workers_started(pool_log) - before == 2 * len(reports)


@pytest.mark.timeout(600)
def test_the_portable_job_service_writes_the_same_bytes(pool, pool_log, loop, make_run, tmp_path):
    before = workers_started(pool_log)
    with beam_service(JOB_SERVICE, tmp_path / "service.log") as service:
        args = [f"--job_endpoint={service}", "--environment_type=EXTERNAL"]
        args += [f"--environment_config={pool}"]
        reports = run_with_beam(make_run(tmp_path / "out"), "--runner=PortableRunner", *args)
    assert [r.failed for r in reports] == [0, 0, 0]
    assert all(r.done == r.todo > 0 for r in reports)
    assert differing(content(tmp_path / "out"), loop[1]) == []
    assert workers_started(pool_log) > before


@pytest.mark.parametrize(
    ("beam_args", "says"),
    [
        (["--runner=DaskRunner"], ["DaskRunner", "silently loses results"]),
        (["--runner=dask"], ["DaskRunner", "silently loses results"]),
        (["--runner=PrismRunner"], ["PrismRunner", "downloads"]),
        (["--runner=SparkRunner"], ["got SparkRunner", "PortableRunner", "--job_endpoint"]),
        (["--environment_type=DOCKER"], ["would ignore DOCKER"]),
        (["--environment_type=EXTERNAL"], ["HOST:PORT"]),
        (
            ["--environment_type=EXTERNAL", "--direct_running_mode=multi_processing"],
            ["one kind"],
        ),
        (
            ["--environment_type=EXTERNAL", "--environment_config=127.0.0.1:1"],
            ["environment_config: nothing answers at 127.0.0.1:1"],
        ),
        (
            ["--runner=PortableRunner", "--job_endpoint=127.0.0.1:1"],
            ["job_endpoint: nothing answers at 127.0.0.1:1"],
        ),
    ],
    ids=lambda v: " ".join(v) if v[0].startswith("--") else "",
)
def test_runners_that_cannot_be_used_are_refused(capsys, weights, tmp_path, beam_args, says):
    run = ["run", "--region=5.9,50,6,50.1", "--date=2024-06-15", f"--source={SOURCE}"]
    out = tmp_path / "out"
    assert main([*run, f"--checkpoint={weights}", f"--out={out}", "--", *beam_args]) == 2
    message = capsys.readouterr().err
    for words in says:
        assert words in message
    assert not out.exists(), "something was written"


def test_our_names_of_runners():
    assert beam_options([]).get_all_options()["runner"] == "FnApiRunner"
    for name in ("DirectRunner", "direct", "FnApiRunner", "fnapirunner"):
        assert beam_options([f"--runner={name}"]).get_all_options()["runner"] == "FnApiRunner"
    check_services(beam_options(["--runner=DirectRunner"]))


def test_a_dead_worker_ends_a_run_that_would_wait_for_ever():
    """As Beam's local runner does: a thread fails, the run hangs on."""
    hang = threading.Event()

    def run():
        def died():
            raise RuntimeError("exited with return code 137")

        threading.Thread(target=died, name="run_worker").start()
        hang.wait()

    hook = threading.excepthook
    with pytest.raises(WorkerDied, match="return code 137"):
        watched(run, grace=0.1)
    hang.set()
    assert threading.excepthook is hook


def test_a_run_that_ends_by_itself_is_left_alone():
    assert watched(lambda: 7) == 7
    with pytest.raises(ZeroDivisionError):
        watched(lambda: 1 / 0)


def command(out: Path, weights: str) -> list[str]:
    return [
        "ingest",
        "--region=5.975,50,5.995,50.09",
        "--date=2024-06-15",
        f"--source={SOURCE}",
        f"--out={out}",
        f"--checkpoint={weights}",
        *("--chip-size=96", "--halo=16", "--threads=1"),
    ]


def processes_below(pid: int) -> list[int]:
    children: dict[int, list[int]] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
        except (OSError, IndexError):
            continue  # it ended while we looked
        children.setdefault(parent, []).append(int(folder.name))
    found, open_ = [], [pid]
    while open_:
        below = children.get(open_.pop(), [])
        found += below
        open_ += below
    return found


@pytest.fixture(scope="module")
def quiet(weights, tmp_path_factory):
    """What the command writes where nobody kills its workers."""
    out = tmp_path_factory.mktemp("quiet") / "out"
    assert main(command(out, weights)) == 0
    return content(out)


@pytest.mark.timeout(600)
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks processes up in /proc")
@pytest.mark.parametrize("kind", ["of the run", "of a pool"])
def test_a_killed_worker_ends_the_run_and_the_next_one_completes_it(
    request, weights, quiet, tmp_path, kind
):
    two = ["--", "--direct_num_workers=2", "--direct_running_mode=multi_processing"]
    if kind == "of a pool":
        address = request.getfixturevalue("pool")
        two[2:] = ["--environment_type=EXTERNAL", f"--environment_config={address}"]
    out, log = tmp_path / "out", tmp_path / "log"
    arguments = command(out, weights)
    with open(log, "w") as err:
        run = subprocess.Popen(
            [sys.executable, "-m", "pipeline", *arguments, *two], cwd=ROOT, stdout=err, stderr=err
        )
    try:
        while not list(out.glob("chips/*/r*.json")):
            assert run.poll() is None, log.read_text()
            time.sleep(0.05)
        commands = {
            pid: Path(f"/proc/{pid}/cmdline").read_bytes() for pid in processes_below(os.getpid())
        }
        workers = [
            pid
            for pid, line in commands.items()
            if (b"sdk_worker_main" in line or b"SdkHarness" in line) and b"/sh" not in line
        ]
        assert len(workers) == 2
        os.kill(workers[0], signal.SIGKILL)
        killed = time.monotonic()
        code = run.wait(60)  # the promise: within a minute
    finally:
        run.kill()
        run.wait()
    assert code == 1, log.read_text()
    assert "ingest failed: a worker process died" in log.read_text()
    assert time.monotonic() - killed < 60
    before = content(out)
    finished = [name for name in before if re.fullmatch(r"chips/[^/]+/r\d+c\d+\.json", name)]
    assert finished

    assert main(arguments) == 0
    after = {n: data for n, data in content(out).items() if ".partial" not in n}
    assert {n: after[n] for n in finished} == {n: before[n] for n in finished}
    assert differing(after, quiet) == []
