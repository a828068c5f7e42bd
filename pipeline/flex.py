"""Flex Templates: their parameters, metadata files and how one is launched.

`python -m pipeline.flex deploy/templates` writes the metadata files anew from the command line's
own options: a template takes what the command takes, with underscores.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path

from pipeline.config import RunConfig
from pipeline.dataflow import DISK_GB, Cloud
from pipeline.options import JOBS, add_gpu_options, add_run_options
from transforms.store import join

RENAMED = {"region": "map_region"}
"""The launcher of templates passes Google Cloud's own region as --region."""

GPU_PARAMETERS = ("gpu", "gpu_process_model", "right_fitting", "machine_type_classify")

LEFT_OUT = ("help", "device")
"""Options that are no parameters: the device follows from the GPU."""

REGEXES = {
    "map_region": r"^[^/].*$",
    "date": r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$",
    "source": r"^[a-z][a-z0-9-]*(:.+)?$",
    "out": r"^gs://[a-z0-9][a-z0-9._-]{1,61}[a-z0-9](/.*)?$",
    "layers": r"^[a-z_]+(,[a-z_]+)*$",
    "checkpoint": r"^gs://.+\.safetensors$",
    "gpu": r"^[a-z][a-z0-9-]*:1(:[0-9a-z.]+)?$",
    "machine_type_classify": r"^[a-z][a-z0-9]*(-[a-z0-9]+)+$",
}

NUMBERS = {int: r"^[0-9]+$", float: r"^[0-9]+([.][0-9]+)?(e-?[0-9]+)?$"}


def option_parser() -> argparse.ArgumentParser:
    """Parses what a template's parameters become: options of the command line."""
    parser = argparse.ArgumentParser("cloudlulc template")
    add_run_options(parser)
    add_gpu_options(parser)
    return parser


def metadata(job: str) -> dict:
    """The metadata of a job's template, as Dataflow reads it from `metadata.json`."""
    parameters = [
        {
            "name": "job",
            "label": "Job",
            "helpText": f"Which job this template runs: {job}.",
            "paramType": "TEXT",
            "isOptional": False,
            "regexes": [f"^{job}$"],
        }
    ]
    for action in option_parser()._actions:
        name = RENAMED.get(action.dest, action.dest)
        if name in LEFT_OUT or (name in GPU_PARAMETERS and job != "classify"):
            continue
        parameters.append(
            {
                "name": name,
                "label": name.replace("_", " ").capitalize(),
                "helpText": action.help,
                "paramType": "TEXT",
                "isOptional": not action.required,
                "regexes": [_regex(name, action)],
            }
        )
    return {
        "name": f"CloudLULC {job}",
        "description": f"{JOBS[job][0].upper()}{JOBS[job][1:]}. What run.json in the output folder "
        "says already may be left out.",
        "streaming": False,
        "parameters": parameters,
    }


def _regex(name: str, action: argparse.Action) -> str:
    if name in REGEXES:
        return REGEXES[name]
    if action.choices:
        return f"^({'|'.join(action.choices)})$"
    if action.nargs == 0:
        return "^(true|false)$"
    return NUMBERS[action.type]


def check_parameters(job: str, parameters: dict[str, str]) -> None:
    """Raise ValueError where a template's parameters are not those of its metadata."""
    known = {p["name"]: p for p in metadata(job)["parameters"]}
    for name, value in parameters.items():
        if name not in known:
            raise ValueError(f"template {job} has no parameter {name}; it has {', '.join(known)}")
        (regex,) = known[name]["regexes"]
        if not re.fullmatch(regex, value):
            raise ValueError(f"parameter {name}: got {value!r}, expected {regex}")
    missing = [n for n, p in known.items() if not p["isOptional"] and n not in parameters]
    if missing:
        raise ValueError(f"template {job}: parameter {missing[0]} is missing")


def to_options(parameters: dict[str, str]) -> list[str]:
    """A template's parameters as options of the command line; `job` is left out."""
    switches = {a.dest for a in option_parser()._actions if a.nargs == 0}
    names = {new: old for old, new in RENAMED.items()}
    options = []
    for name, value in parameters.items():
        flag = f"--{names.get(name, name).replace('_', '-')}"
        if name in switches:
            options += [flag] if value == "true" else []
        elif name != "job":
            options.append(f"{flag}={value}")
    return options


def parameters(job: str, run: RunConfig, cloud: Cloud) -> dict[str, str]:
    """What a template is told: the folder, whose run.json holds the rest, and how to execute.

    Raises:
      ValueError: the template's metadata does not allow them.
    """
    told = {
        "job": job,
        "out": run.out,
        "max_failed": str(run.max_failed),
        "max_requests": str(run.max_requests),
        "threads": None if run.threads is None else str(run.threads),
    }
    if job == "classify" and cloud.gpu:
        gpu = cloud.gpu
        told |= {
            "gpu": ":".join(filter(None, (gpu.type, str(gpu.count), gpu.driver))),
            "gpu_process_model": gpu.process_model,
            "right_fitting": str(gpu.right_fitting).lower(),
            "machine_type_classify": cloud.machine_types.get("classify"),
        }
    told = {name: value for name, value in told.items() if value is not None}
    check_parameters(job, told)
    return told


def environment(job: str, run: RunConfig, cloud: Cloud) -> dict:
    """The machines of a launched template, as the REST API's FlexTemplateRuntimeEnvironment."""
    asked = {
        "machine_type": cloud.machine_type(job),
        "disk_size_gb": DISK_GB[job],
        "temp_location": join(cloud.temp, "tmp"),
        "staging_location": join(cloud.temp, "staging"),
        "sdk_container_image": cloud.image,
        "max_workers": cloud.max_workers,
        "network": cloud.network,
        "subnetwork": cloud.subnetwork_path(),
        "ip_configuration": None if cloud.public_ips else "WORKER_IP_PRIVATE",
        "service_account_email": cloud.service_account,
        "additional_user_labels": cloud.job_labels(job, run),
    }
    return {name: value for name, value in asked.items() if value is not None}


def template_url(folder: str, job: str) -> str:
    """Where the container spec of a job's template lies."""
    return join(folder, f"{job}.json")


def main(folder: str) -> None:
    """Write the metadata file of every job below a folder."""
    for job in JOBS:
        if job != "run":
            path = Path(folder) / job / "metadata.json"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(metadata(job), indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1])
