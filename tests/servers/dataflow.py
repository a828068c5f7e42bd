"""A stand-in for the Dataflow API over HTTP, which runs the graphs that are staged for it."""

from __future__ import annotations

import json
import re
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.portability import python_urns
from apache_beam.portability.api import beam_runner_api_pb2
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from google.cloud.dataflow_v1beta3 import ListJobsRequest

ROUTE = re.compile(r"/v1b3/projects/(?P<project>[^/]+)/locations/(?P<region>[^/]+)/(?P<rest>.+)")


def read_graph(data: bytes) -> beam_runner_api_pb2.Pipeline:
    """A staged `pipeline.pb`."""
    return beam_runner_api_pb2.Pipeline.FromString(data)


def run_graph(graph: beam_runner_api_pb2.Pipeline) -> None:
    """Run a staged graph in this process: every environment becomes embedded Python."""
    for environment in graph.components.environments.values():
        environment.urn = python_urns.EMBEDDED_PYTHON
        environment.payload = b""
        del environment.dependencies[:]
    FnApiRunner().run_via_runner_api(graph, PipelineOptions([])).wait_until_finish()


class DataflowStandIn:
    """The jobs that were sent, and what becomes of them.

    Args:
      read: reads a gs:// object; the graphs of jobs are read by it.

    Attributes:
      jobs: by id, the requests as they came with id and state added.
      launches: bodies of flexTemplates.launch.
      tokens: Authorization headers, None where there was none.
      graphs: by job name, the staged graph as it came.
      hold: jobs stay running while it is set.
      fail: message with which jobs fail; None: they are done.
      busy: how many answers of 503 come before the next answer to a question for a job.
    """

    def __init__(self, read: Callable[[str], bytes]):
        self.read = read
        self.jobs: dict[str, dict] = {}
        self.launches: list[dict] = []
        self.tokens: list[str | None] = []
        self.graphs: dict[str, beam_runner_api_pb2.Pipeline] = {}
        self.hold = False
        self.fail: str | None = None
        self.busy = 0
        self.url = ""
        self._threads: list[threading.Thread] = []

    def names(self) -> list[str]:
        """Of the jobs, in the order in which they came."""
        return [job["name"] for job in self.jobs.values()]

    def create(self, body: dict, hold: bool = False) -> tuple[int, dict]:
        active = [j for j in self.jobs.values() if j["currentState"] == "JOB_STATE_RUNNING"]
        if any(job["name"] == body["name"] for job in active):
            return 409, _error(409, "ALREADY_EXISTS", f"{body['name']} is running")
        job = body | {"id": f"job-{len(self.jobs)}", "currentState": "JOB_STATE_RUNNING"}
        self.jobs[job["id"]] = job
        if "environment" in job:
            url = job["environment"]["sdkPipelineOptions"]["options"]["pipelineUrl"]
            self.graphs[job["name"]] = read_graph(self.read(url))
        if not (hold or self.hold):
            thread = threading.Thread(target=self.finish, args=(job["id"],), daemon=True)
            self._threads.append(thread)
            thread.start()
        return 200, job

    def finish(self, job_id: str) -> None:
        """Run a job's graph and set how it ended."""
        job = self.jobs[job_id]
        if self.fail is None and job["name"] in self.graphs:
            graph = beam_runner_api_pb2.Pipeline()
            graph.CopyFrom(self.graphs[job["name"]])
            try:
                run_graph(graph)
            except Exception:  # like the service: whatever a job raises is the job's failure
                self.fail = traceback.format_exc()
        job["currentState"] = "JOB_STATE_FAILED" if self.fail else "JOB_STATE_DONE"

    def join(self) -> None:
        for thread in self._threads:
            thread.join()

    def answer(self, method: str, path: str, query: dict, body: dict) -> tuple[int, dict]:
        place = ROUTE.fullmatch(path)
        if place is None:
            return 404, _error(404, "NOT_FOUND", path)
        rest = place["rest"]
        if method == "POST" and rest == "jobs":
            return self.create(body)
        if method == "POST" and rest == "flexTemplates:launch":
            self.launches.append(body)
            status, job = self.create({"name": body["launchParameter"]["jobName"]})
            return status, {"job": job} if status == 200 else job
        if rest == "jobs":
            active = query["filter"] == [str(ListJobsRequest.Filter.ACTIVE.value)]
            return 200, {
                "jobs": [
                    job
                    for job in self.jobs.values()
                    if not active or job["currentState"] == "JOB_STATE_RUNNING"
                ]
            }
        job_id = rest.split("/")[1]
        if rest.endswith("/messages"):
            messages = [
                {"id": "1", "time": "2026-01-01T00:00:01Z", "messageText": "an older error"},
                {"id": "2", "time": "2026-01-01T00:00:02Z", "messageText": self.fail},
            ]
            return 200, {"jobMessages": messages if self.fail else []}
        if self.busy:
            self.busy -= 1
            return 503, _error(503, "UNAVAILABLE", "try again")
        return 200, self.jobs[job_id]


def _error(code: int, status: str, message: str) -> dict:
    return {"error": {"code": code, "status": status, "message": message}}


@contextmanager
def dataflow_api(read: Callable[[str], bytes]) -> Iterator[DataflowStandIn]:
    """A running stand-in; its address is its `url`."""
    stand_in = DataflowStandIn(read)

    class Handler(BaseHTTPRequestHandler):
        def reply(self):
            address = urlsplit(self.path)
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length) or "{}")
            stand_in.tokens.append(self.headers.get("Authorization"))
            status, answer = stand_in.answer(
                self.command, address.path, parse_qs(address.query), body
            )
            data = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = reply

        def log_message(self, *args):
            """Nothing: the tests look at what was asked, not at lines of a log."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    # Beam's client speaks plain HTTP to nothing but localhost.
    stand_in.url = f"http://localhost:{server.server_port}"
    try:
        yield stand_in
    finally:
        stand_in.join()
        server.shutdown()
        server.server_close()
