"""The workflow is executed, against a Dataflow and a bucket that the test makes up."""

import json
import re
from datetime import UTC, date, datetime
from pathlib import Path

import hcl2
import pytest
import yaml
from google.cloud.dataflow_v1beta3 import types as dataflow
from workflow_engine import Engine, HttpError, WorkflowError

from pipeline import flex
from pipeline.dataflow import DISK_GB
from pipeline.region import load_region
from pipeline.schedule import RUN_OPTIONS
from pipeline.scheduler import NOT_FOR_THE_WORKFLOW

DEPLOY = Path(__file__).parents[2] / "deploy"
DOCUMENT = yaml.safe_load((DEPLOY / "workflow.yaml").read_text())
JOBS = ["ingest", "classify", "mosaic"]
ARGUMENT = {"region": "ghana", "source": "files:gs://imagery/catalog.json", "date": "2024-06-15"}
START = datetime(2026, 3, 11, 3, 0, tzinfo=UTC).timestamp()

ENVIRONMENT = {
    "GOOGLE_CLOUD_PROJECT_ID": "lands-1",
    "GOOGLE_CLOUD_LOCATION": "europe-west4",
    "RUNS_BUCKET": "lands-1-runs",
    "TEMP": "gs://lands-1-temp",
    "TEMPLATES": "gs://lands-1-templates/0.1.0",
    "IMAGE_CPU": "europe-west4-docker.pkg.dev/lands-1/cloudlulc/cpu:0.1.0",
    "IMAGE_GPU": "europe-west4-docker.pkg.dev/lands-1/cloudlulc/gpu:0.1.0",
    "GPU": "nvidia-l4:1:5xx",
    "MACHINE_TYPE_INGEST": "n2-standard-4",
    "MACHINE_TYPE_CLASSIFY": "g2-standard-8",
    "MACHINE_TYPE_MOSAIC": "n2-highmem-4",
    "MAX_WORKERS": "20",
    "MAX_HOURS_PER_JOB": "24",
    "ATTEMPTS": "2",
    "MINUTES_BETWEEN_ATTEMPTS": "30",
    "WORKER_SERVICE_ACCOUNT": "worker@lands-1.iam.gserviceaccount.com",
    "SUBNETWORK": "regions/europe-west4/subnetworks/cloudlulc-workers",
}


class Cloud:
    """Dataflow and the bucket of runs.

    Args:
      ends: job -> last state of each of its launches, the last one repeated; done if not there.
      failed_keys: job -> size of its failures file after each launch; 0 if not there.
      errors: status codes to answer with before anything else, by method.
      polls: how often a job is running before it ends.
    """

    def __init__(self, ends=None, failed_keys=None, errors=None, polls=2):
        self.ends, self.failed_keys = ends or {}, failed_keys or {}
        self.errors, self.polls = errors or {}, polls
        self.launches: list[dict] = []
        self.cancelled: list[str] = []
        self.running: dict[str, int] = {}

    def __call__(self, method: str, url: str, body: dict | None) -> dict:
        if self.errors.get(method):
            raise HttpError(self.errors[method].pop(0))
        if url.endswith("/flexTemplates:launch"):
            assert method == "POST"
            # One at a time: what comes next needs what came before.
            assert not any(self.running.values())
            self.launches.append(body["launchParameter"])
            self.running[f"id-{len(self.launches)}"] = self.polls
            return {"job": {"id": f"id-{len(self.launches)}"}}
        failures = re.fullmatch(
            r"https://storage\.googleapis\.com/storage/v1/b/lands-1-runs/o/"
            r"(\w+)%2F([\d-]+)%2Ffailures%2F(\w+)\.jsonl",
            url,
        )
        if failures:
            sizes = self.failed_keys.get(failures[3], [0])
            return {"size": str(sizes[min(self.count(failures[3]), len(sizes)) - 1])}
        place = "https://dataflow.googleapis.com/v1b3/projects/lands-1/locations/europe-west4/jobs/"
        job_id = url.removeprefix(place)
        if method == "PUT":
            assert body == {"requestedState": "JOB_STATE_CANCELLED"}
            self.cancelled.append(job_id)
            return {}
        if self.running[job_id]:
            self.running[job_id] -= 1
            return {"currentState": "JOB_STATE_RUNNING"}
        job = self.jobs()[int(job_id.removeprefix("id-")) - 1]
        ends = self.ends.get(job, ["DONE"])
        return {"currentState": "JOB_STATE_" + ends[min(self.count(job), len(ends)) - 1]}

    def jobs(self) -> list[str]:
        return [launch["parameters"]["job"] for launch in self.launches]

    def count(self, job: str) -> int:
        return self.jobs().count(job)


def execute(cloud: Cloud, argument=ARGUMENT, **environment) -> Engine:
    engine = Engine(DOCUMENT, ENVIRONMENT | environment, cloud, START)
    engine.result = engine.run(argument)
    return engine


def test_jobs_run_in_order_each_after_the_one_before():
    cloud = Cloud()
    assert execute(cloud).result == "gs://lands-1-runs/ghana/2024-06-15"
    assert cloud.jobs() == JOBS
    assert [launch["containerSpecGcsPath"] for launch in cloud.launches] == [
        f"gs://lands-1-templates/0.1.0/{job}.json" for job in JOBS
    ]


def test_each_template_accepts_its_parameters():
    cloud = Cloud()
    execute(cloud, ARGUMENT | {"options": {"layers": "lulc,confidence", "max_sar_days": "6"}})
    for job, launch in zip(JOBS, cloud.launches, strict=True):
        flex.check_parameters(job, launch["parameters"])
        told = launch["parameters"]
        written = json.loads((DEPLOY / "templates" / job / "metadata.json").read_text())
        assert set(told) <= {p["name"] for p in written["parameters"]}
        assert told["layers"] == "lulc,confidence"
        assert (told["map_region"], told["date"]) == ("ghana", "2024-06-15")
        assert told["out"] == "gs://lands-1-runs/ghana/2024-06-15"
        # What a launcher makes of them is what the command line takes.
        flex.option_parser().parse_args(flex.to_options(told))


def test_an_unknown_parameter_would_be_noticed():
    with pytest.raises(ValueError, match="no parameter regoin"):
        cloud = Cloud()
        execute(cloud, ARGUMENT | {"options": {"regoin": "togo"}})
        flex.check_parameters("ingest", cloud.launches[0]["parameters"])


def test_only_classify_gets_a_gpu_and_its_image():
    cloud = Cloud()
    execute(cloud)
    assert [launch["parameters"].get("gpu") for launch in cloud.launches] == [
        None,
        "nvidia-l4:1:5xx",
        None,
    ]
    images = [launch["environment"]["sdkContainerImage"] for launch in cloud.launches]
    assert [image.split("/")[-1] for image in images] == ["cpu:0.1.0", "gpu:0.1.0", "cpu:0.1.0"]
    cloud = Cloud()
    execute(cloud, GPU="none")
    assert not any("gpu" in launch["parameters"] for launch in cloud.launches)


def test_machines_are_asked_for_in_the_words_of_the_api():
    cloud = Cloud()
    execute(cloud)

    def known(message) -> set[str]:
        return {re.sub(r"_(\w)", lambda m: m[1].upper(), name) for name in message.meta.fields}

    environments = [launch["environment"] for launch in cloud.launches]
    for launch in cloud.launches:
        assert set(launch) <= known(dataflow.LaunchFlexTemplateParameter)
        assert set(launch["environment"]) <= known(dataflow.FlexTemplateRuntimeEnvironment)
        assert (
            launch["environment"]["ipConfiguration"]
            in dataflow.WorkerIPAddressConfiguration.__members__
        )
        assert launch["environment"]["maxWorkers"] == 20
        assert re.fullmatch(r"[a-z]([-a-z0-9]{0,1022}[a-z0-9])?", launch["jobName"])
        for key, value in launch["environment"]["additionalUserLabels"].items():
            assert re.fullmatch(r"[a-z][a-z0-9_-]{0,62}", key)
            assert re.fullmatch(r"[a-z0-9_-]{1,63}", value)
    assert [e["diskSizeGb"] for e in environments] == [DISK_GB[job] for job in JOBS]
    assert [e["machineType"] for e in environments] == [
        "n2-standard-4",
        "g2-standard-8",
        "n2-highmem-4",
    ]


def test_a_failed_job_is_launched_again_and_the_run_goes_on():
    cloud = Cloud(ends={"classify": ["FAILED", "DONE"]})
    engine = execute(cloud)
    assert cloud.jobs() == ["ingest", "classify", "classify", "mosaic"]
    assert cloud.launches[1] == cloud.launches[2]
    assert [e["attempt"] for e in engine.log if e["severity"] == "ERROR"] == [1]
    assert engine.now - START >= 30 * 60


@pytest.mark.parametrize("job", JOBS)
def test_a_job_that_fails_every_time_fails_the_run(job):
    cloud = Cloud(ends={job: ["FAILED"]})
    with pytest.raises(WorkflowError, match=f"{job} of ghana-2024-06-15 failed"):
        execute(cloud)
    assert cloud.jobs() == JOBS[: JOBS.index(job)] + [job] * 2


@pytest.mark.parametrize("state", ["CANCELLED", "DRAINED", "UPDATED"])
def test_a_job_that_a_person_ended_is_not_launched_again(state):
    cloud = Cloud(ends={"ingest": [state]})
    with pytest.raises(WorkflowError, match=f"ended as JOB_STATE_{state}"):
        execute(cloud)
    assert cloud.jobs() == ["ingest"]


def test_keys_that_a_job_gave_up_on_fail_the_run_unless_the_second_attempt_does_them():
    cloud = Cloud(failed_keys={"ingest": [512, 0]})
    execute(cloud)
    assert cloud.jobs() == ["ingest", *JOBS]
    cloud = Cloud(failed_keys={"mosaic": [512, 512]})
    with pytest.raises(WorkflowError, match="mosaic of ghana-2024-06-15 failed"):
        execute(cloud)


def test_a_job_that_runs_too_long_is_cancelled():
    cloud = Cloud(polls=10_000)
    with pytest.raises(WorkflowError, match="cancelled after 1 hours"):
        execute(cloud, MAX_HOURS_PER_JOB="1")
    assert cloud.cancelled == ["id-1"]
    assert cloud.jobs() == ["ingest"]


def test_a_service_that_is_busy_is_asked_again_but_nothing_is_launched_twice():
    cloud = Cloud(errors={"POST": [503, 429], "GET": [502, 503]})
    execute(cloud)
    assert cloud.jobs() == JOBS
    # 504: the launch may have gone through.
    cloud = Cloud(errors={"POST": [504]})
    with pytest.raises(WorkflowError, match="HTTP 504"):
        execute(cloud)
    assert cloud.jobs() == []


def test_the_target_date_is_counted_back_from_today():
    cloud = Cloud()
    execute(cloud, {"region": "ghana", "source": "synthetic", "days_ago": 10})
    assert cloud.launches[0]["parameters"]["date"] == date(2026, 3, 1).isoformat()


@pytest.mark.parametrize("missing", ["region", "source", "date"])
def test_an_argument_that_lacks_something_launches_nothing(missing):
    cloud = Cloud()
    with pytest.raises(WorkflowError, match=missing):
        execute(cloud, {k: v for k, v in ARGUMENT.items() if k != missing})
    assert cloud.launches == []


def test_every_option_of_a_country_in_the_schedule_is_a_parameter_of_every_template():
    for job in JOBS:
        known = {parameter["name"] for parameter in flex.metadata(job)["parameters"]}
        assert set(RUN_OPTIONS) - set(NOT_FOR_THE_WORKFLOW) <= known


def test_options_cannot_point_a_job_elsewhere():
    cloud = Cloud()
    execute(cloud, ARGUMENT | {"options": {"out": "gs://other/run", "job": "mosaic"}})
    assert cloud.jobs() == JOBS
    assert {launch["parameters"]["out"] for launch in cloud.launches} == {
        "gs://lands-1-runs/ghana/2024-06-15"
    }


def test_terraform_sets_the_variables_that_the_workflow_reads():
    engine = execute(Cloud(ends={"ingest": ["FAILED", "DONE"]}))
    read = engine.variables_read | {"MAX_HOURS_PER_JOB"}
    text = (DEPLOY / "workflow.yaml").read_text()
    assert read == set(re.findall(r'sys\.get_env\("(\w+)"\)', text)) == set(ENVIRONMENT)
    (resource,) = [
        r['"google_workflows_workflow"']['"run"']
        for r in hcl2.loads((DEPLOY / "terraform" / "workflow.tf").read_text())["resource"]
        if '"google_workflows_workflow"' in r
    ]
    given = set(resource["user_env_vars"])
    # The service itself gives the first two.
    assert given == {name for name in ENVIRONMENT if not name.startswith("GOOGLE_CLOUD_")}


def test_the_scheduler_passes_an_argument_that_the_workflow_takes():
    (body,) = re.findall(
        r"argument = jsonencode\(\{(.*?)\}\)",
        (DEPLOY / "terraform" / "workflow.tf").read_text(),
        re.DOTALL,
    )
    passed = re.findall(r"(\w+)\s*= each\.(?:key|value\.\w+)", body)
    assert passed == ["name", "region", "source", "days_ago", "options"]
    example = hcl2.loads((DEPLOY / "terraform" / "terraform.tfvars.example").read_text())
    for name, run in example["schedules"].items():
        text = {k: v.strip('"') if isinstance(v, str) else v for k, v in run.items()}
        options = {k: v.strip('"') for k, v in run["options"].items()}
        load_region(text["region"])
        argument = {"name": name} | {k: text[k] for k in ("region", "source", "days_ago")}
        cloud = Cloud()
        execute(cloud, argument | {"options": options})
        for job, launch in zip(JOBS, cloud.launches, strict=True):
            flex.check_parameters(job, launch["parameters"])
