"""What the launcher of a Flex Template runs: build one job's graph, hand it over, and end."""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace

from apache_beam.options.pipeline_options import GoogleCloudOptions, PipelineOptions

from pipeline import flex, launch
from pipeline.arguments import run_from
from pipeline.chain import checked_source
from pipeline.dataflow import Cloud, gpu_from
from pipeline.submit import Submission, build, check_reachable, share_checkpoint


def main(argv: list[str]) -> None:
    """Start one job; whoever launched the template waits for it.

    A job is handed over even where nothing is left to do: to the service a template without a job
    is a failed one. Such a job ends at once.

    Args:
      argv: the template's parameters as --name=value, and flags of Beam.

    Raises:
      ValueError: a parameter cannot be used.
    """
    parameters, beam_args = split(argv)
    job = parameters.get("job", "")
    if job not in launch.JOBS:
        raise ValueError(f"parameter job: got {job!r}, expected one of {', '.join(launch.JOBS)}")
    flex.check_parameters(job, parameters)
    args = flex.option_parser().parse_args(flex.to_options(parameters))
    gpu = gpu_from(args)
    run = run_from(args)
    check_reachable(run)
    source = checked_source(run)
    run = replace(share_checkpoint(run), device="cuda" if gpu else "cpu")
    launcher = PipelineOptions(beam_args).view_as(GoogleCloudOptions)
    cloud = Cloud(
        project=launcher.project,
        region=launcher.region,
        temp=launcher.temp_location or "",
        gpu=gpu,
        machine_types={"classify": args.machine_type_classify},
    )
    options = Submission(cloud, beam_args).options(job, run)
    launch.start(run)
    build(job, run, source, options, cloud.hint()).run()


def split(argv: list[str]) -> tuple[dict[str, str], list[str]]:
    """A template's own parameters, and what remains: the launcher's flags of Beam."""
    parser = argparse.ArgumentParser("cloudlulc template", allow_abbrev=False)
    for name in [p["name"] for p in flex.metadata("classify")["parameters"]]:
        parser.add_argument(f"--{name}")
    known, beam_args = parser.parse_known_args(argv)
    return {name: value for name, value in vars(known).items() if value is not None}, beam_args


if __name__ == "__main__":
    main(sys.argv[1:])
