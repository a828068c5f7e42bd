"""Submitting the jobs to Dataflow: what workers need is staged, each job is run and awaited."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import apache_beam as beam
from apache_beam.options.pipeline_options import GoogleCloudOptions, PipelineOptions
from apache_beam.pipeline import AppliedPTransform, PipelineVisitor
from apache_beam.runners.dataflow.internal.apiclient import DataflowJobAlreadyExistsError
from apache_beam.transforms.resources import parse_resource_hints
from google.api_core.exceptions import AlreadyExists

from pipeline import flex, jobs, launch
from pipeline.canary import verdict_url
from pipeline.config import RunConfig
from pipeline.dataflow import Cloud, job_name
from pipeline.dataflow_service import DataflowService, JobFailed
from pipeline.launch import JobReport
from pipeline.runners import beam_options
from transforms.classify import ClassifyBlocks
from transforms.failures import read_failures
from transforms.scene import ImagerySource
from transforms.store import exists, is_local, join, read_bytes, write_bytes

SETUP_FILE = Path(__file__).parent.parent / "setup.py"


class Submission(NamedTuple):
    """How the jobs of a run are submitted.

    Attributes:
      cloud: where they run.
      beam_args: the user's own flags of Beam; they come last, so they win.
      package: sdist that workers install; None where their image holds the package.
      template: gs:// folder of Flex Templates to launch; None: this process submits.
    """

    cloud: Cloud
    beam_args: list[str]
    package: str | None = None
    template: str | None = None

    def options(self, job: str, run: RunConfig) -> PipelineOptions:
        """Beam's options of one job.

        Raises:
          ValueError: a flag is unknown to Beam, or GPUs are asked for in two ways.
        """
        package = [f"--extra_package={self.package}"] if self.package else []
        args = [*self.cloud.beam_args(job, run), *package, *self.beam_args]
        options = beam_options(args)
        services = options.view_as(GoogleCloudOptions).dataflow_service_options or []
        asked = [option for option in services if option.startswith("worker_accelerator=")]
        if asked and self.cloud.hint():
            raise ValueError(
                f"--right-fitting asks for GPUs by resource hints, {asked[0]} by service option; "
                "Dataflow takes one of them"
            )
        return options


def check_reachable(run: RunConfig) -> None:
    """Raise ValueError where workers elsewhere could not read or write what the run names."""
    if is_local(run.out):
        raise ValueError(
            f"out: got {run.out}, a folder of this machine; Dataflow's workers reach gs:// only: "
            "name a gs:// folder"
        )
    kind, _, rest = run.source.partition(":")
    if kind == "files" and is_local(rest):
        raise ValueError(
            f"source: got {run.source}, a folder of this machine; Dataflow's workers reach gs:// "
            "only: copy it there (gcloud storage rsync --recursive) and name files:gs://..."
        )
    for part in rest.split(",") if kind == "stac" else ():
        name = part.rpartition("=")[2]
        if name.endswith((".toml", ".json")) and is_local(name):
            raise ValueError(
                f"source: got {name}, a file of this machine; whoever goes on with the run "
                "elsewhere, as templates do, reads it again: copy it to gs:// (gcloud storage cp) "
                "and name stac:gs://..."
            )


def shared_checkpoint(run: RunConfig) -> str:
    """Where workers find the weights. The file keeps its name: products tell it."""
    if not is_local(run.checkpoint):
        return run.checkpoint
    name = Path(run.checkpoint).name
    return join(run.out, "checkpoint", run.checkpoint_digest, name)


def share_checkpoint(run: RunConfig) -> RunConfig:
    """The run with weights that workers can read; a local file is uploaded once."""
    url = shared_checkpoint(run)
    if url != run.checkpoint and not exists(url):
        if exists(verdict_url(run.checkpoint)):
            write_bytes(verdict_url(url), read_bytes(verdict_url(run.checkpoint)))
        write_bytes(url, read_bytes(run.checkpoint))
    return replace(run, checkpoint=url)


def build_sdist(setup_file: Path, folder: Path) -> str:
    """Build the source distribution that workers install, without a trace in the checkout.

    Raises:
      ValueError: it cannot be built.
    """
    if not setup_file.is_file():
        raise ValueError(
            f"setup-file: there is no {setup_file}; name the setup.py of a checkout, or say "
            "--setup-file none where --image holds the package"
        )
    build = [sys.executable, setup_file.name, "-q", "egg_info", f"--egg-base={folder}"]
    build += ["sdist", f"--dist-dir={folder}"]
    done = subprocess.run(build, cwd=setup_file.parent, capture_output=True, text=True)
    if done.returncode:
        raise ValueError(f"setup-file: {setup_file} builds no sdist: {done.stderr[-500:]}")
    (sdist,) = folder.glob("*.tar.gz")
    return str(sdist)


def build(
    job: str, run: RunConfig, source: ImagerySource, options: PipelineOptions, hint: str | None
) -> beam.Pipeline:
    """The job's graph, with resource hints on the network's steps if there are any."""
    pipeline = beam.Pipeline(options=options)
    getattr(jobs, job)(pipeline, run, *([source] if job == "ingest" else []))
    if hint:
        pipeline.visit(_HintNetwork(hint))
    return pipeline


class _HintNetwork(PipelineVisitor):
    """Hints from reading the chips to writing the map: steps with equal hints stay fused.

    A hint on the network alone would send the pixels from one machine to another.
    """

    def __init__(self, accelerator: str):
        self._hints = parse_resource_hints({"accelerator": accelerator})

    def enter_composite_transform(self, node: AppliedPTransform) -> None:
        if isinstance(node.transform, ClassifyBlocks):
            self._hint(node)

    def _hint(self, node: AppliedPTransform) -> None:
        node.resource_hints |= self._hints
        for part in node.parts:
            self._hint(part)


def launch_request(job: str, run: RunConfig, how: Submission) -> dict:
    """The LaunchFlexTemplateParameter that starts a job from its template."""
    return {
        "job_name": job_name(job, run),
        "container_spec_gcs_path": flex.template_url(how.template, job),
        "parameters": flex.parameters(job, run, how.cloud),
        "environment": flex.environment(job, run, how.cloud),
    }


def require_idle(run: RunConfig, service: DataflowService) -> None:
    """Raise ValueError where a job of the run is at work: it would write what is taken back."""
    for job in launch.JOBS:
        name = job_name(job, run)
        job_id = service.active(name)
        if job_id:
            raise ValueError(
                f"refresh: {name} is running, and would write blocks that are taken back; wait for "
                f"it (submit without --refresh) or cancel it first; see {service.link(job_id)}"
            )


def start(
    job: str,
    run: RunConfig,
    source: ImagerySource,
    how: Submission,
    service: DataflowService,
    say: Callable[[str], None],
) -> str:
    """Start a job, or find the one that an earlier submission left running; returns its id."""
    name = job_name(job, run)
    job_id = service.active(name)
    if job_id:
        say(f"{job}: already running as {name}; {service.link(job_id)}")
        return job_id
    if how.template:
        job_id = service.launch_template(launch_request(job, run, how))
    else:
        pipeline = build(job, run, source, how.options(job, run), how.cloud.hint())
        try:
            job_id = pipeline.run().job_id()
        except (AlreadyExists, DataflowJobAlreadyExistsError) as error:
            raise JobFailed(
                f"{name}: another submission has just started it; submit again to wait for it"
            ) from error
    say(f"{job}: started as {name}; {service.link(job_id)}")
    return job_id


def execute(
    job: str,
    run: RunConfig,
    source: ImagerySource,
    how: Submission,
    service: DataflowService,
    say: Callable[[str], None],
) -> JobReport:
    """Run one job on Dataflow and wait for it; none is started where nothing is left to do.

    Raises:
      JobFailed: the job ended without being done.
    """
    todo = launch.left(run, job)
    if todo == 0:
        return launch.nothing_to_do(job, run)
    finished = getattr(launch, f"finished_{job}")
    began, before = time.monotonic(), finished(run)
    service.wait(start(job, run, source, how, service, say), say)
    done = finished(run) - before
    failed = len(read_failures(run.out, job))
    return JobReport(job, todo, done, failed, time.monotonic() - began, {})
