"""Which Beam runners a job may ask for, with the flags after a lone `--`."""

from __future__ import annotations

import socket

from apache_beam.options.pipeline_options import (
    DirectOptions,
    PipelineOptions,
    PortableOptions,
    StandardOptions,
)
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.runners.runner import PipelineRunner, create_runner
from apache_beam.transforms.environments import ExternalEnvironment

RUNNERS = {
    # Beam's own DirectRunner tries to download another runner first: the name is an alias here.
    "DirectRunner": "FnApiRunner",
    "FnApiRunner": "FnApiRunner",
    "PortableRunner": "PortableRunner",
    "DataflowRunner": "DataflowRunner",
}
"""Runners that the jobs run on, by the name that a user gives."""

REFUSED = {
    "DaskRunner": "it silently loses results: outputs of finish_bundle are dropped, tagged "
    "outputs are merged, and of several sinks only the last is executed",
    "PrismRunner": "it is a program that Beam downloads at run time, and no job was ever run on it",
}

CONNECT_SECONDS = 5.0


def beam_options(beam_args: list[str]) -> PipelineOptions:
    """Beam's pipeline options; what Beam or the runner would ignore is an error.

    Raises:
      ValueError: an argument is unknown to Beam, or the runner is not one of ours.
    """
    for before, argument in zip(["", *beam_args], beam_args, strict=False):
        if not argument.startswith("--") and ("=" in before or not before.startswith("--")):
            raise ValueError(f"after -- only flags of Apache Beam stand, got {argument!r}")
    options = PipelineOptions(beam_args)
    every = options.get_all_options(retain_unknown_options=True)
    unknown = sorted(set(every) - set(PipelineOptions([]).get_all_options()))
    if unknown:
        flags = " ".join(f"--{name}" for name in unknown)
        raise ValueError(f"Beam knows no flag {flags}; after -- only flags of Apache Beam stand")
    standard = options.view_as(StandardOptions)
    standard.runner = _runner_name(standard.runner or "FnApiRunner")
    if standard.runner == "FnApiRunner":
        _check_workers(options)
    return options


def _runner_name(asked: str) -> str:
    short = asked.rpartition(".")[2].lower().removesuffix("runner")
    for name, why in REFUSED.items():
        if short == name.lower().removesuffix("runner"):
            raise ValueError(f"runner: {name} is not offered: {why}; leave --runner out")
    for name, ours in RUNNERS.items():
        if short == name.lower().removesuffix("runner"):
            return ours
    raise ValueError(
        f"runner: got {asked}, expected one of {', '.join(RUNNERS)}; an engine with a Beam job "
        "service is reached by --runner=PortableRunner --job_endpoint=HOST:PORT"
    )


def _check_workers(options: PipelineOptions) -> None:
    kind = options.view_as(PortableOptions).environment_type
    if kind not in (None, "EXTERNAL"):
        raise ValueError(
            f"environment_type: FnApiRunner would ignore {kind}; expected EXTERNAL (a worker pool) "
            "or --direct_running_mode=multi_processing"
        )
    mode = options.view_as(DirectOptions).direct_running_mode
    if kind and mode != "in_memory":
        raise ValueError(
            f"environment_type: got EXTERNAL and --direct_running_mode={mode}: workers are of one "
            "kind; leave one of the two flags out"
        )
    if kind and not options.view_as(PortableOptions).environment_config:
        raise ValueError("environment_config: EXTERNAL needs the worker pool's HOST:PORT")


def check_services(options: PipelineOptions) -> None:
    """Raise ValueError where a worker pool or job service that is asked for does not answer.

    Beam itself would wait for it for minutes, after the run was begun.
    """
    portable = options.view_as(PortableOptions)
    services = {"job_endpoint": portable.job_endpoint}
    if portable.environment_type == "EXTERNAL":
        services["environment_config"] = portable.environment_config
    for flag, address in services.items():
        host, _, port = (address or "").rpartition(":")
        if not address or address == "embed":
            continue
        if not port.isdigit():
            raise ValueError(f"{flag}: got {address}, expected HOST:PORT")
        try:
            socket.create_connection((host, int(port)), CONNECT_SECONDS).close()
        except OSError as error:
            raise ValueError(
                f"{flag}: nothing answers at {address} ({error}); start it first, see "
                "docs/operations.md"
            ) from None


def runner_of(options: PipelineOptions) -> PipelineRunner:
    """The runner that the options ask for.

    FnApiRunner does not read the environment flags by itself: a worker pool is handed to it here.
    """
    name = options.view_as(StandardOptions).runner
    portable = options.view_as(PortableOptions)
    if name == "FnApiRunner" and portable.environment_type == "EXTERNAL":
        return FnApiRunner(default_environment=ExternalEnvironment.from_options(portable))
    return create_runner(name)
