"""Flex Templates: their metadata, launching one, and what the launcher runs."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from google.cloud.dataflow_v1beta3 import WorkerIPAddressConfiguration
from planet import micro_checkpoint

from pipeline import flex
from pipeline.canary import verdict_url
from pipeline.cli import main
from pipeline.launch import JOBS

ROOT = Path(__file__).parent.parent.parent

GOOD_AND_BAD = {
    "job": ([], ["run", ""]),
    "map_region": (["ghana", "-17,13,-13,14", "gs://bucket/a.geojson"], ["", "/a.geojson"]),
    "date": (["2024-06-15"], ["15.06.2024", "2024-6-15", "2024-06-15 "]),
    "source": (["synthetic:seed=3", "files:gs://bucket/catalog", "synthetic"], ["", "://x"]),
    "out": (["gs://bucket/maps/ghana", "gs://bucket"], ["/maps", "s3://bucket", "gs://B/x"]),
    "layers": (["lulc,confidence", "lulc"], ["lulc,", "lulc confidence"]),
    "checkpoint": (["gs://bucket/w/base.safetensors"], ["base.safetensors", "gs://bucket/base.pt"]),
    "max_optical_days": (["10"], ["-1", "ten"]),
    "max_sar_days": (["12"], ["1.5"]),
    "optical": (["nearest", "least-cloudy"], ["clearest"]),
    "stale_sar_days": (["6"], ["-6"]),
    "inputs": (["measure", "trust"], ["guess"]),
    "chip_size": (["512"], ["512px"]),
    "halo": (["32"], ["-32"]),
    "no_blend": (["true", "false"], ["no"]),
    "speckle": (["none", "lee"], ["Lee", "boxcar"]),
    "no_harmonise": (["true", "false"], ["yes", "1"]),
    "product_epsg": (["4326"], ["EPSG:4326"]),
    "product_resolution": (["10", "0.00008", "8.3e-5"], ["10 m", "-1"]),
    "max_requests": (["16"], ["many"]),
    "max_failed": (["0"], ["-1"]),
    "threads": (["1"], ["auto"]),
    "gpu": (["nvidia-l4:1", "nvidia-tesla-t4:1:5xx"], ["nvidia-l4", "nvidia-l4:2", "L4:1"]),
    "gpu_process_model": (["mps", "one-per-gpu"], ["MPS"]),
    "right_fitting": (["true"], ["on"]),
    "machine_type_classify": (["g2-standard-8"], ["large", "G2-standard"]),
}


def parameters(job: str) -> dict[str, dict]:
    return {p["name"]: p for p in flex.metadata(job)["parameters"]}


@pytest.mark.parametrize("job", JOBS)
def test_metadata_files_are_those_of_the_command_line(job):
    path = ROOT / "deploy" / "templates" / job / "metadata.json"
    written = json.loads(path.read_text())
    assert written == flex.metadata(job), "run: python -m pipeline.flex deploy/templates"


def test_every_regex_takes_good_values_and_refuses_bad_ones():
    described = parameters("classify")
    for name, (good, bad) in GOOD_AND_BAD.items():
        (regex,) = described[name]["regexes"]
        assert [v for v in good if not re.search(regex, v)] == [], name
        # The service searches, so that a regex has to say where it begins and ends.
        assert [v for v in bad if re.search(regex, v)] == [], name
    for name, parameter in described.items():
        assert name in GOOD_AND_BAD or parameter["isOptional"]
        assert len(parameter["helpText"]) > 5 and parameter["label"]


def test_every_parameter_becomes_an_option_that_the_command_line_knows():
    values = {name: good[0] for name, (good, _) in GOOD_AND_BAD.items() if good}
    flex.check_parameters("classify", values | {"job": "classify"})
    args = flex.option_parser().parse_args(flex.to_options(values))
    assert args.region == "ghana" and args.no_harmonise and args.right_fitting
    assert args.gpu == "nvidia-l4:1" and args.max_optical_days == 10
    switched_off = flex.to_options(values | {"no_harmonise": "false"})
    assert not flex.option_parser().parse_args(switched_off).no_harmonise


def test_gpus_are_parameters_of_classify_alone():
    assert {"gpu", "right_fitting"} <= set(parameters("classify"))
    for job in ("ingest", "mosaic"):
        assert set(parameters("classify")) - set(parameters(job)) == set(flex.GPU_PARAMETERS)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"out": "gs://bucket/x", "colour": "red"}, "has no parameter colour"),
        ({"out": "/maps"}, "parameter out: got '/maps'"),
        ({"job": "ingest"}, "parameter job: got 'ingest'"),
        ({}, "parameter out is missing"),
    ],
)
def test_wrong_parameters_are_named(given, says):
    with pytest.raises(ValueError, match=re.escape(says)):
        flex.check_parameters("mosaic", {"job": "mosaic"} | given)


RUN = {
    "region": "5.99,50.0,6.0,50.01",
    "date": "2024-06-15",
    "source": "synthetic:seed=3",
    "chip-size": "96",
    "halo": "16",
}


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return micro_checkpoint(tmp_path_factory.mktemp("weights") / "micro.safetensors")


def test_a_template_is_launched_with_the_folder_and_the_machines(dataflow, storage, weights):
    where = ["--gcp-project=test-project", "--gcp-region=europe-west4", "--temp=gs://bucket/temp"]
    how = ["--template=gs://bucket/templates/1", "--image=images/gpu:1", "--max-workers=3"]
    run = [f"--{name}={value}" for name, value in RUN.items()]
    arguments = ["submit", "ingest", "--out=gs://bucket/launched", f"--checkpoint={weights}"]
    flags = ["--", f"--dataflow_endpoint={dataflow.url}"]
    assert main([*arguments, *run, *where, *how, "--no-public-ips", "--detach", *flags]) == 0
    launch = dataflow.launches[-1]["launchParameter"]
    assert launch["containerSpecGcsPath"] == "gs://bucket/templates/1/ingest.json"
    assert launch["jobName"].startswith("cloudlulc-ingest-")
    flex.check_parameters("ingest", launch["parameters"])
    assert launch["parameters"]["out"] == "gs://bucket/launched"
    assert launch["environment"] == {
        "machineType": "n2-standard-4",
        "diskSizeGb": 50,
        "tempLocation": "gs://bucket/temp/tmp",
        "stagingLocation": "gs://bucket/temp/staging",
        "sdkContainerImage": "images/gpu:1",
        "maxWorkers": 3,
        "ipConfiguration": WorkerIPAddressConfiguration.WORKER_IP_PRIVATE,
        "additionalUserLabels": {
            "cloudlulc-run": launch["jobName"].split("-")[2],
            "cloudlulc-job": "ingest",
        },
    }
    assert storage.exists("gs://bucket/launched/run.json"), "the template reads the rest from it"
    assert not storage.find("gs://bucket/temp"), "the launcher stages the graph, not this machine"


def test_the_launcher_writes_the_job_and_starts_nothing(dataflow, storage, weights):
    storage.put_file(weights, "gs://bucket/weights/micro.safetensors")
    storage.put_file(verdict_url(weights), verdict_url("gs://bucket/weights/micro.safetensors"))
    given = {name.replace("-", "_"): value for name, value in RUN.items()}
    given["map_region"] = given.pop("region")
    given |= {"job": "classify", "out": "gs://bucket/template", "gpu": "nvidia-l4:1"}
    given |= {"checkpoint": "gs://bucket/weights/micro.safetensors", "gpu_process_model": "mps"}
    launcher = {
        "runner": "DataflowRunner",
        "project": "test-project",
        "region": "europe-west4",
        "job_name": "nightly",
        "temp_location": "gs://bucket/launcher/tmp",
        "staging_location": "gs://bucket/launcher/staging",
        "template_location": "gs://bucket/launcher/job_object",
        "machine_type": "g2-standard-16",
        "sdk_container_image": "images/gpu:1",
        "sdk_location": "container",
        "experiments": "disable_logging_submission_environment",
    }
    before = len(dataflow.jobs)
    script = ROOT / "deploy" / "launch_template.py"
    flags = [f"--{name}={value}" for name, value in (given | launcher).items()]
    done = subprocess.run([sys.executable, script, *flags], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert len(dataflow.jobs) == before, "the service itself creates the job"
    body = json.loads(storage.cat_file("gs://bucket/launcher/job_object"))
    assert body["name"] == "nightly"
    (pool,) = body["environment"]["workerPools"]
    assert pool["machineType"] == "g2-standard-16"
    assert pool["diskSizeGb"] == 100
    assert body["environment"]["serviceOptions"] == [
        "worker_accelerator=type:nvidia-l4;count:1;install-nvidia-driver;use_nvidia_mps"
    ]
    assert body["labels"]["cloudlulc-job"] == "classify"
    run = json.loads(storage.cat_file("gs://bucket/template/run.json"))
    assert run["checkpoint"] == "gs://bucket/weights/micro.safetensors"
    assert run["grid"]["chip_size"] == 96
