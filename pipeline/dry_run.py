"""What a submission would do: the requests that would be sent to Dataflow; nothing is sent."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from apache_beam.options.pipeline_options import GoogleCloudOptions, TestOptions
from apache_beam.runners.dataflow.internal import apiclient
from google.protobuf.json_format import MessageToDict

from pipeline import launch
from pipeline.config import RunConfig
from pipeline.refresh import Changes
from pipeline.submit import Submission, build, launch_request, shared_checkpoint
from transforms.scene import ImagerySource
from transforms.store import join


def preview(
    run: RunConfig,
    source: ImagerySource,
    jobs: tuple[str, ...],
    how: Submission,
    changes: Changes,
) -> dict:
    """What submitting the jobs would do; nothing is sent, staged or written.

    What is left of a job is null where an earlier job decides it, or blocks are taken back first:
    these are under `refresh`.
    """
    run = replace(run, checkpoint=shared_checkpoint(run))
    left = {job: launch.left(run, job) for job in launch.JOBS}
    open_before = {
        job: bool(changes.blocks) or any(left[j] for j in launch.JOBS[:i])
        for i, job in enumerate(launch.JOBS)
    }
    return {
        "run": run.id,
        "out": run.out,
        "checkpoint": run.checkpoint,
        "refresh": changes.to_dict(),
        "jobs": [
            {
                "job": job,
                "left": None if open_before[job] else left[job],
                "request": request(job, run, source, how),
            }
            for job in jobs
        ],
    }


def request(job: str, run: RunConfig, source: ImagerySource, how: Submission) -> dict:
    """What would be sent to Dataflow for a job."""
    if how.template:
        return launch_request(job, run, how)
    options = how.options(job, run)
    options.view_as(TestOptions).dry_run = True
    result = build(job, run, source, options, how.cloud.hint()).run()
    described = result.job
    options = described.options  # a copy, completed by the runner
    options.view_as(TestOptions).dry_run = False
    staged = options.view_as(GoogleCloudOptions).staging_location
    described.proto.environment = apiclient.Environment(
        packages=[Path(how.package).name] if how.package else [],
        options=options,
        environment_version="8",
        proto_pipeline_staged_url=join(staged, "pipeline.pb"),
        proto_pipeline=described.proto_pipeline,
    ).proto
    return MessageToDict(described.proto._pb)
