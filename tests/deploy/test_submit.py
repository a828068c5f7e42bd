"""Submissions as Dataflow receives them: the real runner and clients against local stand-ins."""

import base64
import hashlib
import json
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import pytest
from apache_beam.portability.api import beam_runner_api_pb2
from google.cloud.dataflow_v1beta3 import JobType, WorkerIPAddressConfiguration
from planet import micro_checkpoint
from test_promises import REPORTS

from pipeline import chain
from pipeline.cli import main
from pipeline.config import file_digest
from tests.servers.google_auth import ACCOUNT, TOKEN
from transforms.period import Period
from transforms.scene import SENTINEL2
from transforms.sources.synthetic import SyntheticSource
from transforms.weights import load_checkpoint

IMAGE = "europe-west4-docker.pkg.dev/p/cloudlulc/cpu:1"
ACCELERATOR = "beam:resources:accelerator:v1"


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return micro_checkpoint(tmp_path_factory.mktemp("weights") / "micro.safetensors")


@pytest.fixture(scope="module")
def options(weights):
    """Of a run over the border of two UTM zones."""
    return [
        "--region=5.99,50.0,6.01,50.01",
        "--date=2024-06-15",
        "--source=synthetic:seed=3,cloud=0.4",
        f"--checkpoint={weights}",
        "--chip-size=96",
        "--halo=16",
        "--threads=1",
    ]


@pytest.fixture(scope="module")
def submit(dataflow):
    """Runs `cloudlulc submit`, with Dataflow at the stand-in; returns the exit code."""

    def command(*arguments: str, beam=()) -> int:
        place = [
            "--gcp-project=test-project",
            "--gcp-region=europe-west4",
            "--temp=gs://bucket/temp",
        ]
        # Making the list of what is installed here takes seconds.
        quick = "--experiments=disable_logging_submission_environment"
        flags = [f"--dataflow_endpoint={dataflow.url}", quick, *beam]
        return main(["submit", *place, *arguments, "--", *flags])

    return command


@pytest.fixture(scope="module")
def finished(submit, options, storage):
    """Output of a run that was submitted whole."""
    code = submit(
        "run",
        "--out=gs://bucket/run",
        *options,
        f"--image={IMAGE}",
        "--machine-type-ingest=e2-standard-2",
        "--max-workers=7",
        "--subnetwork=workers",
        "--no-public-ips",
        "--service-account=worker@p.iam.gserviceaccount.com",
        "--labels=team=land",
    )
    assert code == 0
    return "gs://bucket/run"


@pytest.fixture
def copied(finished, storage, request):
    """A copy of the run, for a test to take things away from."""
    out = f"gs://bucket/{request.node.name}".replace("[", "-").replace("]", "")
    storage.copy(f"{finished}/", f"{out}/", recursive=True)
    return out


def objects(storage, out: str) -> dict[str, bytes]:
    root = out.removeprefix("gs://") + "/"
    return {name.removeprefix(root): storage.cat_file(name) for name in storage.find(root)}


def seals(storage, cubes: str) -> list[str]:
    """What marks the blocks of these cubes as complete."""
    return [n for n in storage.find(cubes) if ".zarr/" not in n and n.endswith(".json")]


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def compared(found: dict[str, bytes]) -> dict[str, bytes]:
    """Without reports, weights, and the weights' address, which differ by where a run lies."""
    kept = {n: d for n, d in found.items() if not n.startswith((*REPORTS, "checkpoint/"))}
    run = json.loads(kept["run.json"])
    del run["checkpoint"]
    return kept | {"run.json": json.dumps(run).encode()}


def job_of(dataflow, out: str, job: str) -> dict:
    """The last request for a job of a run."""
    folder = hashlib.sha256(out.encode()).hexdigest()[:6]
    return [
        body
        for body in dataflow.jobs.values()
        if body["name"].startswith(f"cloudlulc-{job}-") and body["name"].endswith(folder)
    ][-1]


def test_the_staged_graphs_write_the_same_bytes_as_a_local_run(
    finished, storage, options, tmp_path
):
    assert main(["run", f"--out={tmp_path}", *options]) == 0
    local, cloud = compared(files(tmp_path)), compared(objects(storage, finished))
    assert len(list((tmp_path / "maps").glob("*.zarr"))) == 2, "two UTM zones were to be mapped"
    assert any(name.endswith("_lulc.tif") for name in local)
    assert sorted(local) == sorted(cloud)
    assert [name for name in local if local[name] != cloud[name]] == []


def test_three_jobs_are_asked_for_in_order_each_on_its_own_machines(finished, dataflow):
    requests = list(dataflow.jobs.values())[:3]
    names = [body["name"].rpartition("-")[0].rpartition("-")[0] for body in requests]
    assert names == ["cloudlulc-ingest", "cloudlulc-classify", "cloudlulc-mosaic"]
    assert len({body["name"].split("-", 2)[2] for body in requests}) == 1
    pools = [body["environment"]["workerPools"][0] for body in requests]
    machines = [pool["machineType"] for pool in pools]
    assert machines == ["e2-standard-2", "n2-standard-8", "n2-standard-8"]
    for body, pool in zip(requests, pools, strict=True):
        environment = body["environment"]
        assert body["type"] == JobType.JOB_TYPE_BATCH
        assert "serviceOptions" not in environment, "no GPU was asked for"
        assert {"use_runner_v2", "shuffle_mode=service"} <= set(environment["experiments"])
        assert environment["serviceAccountEmail"] == "worker@p.iam.gserviceaccount.com"
        assert pool["autoscalingSettings"]["maxNumWorkers"] == 7
        assert pool["subnetwork"] == "regions/europe-west4/subnetworks/workers"
        assert pool["ipConfiguration"] == WorkerIPAddressConfiguration.WORKER_IP_PRIVATE
        images = [image["containerImage"] for image in pool["sdkHarnessContainerImages"]]
        assert images == [IMAGE]
        assert body["labels"]["team"] == "land"
        assert body["labels"]["cloudlulc-job"] in body["name"]
        assert body["labels"]["cloudlulc-run"] in body["name"]


def test_the_package_is_staged_for_every_environment(finished, dataflow, storage):
    for name in dataflow.names()[:3]:
        for environment in dataflow.graphs[name].components.environments.values():
            staged = [
                beam_runner_api_pb2.ArtifactStagingToRolePayload.FromString(d.role_payload)
                for d in environment.dependencies
            ]
            assert "cloudlulc-0.2.0.tar.gz" in [artifact.staged_name for artifact in staged]
    options = job_of(dataflow, finished, "mosaic")["environment"]["sdkPipelineOptions"]["options"]
    assert storage.exists(f"{options['staging_location']}/cloudlulc-0.2.0.tar.gz")


def test_dataflow_is_asked_with_the_credentials_of_the_environment(finished, dataflow):
    issuers = set()
    for header in dataflow.tokens:
        kind, token = header.split()
        assert kind == "Bearer"
        if token != TOKEN:  # Google's clients sign one themselves where they can
            claims = token.split(".")[1]
            issuers.add(json.loads(base64.urlsafe_b64decode(claims + "=="))["iss"])
    assert issuers <= {ACCOUNT}


def test_weights_are_uploaded_once_and_read_back(finished, storage, weights):
    url = json.loads(storage.cat_file(f"{finished}/run.json"))["checkpoint"]
    assert url == f"{finished}/checkpoint/{file_digest(weights)}/micro.safetensors"
    assert file_digest(url) == load_checkpoint(url).digest == load_checkpoint(weights).digest
    with pytest.raises(ValueError, match="nowhere.*cannot be read"):
        file_digest("gs://bucket/nowhere.safetensors")


def test_a_second_submission_starts_no_job(finished, submit, dataflow, capsys):
    before = dataflow.names()
    assert submit("run", f"--out={finished}") == 0
    assert dataflow.names() == before
    said = capsys.readouterr().err
    assert [f"{job}: nothing to do" in said for job in ("ingest", "classify", "mosaic")] == [
        True
    ] * 3


def test_a_half_finished_run_starts_only_what_is_missing(
    copied, submit, dataflow, storage, finished
):
    storage.rm(seals(storage, f"{copied}/maps")[0])
    storage.rm(storage.glob(f"{copied}/product/*/*.json"))
    before = len(dataflow.jobs)
    assert submit("run", f"--out={copied}", "--threads=1") == 0
    started = [name.split("-")[1] for name in dataflow.names()[before:]]
    assert started == ["classify", "mosaic"]
    assert compared(objects(storage, copied)) == compared(objects(storage, finished))


@dataclass(frozen=True)
class LateInTheEast(SyntheticSource):
    """The synthetic planet; the optical scenes of one day came late to one of two zones."""

    late: date = date.min

    def search(self, bounds, period):
        found = super().search(bounds, period)
        east = (bounds[0] + bounds[2]) / 2 > 6
        return [s for s in found if not (east and s.sensor == SENTINEL2 and s.day == self.late)]


def test_late_scenes_of_a_submitted_run_are_let_in_by_refresh(
    submit, dataflow, storage, weights, tmp_path, monkeypatch, capsys
):
    out, target = "gs://bucket/late", date(2024, 6, 15)
    options = ["--region=5.999,50.001,6.001,50.003", f"--date={target}", "--layers=lulc"]
    options += [f"--checkpoint={weights}", "--source=synthetic:seed=3,cloud=0.4", "--threads=1"]
    options += ["--chip-size=96", "--halo=16"]
    planet = SyntheticSource(seed=3, cloud=0.4)
    scenes = planet.search((5, 50, 7, 51), Period.around(target, 10, 10))
    nearest = min(abs(s.day - target) for s in scenes if s.sensor == SENTINEL2)
    days = {s.day for s in scenes if s.sensor == SENTINEL2 and abs(s.day - target) == nearest}
    early = LateInTheEast(seed=3, cloud=0.4, late=min(days))
    quick = "--setup-file=none"
    with monkeypatch.context() as patch:
        patch.setattr(chain, "open_source", lambda _: early)
        assert main(["run", f"--out={tmp_path / 'early'}", *options]) == 0
    storage.put(f"{tmp_path / 'early'}/", out, recursive=True)
    before = len(dataflow.jobs)
    assert submit("run", f"--out={out}", quick) == 0, "the run keeps to its plan"
    assert len(dataflow.jobs) == before

    stored, sealed = storage.find(out), seals(storage, f"{out}/chips")
    assert len(sealed) == 2, "one block in each zone"
    (west,) = (name for name in sealed if "31N" in name)
    generation = storage.info(west)["generation"]
    capsys.readouterr()
    assert submit("ingest", f"--out={out}", "--refresh", "--dry-run", quick) == 0
    shown = json.loads(capsys.readouterr().out)
    assert [job["left"] for job in shown["jobs"]] == [None]
    (block,) = shown["refresh"]["blocks"]
    assert block.startswith("32N") and shown["refresh"]["late"]
    assert storage.find(out) == stored

    name = shown["jobs"][0]["request"]["name"].replace("ingest", "classify")
    _, running = dataflow.create({"name": name}, hold=True)
    assert submit("run", f"--out={out}", "--refresh", quick) == 2
    assert f"{name} is running" in capsys.readouterr().err
    assert storage.find(out) == stored
    running["currentState"] = "JOB_STATE_CANCELLED"

    before = len(dataflow.jobs)
    assert submit("run", f"--out={out}", "--refresh", quick) == 0
    started = [name.split("-")[1] for name in dataflow.names()[before:]]
    assert started == ["ingest", "classify", "mosaic"]
    assert json.loads(storage.cat_file(f"{out}/refresh.json"))["blocks"] == [block]
    assert storage.info(west)["generation"] == generation, "its scenes are what they were"
    assert main(["run", f"--out={tmp_path / 'once'}", *options]) == 0
    cloud = compared(objects(storage, out))
    del cloud["refresh.json"]
    assert cloud == compared(files(tmp_path / "once"))


@pytest.fixture(scope="module")
def unclassified(finished, storage):
    """A copy of the run after its first job."""
    out = "gs://bucket/unclassified"
    for part in ("plan", "chips", "maps"):
        storage.copy(f"{finished}/{part}/", f"{out}/{part}/", recursive=True)
    storage.copy(f"{finished}/run.json", f"{out}/run.json")
    storage.rm(seals(storage, f"{out}/maps"))
    storage.rm([n for n in storage.find(f"{out}/maps") if "/c/" in n])
    return out


@pytest.fixture
def held(dataflow, monkeypatch):
    """Jobs are started and stay as they are until the test is over."""
    monkeypatch.setattr(dataflow, "hold", True)
    yield
    for body in dataflow.jobs.values():
        if body["currentState"] == "JOB_STATE_RUNNING":
            body["currentState"] = "JOB_STATE_CANCELLED"


@pytest.mark.parametrize(
    ("flags", "accelerator", "experiments"),
    [
        (
            ["--gpu=nvidia-l4:1"],
            "type:nvidia-l4;count:1;install-nvidia-driver",
            {"no_use_multiple_sdk_containers"},
        ),
        (
            ["--gpu=nvidia-l4:1:5xx", "--gpu-process-model=mps"],
            "type:nvidia-l4;count:1;install-nvidia-driver:5xx;use_nvidia_mps",
            {"use_multiple_sdk_containers"},
        ),
    ],
    ids=["one process", "MPS"],
)
def test_gpus_by_service_option(
    unclassified, held, submit, dataflow, flags, accelerator, experiments
):
    flags += [f"--image={IMAGE}", "--setup-file=none"]
    assert submit("classify", f"--out={unclassified}", "--detach", *flags) == 0
    body = job_of(dataflow, unclassified, "classify")
    assert body["environment"]["serviceOptions"] == [f"worker_accelerator={accelerator}"]
    assert body["environment"]["workerPools"][0]["machineType"] == "g2-standard-8"
    assert experiments <= set(body["environment"]["experiments"])
    assert hints(dataflow.graphs[body["name"]]) == {}


def hints(graph: beam_runner_api_pb2.Pipeline) -> dict[str, str]:
    """Accelerator of each primitive step that has one."""
    environments = graph.components.environments
    found = {}
    for step in graph.components.transforms.values():
        if step.environment_id and not step.subtransforms:
            hint = environments[step.environment_id].resource_hints.get(ACCELERATOR)
            if hint:
                found[step.unique_name] = hint.decode()
    return found


def test_right_fitting_hints_the_steps_that_hold_pixels_and_sets_no_service_option(
    unclassified, held, submit, dataflow
):
    flags = ["--gpu=nvidia-l4:1", "--right-fitting", f"--image={IMAGE}", "--setup-file=none"]
    assert submit("classify", f"--out={unclassified}", "--detach", *flags) == 0
    body = job_of(dataflow, unclassified, "classify")
    assert "serviceOptions" not in body["environment"]
    assert body["environment"]["workerPools"][0]["machineType"] == "n2-standard-8"
    hinted = hints(dataflow.graphs[body["name"]])
    assert set(hinted.values()) == {
        "type:nvidia-l4;count:1;machine_type:g2-standard-8;install-nvidia-driver"
    }
    for step in ("Read chips", "Network", "Write cores"):
        assert any(step in name for name in hinted), step
    assert not any("ListChips" in name or "WriteFailures" in name for name in hinted)


def test_a_job_that_is_running_is_not_started_twice(unclassified, held, submit, dataflow, capsys):
    again = ["classify", f"--out={unclassified}", "--detach", "--setup-file=none"]
    assert submit(*again) == 0
    before = dataflow.names()
    assert submit(*again) == 0
    assert "already running" in capsys.readouterr().err
    assert dataflow.names() == before


def test_a_failed_job_ends_the_chain_with_its_reason_and_link(
    unclassified, submit, dataflow, monkeypatch, capsys
):
    monkeypatch.setattr(dataflow, "fail", "Workflow failed. Quota NVIDIA_L4_GPUS exceeded.")
    monkeypatch.setattr(dataflow, "busy", 1)
    before = len(dataflow.jobs)
    assert submit("run", f"--out={unclassified}", "--setup-file=none") == 1
    assert [n.split("-")[1] for n in dataflow.names()[before:]] == ["classify"]
    assert dataflow.busy == 0, "the service was asked again"
    said = capsys.readouterr().err
    assert "Quota NVIDIA_L4_GPUS exceeded" in said and "an older error" not in said
    job_id = list(dataflow.jobs)[-1]
    link = "https://console.cloud.google.com/dataflow/jobs/europe-west4/"
    assert f"{link}{job_id}?project=test-project" in said


def test_a_dry_run_prints_the_request_that_would_be_sent_and_writes_nothing(
    submit, dataflow, storage, options, finished, capsys
):
    stored, asked = storage.find("gs://bucket"), len(dataflow.tokens)
    arguments = ["run", "--out=gs://bucket/dry", *options, f"--image={IMAGE}", "--gpu=nvidia-l4:1"]
    assert submit(*arguments, "--dry-run") == 0
    printed = json.loads(capsys.readouterr().out)
    assert storage.find("gs://bucket") == stored and len(dataflow.tokens) == asked
    ingest, classify, mosaic = printed["jobs"]
    assert ingest["left"] > 0 and classify["left"] is None and mosaic["left"] is None
    for other in (ingest, mosaic):
        assert "serviceOptions" not in other["request"]["environment"], "GPUs are for classify"
    environment = classify["request"]["environment"]
    assert environment["serviceOptions"][0].startswith("worker_accelerator=type:nvidia-l4")
    assert environment["workerPools"][0]["packages"][0]["name"] == "cloudlulc-0.2.0.tar.gz"
    sent = job_of(dataflow, finished, "mosaic")["environment"]
    for name in ("experiments", "version", "userAgent"):
        assert mosaic["request"]["environment"][name] == sent[name]
    pool, sent_pool = mosaic["request"]["environment"]["workerPools"][0], sent["workerPools"][0]
    assert pool["machineType"] == sent_pool["machineType"]
    images = [p["sdkHarnessContainerImages"][0]["containerImage"] for p in (pool, sent_pool)]
    assert images == [IMAGE, IMAGE]


@pytest.mark.parametrize(
    ("changes", "beam", "says"),
    [
        (["--out=maps"], [], "name a gs:// folder"),
        (["--source=files:/data"], [], "source: got files:/data, a folder of this machine"),
        (["--source=files:data"], [], "copy it there"),
        (["--source=stac:api.toml"], [], "api.toml, a file of this machine"),
        (["--source=stac:earth-search,sar=/etc/sar.json"], [], "copy it to gs://"),
        (["--region=gs://bucket/none.geojson"], [], "there is no file gs://bucket/none.geojson"),
        (["--gcp-project=My Project"], [], "expected the id of a project"),
        (["--temp=/tmp"], [], "expected a gs:// folder"),
        (["--labels=Team=Land"], [], "expected key=value"),
        (["--gpu=l4"], [], "expected TYPE:COUNT"),
        (["--gpu=nvidia-l4:2"], [], "expected 1"),
        (["--gpu=nvidia-h100-80gb:1"], [], "--machine-type-classify"),
        (["--gpu-process-model=mps"], [], "need --gpu"),
        (["--device=cuda"], [], "needs --gpu"),
        (["--max-workers=0"], [], "expected 1 or more"),
        (["--detach"], [], "a chain has to be waited for"),
        (["--setup-file=/nowhere/setup.py"], [], "there is no /nowhere/setup.py"),
        ([], ["--no_such_flag=1"], "Beam knows no flag"),
        (
            ["--gpu=nvidia-l4:1", "--right-fitting"],
            ["--dataflow_service_options=worker_accelerator=type:nvidia-l4;count:1"],
            "takes one of them",
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_input_is_refused_before_anything_is_written(
    submit, dataflow, storage, options, capsys, changes, beam, says
):
    before = storage.find("gs://bucket"), len(dataflow.tokens)
    quick = [] if "--setup-file" in str(changes) else ["--setup-file=none"]
    assert submit("run", "--out=gs://bucket/bad", *options, *quick, *changes, beam=beam) == 2
    assert says in capsys.readouterr().err
    assert (storage.find("gs://bucket"), len(dataflow.tokens)) == before
