"""What is asked of Dataflow for a job: Beam flags, from options that are checked up front."""

from __future__ import annotations

import argparse
import hashlib
import re
from dataclasses import dataclass, field

from pipeline.config import RunConfig
from transforms.store import join

MACHINES = {"ingest": "n2-standard-4", "classify": "n2-standard-8", "mosaic": "n2-standard-8"}
"""Machine type of a job's workers where none is asked for; classify without GPU."""

GPU_MACHINES = {
    "nvidia-l4": "g2-standard-8",
    "nvidia-tesla-t4": "n1-standard-8",
    "nvidia-tesla-v100": "n1-standard-8",
    "nvidia-tesla-a100": "a2-highgpu-1g",
}
"""Machine types that one GPU can be attached to; others have to be named."""

DISK_GB = {"ingest": 50, "classify": 100, "mosaic": 100}
"""Boot disks: unpacked images with CUDA take 10 GB, a product tile is built on disk."""

PROCESS_MODELS = ("one-per-gpu", "mps")

THREADS_OF_ONE_PROCESS = 4
"""While one block is on the GPU, others are read and written by the same process."""


@dataclass(frozen=True)
class Gpu:
    """GPUs of a worker that classifies.

    Attributes:
      type: as Compute Engine names it, "nvidia-l4".
      count: per worker.
      driver: which driver Dataflow installs, "5xx" for instance; "" for its default.
      process_model: "one-per-gpu": one process a worker; "mps": one process a core, which share
        the GPU by NVIDIA's Multi-Process Service.
      right_fitting: ask by resource hints on the network's steps, so that only they get GPUs, and
        not by the service option, which gives all workers of the job one.
    """

    type: str
    count: int = 1
    driver: str = ""
    process_model: str = "one-per-gpu"
    right_fitting: bool = False

    def __post_init__(self):
        if self.count > 1:
            # Dataflow gives MPS to single GPUs only, and one process sees to one GPU.
            raise ValueError(
                f"gpu: got {self.count} {self.type} a worker, expected 1: a process drives one "
                "GPU; ask for more workers with --max-workers"
            )

    def machine_type(self, asked: str | None) -> str:
        """Raises ValueError where none was asked for and none is known."""
        if asked is None and self.type not in GPU_MACHINES:
            raise ValueError(
                f"gpu: no machine type is known for {self.type}, only for "
                f"{', '.join(GPU_MACHINES)}; name one with --machine-type-classify"
            )
        return asked or GPU_MACHINES[self.type]

    def accelerator(self, machine_type: str | None = None) -> str:
        """The value of Dataflow's service option, and with a machine type that of the hint."""
        driver = f"install-nvidia-driver:{self.driver}" if self.driver else "install-nvidia-driver"
        parts = [f"type:{self.type}", f"count:{self.count}"]
        parts += [f"machine_type:{machine_type}"] if machine_type else []
        parts += [driver, "use_nvidia_mps"] if self.process_model == "mps" else [driver]
        return ";".join(parts)

    def beam_args(self) -> list[str]:
        """Flags of the process model, and the service option unless right fitting is chosen."""
        args = []
        if not self.right_fitting:
            args.append(f"--dataflow_service_options=worker_accelerator={self.accelerator()}")
        if self.process_model == "one-per-gpu":
            args.append("--experiments=no_use_multiple_sdk_containers")
            args.append(f"--number_of_worker_harness_threads={THREADS_OF_ONE_PROCESS}")
        return args


def gpu_from(args: argparse.Namespace) -> Gpu | None:
    """The GPUs that the options ask for.

    Raises:
      ValueError: the text is no GPU, or options of GPUs are given without one.
    """
    if args.gpu is None:
        if args.gpu_process_model or args.right_fitting:
            raise ValueError("--gpu-process-model and --right-fitting need --gpu TYPE:COUNT")
        if args.device == "cuda":
            raise ValueError("--device cuda on Dataflow needs --gpu TYPE:COUNT")
        return None
    found = re.fullmatch(r"([a-z][a-z0-9-]*):([1-9]\d?)(?::([0-9a-z.]+))?", args.gpu)
    if found is None:
        raise ValueError(f"gpu: got {args.gpu!r}, expected TYPE:COUNT such as nvidia-l4:1")
    model = args.gpu_process_model or PROCESS_MODELS[0]
    return Gpu(found[1], int(found[2]), found[3] or "", model, args.right_fitting)


@dataclass(frozen=True)
class Cloud:
    """Where and on which machines Dataflow runs the jobs.

    Attributes:
      project: of Google Cloud.
      region: of Google Cloud, "europe-west4".
      temp: gs:// folder for staged and temporary files.
      image: of the workers; None: Beam's own, into which the package is installed at start.
      gpu: of the workers that classify.
      machine_types: by job, where asked for.
      max_workers: up to which Dataflow scales; None: its own limit.
      network, subnetwork: of the workers; None: Google's default.
      public_ips: whether workers get external addresses.
      service_account: e-mail address that workers act as; None: Compute Engine's default.
      labels: of the jobs, for billing.
    """

    project: str
    region: str
    temp: str
    image: str | None = None
    gpu: Gpu | None = None
    machine_types: dict[str, str | None] = field(default_factory=dict)
    max_workers: int | None = None
    network: str | None = None
    subnetwork: str | None = None
    public_ips: bool = True
    service_account: str | None = None
    labels: dict[str, str] = field(default_factory=dict)

    def __post_init__(self):
        if not re.fullmatch(r"([a-z][a-z0-9.-]+:)?[a-z][a-z0-9-]{4,28}[a-z0-9]", self.project):
            raise ValueError(f"gcp-project: got {self.project!r}, expected the id of a project")
        if not self.temp.startswith("gs://"):
            raise ValueError(f"temp: got {self.temp!r}, expected a gs:// folder")
        if self.max_workers is not None and self.max_workers < 1:
            raise ValueError(f"max-workers: got {self.max_workers}, expected 1 or more")
        if self.gpu:
            self.gpu.machine_type(self.machine_types.get("classify"))

    def machine_type(self, job: str) -> str:
        """Of the job's worker pool. With right fitting the GPU's machine is the hint's affair."""
        asked = self.machine_types.get(job)
        if job == "classify" and self.gpu:
            return MACHINES[job] if self.gpu.right_fitting else self.gpu.machine_type(asked)
        return asked or MACHINES[job]

    def hint(self) -> str | None:
        """Accelerator hint of the network's steps; None without right fitting."""
        if self.gpu is None or not self.gpu.right_fitting:
            return None
        return self.gpu.accelerator(self.gpu.machine_type(self.machine_types.get("classify")))

    def subnetwork_path(self) -> str | None:
        """`regions/R/subnetworks/S`: Dataflow takes no bare name."""
        if self.subnetwork is None or "/" in self.subnetwork:
            return self.subnetwork
        return f"regions/{self.region}/subnetworks/{self.subnetwork}"

    def job_labels(self, job: str, run: RunConfig) -> dict[str, str]:
        """The user's labels, the run's id and the job's name."""
        return self.labels | {"cloudlulc-run": run.id, "cloudlulc-job": job}

    def beam_args(self, job: str, run: RunConfig) -> list[str]:
        """Flags of one job; the shuffle is Dataflow's own service, so workers can come and go."""
        args = [
            "--runner=DataflowRunner",
            f"--project={self.project}",
            f"--region={self.region}",
            f"--temp_location={join(self.temp, 'tmp')}",
            f"--staging_location={join(self.temp, 'staging')}",
            f"--job_name={job_name(job, run)}",
            f"--machine_type={self.machine_type(job)}",
            f"--disk_size_gb={DISK_GB[job]}",
            "--autoscaling_algorithm=THROUGHPUT_BASED",
            "--experiments=shuffle_mode=service",
        ]
        args += [f"--labels={key}={value}" for key, value in self.job_labels(job, run).items()]
        if self.image:
            args += [f"--sdk_container_image={self.image}", "--sdk_location=container"]
        optional = {
            "max_num_workers": self.max_workers,
            "network": self.network,
            "subnetwork": self.subnetwork_path(),
            "service_account_email": self.service_account,
        }
        args += [f"--{name}={value}" for name, value in optional.items() if value is not None]
        if not self.public_ips:
            args.append("--no_use_public_ips")
        if job == "classify" and self.gpu:
            args += self.gpu.beam_args()
        return args


def cloud_from(args: argparse.Namespace) -> Cloud:
    """Raises ValueError where an option of `cloudlulc submit` cannot be used."""
    return Cloud(
        project=args.gcp_project,
        region=args.gcp_region,
        temp=args.temp,
        image=args.image,
        gpu=gpu_from(args),
        machine_types={job: getattr(args, f"machine_type_{job}") for job in MACHINES},
        max_workers=args.max_workers,
        network=args.network,
        subnetwork=args.subnetwork,
        public_ips=not args.no_public_ips,
        service_account=args.service_account,
        labels=parse_labels(args.labels or ""),
    )


def parse_labels(text: str) -> dict[str, str]:
    """`k=v,...` by the rules of Google Cloud. Raises ValueError where they are broken."""
    labels = {}
    for part in filter(None, text.split(",")):
        found = re.fullmatch(r"([a-z][a-z0-9_-]{0,62})=([a-z0-9_-]{0,63})", part)
        if found is None:
            raise ValueError(
                f"labels: got {part!r}, expected key=value of lower-case letters, digits, - and _"
            )
        labels[found[1]] = found[2]
    return labels


def job_name(job: str, run: RunConfig) -> str:
    """Equal for equal runs into equal folders: Dataflow then refuses a second one beside it."""
    folder = hashlib.sha256(run.out.encode()).hexdigest()[:6]
    return f"cloudlulc-{job}-{run.id}-{folder}"
