"""Jobs as Dataflow's service knows them: is one running, how did it end, start a template."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import cached_property

import google.auth
import google.auth.credentials
from apache_beam.options.pipeline_options import GoogleCloudOptions, PipelineOptions
from google.api_core.client_options import ClientOptions
from google.api_core.exceptions import GoogleAPICallError
from google.api_core.retry import Retry
from google.auth.exceptions import GoogleAuthError
from google.cloud import dataflow_v1beta3 as dataflow

POLL_SECONDS = 15.0

PATIENCE = Retry(timeout=600.0)
"""Waiting takes hours: ten minutes without an answer of the service do not end it."""

ENDED = ("JOB_STATE_FAILED", "JOB_STATE_CANCELLED", "JOB_STATE_UPDATED", "JOB_STATE_DRAINED")


class JobFailed(RuntimeError):
    """A job ended without being done; says which, why, and where to look."""


FAILURES = (JobFailed, GoogleAPICallError, GoogleAuthError)
"""What a submission may meet of Google's side; none is a fault of the options."""


class DataflowService:
    """The jobs of one project and region.

    Args:
      options: of Beam; project, region, endpoint and credentials are taken from them.
      sleep: how to wait between two questions.
    """

    def __init__(self, options: PipelineOptions, sleep: Callable[[float], None] = time.sleep):
        self._cloud = options.view_as(GoogleCloudOptions)
        self._sleep = sleep

    @cached_property
    def _connection(self) -> dict:
        if self._cloud.no_auth:
            credentials = google.auth.credentials.AnonymousCredentials()
        else:
            credentials, _ = google.auth.default(scopes=self._cloud.gcp_oauth_scopes)
        endpoint = ClientOptions(api_endpoint=self._cloud.dataflow_endpoint.rstrip("/"))
        return {"credentials": credentials, "client_options": endpoint, "transport": "rest"}

    @property
    def _place(self) -> dict[str, str]:
        return {"project_id": self._cloud.project, "location": self._cloud.region}

    def link(self, job_id: str) -> str:
        """Address of a job in the console."""
        place = f"{self._cloud.region}/{job_id}?project={self._cloud.project}"
        return f"https://console.cloud.google.com/dataflow/jobs/{place}"

    def active(self, name: str) -> str | None:
        """Id of the job of that name that has not ended yet."""
        jobs = dataflow.JobsV1Beta3Client(**self._connection)
        request = dataflow.ListJobsRequest(
            filter=dataflow.ListJobsRequest.Filter.ACTIVE, name=name, **self._place
        )
        return next((j.id for j in jobs.list_jobs(request, retry=PATIENCE) if j.name == name), None)

    def wait(self, job_id: str, say: Callable[[str], None]) -> None:
        """Wait until a job is done; says each state that it comes to.

        Raises:
          JobFailed: it ended otherwise.
        """
        jobs = dataflow.JobsV1Beta3Client(**self._connection)
        request = dataflow.GetJobRequest(job_id=job_id, **self._place)
        said = None
        while True:
            job = jobs.get_job(request, retry=PATIENCE)
            state = job.current_state.name
            if state != said:
                say(f"{job.name}: {state.removeprefix('JOB_STATE_').lower()}")
                said = state
            if state == "JOB_STATE_DONE":
                return
            if state in ENDED:
                what = state.removeprefix("JOB_STATE_").lower()
                raise JobFailed(
                    f"{job.name} {what}: {self._last_error(job_id)}; see {self.link(job_id)}"
                )
            self._sleep(POLL_SECONDS)

    def _last_error(self, job_id: str) -> str:
        messages = dataflow.MessagesV1Beta3Client(**self._connection)
        request = dataflow.ListJobMessagesRequest(
            job_id=job_id,
            minimum_importance=dataflow.JobMessageImportance.JOB_MESSAGE_ERROR,
            **self._place,
        )
        errors = list(messages.list_job_messages(request, retry=PATIENCE))
        if not errors:
            return "the service gives no reason"
        return max(errors, key=lambda message: message.time).message_text.strip()

    def launch_template(self, launch: dict) -> str:
        """Start a job from a Flex Template, given a LaunchFlexTemplateParameter; its id."""
        templates = dataflow.FlexTemplatesServiceClient(**self._connection)
        request = dataflow.LaunchFlexTemplateRequest(launch_parameter=launch, **self._place)
        return templates.launch_flex_template(request).job.id
