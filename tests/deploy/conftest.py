"""Google Cloud on this machine: storage, tokens and Dataflow, for the tests of submissions."""

import pytest
from apache_beam.internal.gcp import auth
from fsspec.registry import _registry
from gcsfs.core import GCSFileSystem

from tests.servers.dataflow import dataflow_api
from tests.servers.gcs import gcs_emulator
from tests.servers.google_auth import service_account


@pytest.fixture(scope="module")
def storage(tmp_path_factory):
    """gcsfs on an emulator with a bucket of that name; its address is in the environment."""
    folder = tmp_path_factory.mktemp("cloud")
    (folder / "buckets" / "bucket").mkdir(parents=True)
    with (
        pytest.MonkeyPatch.context() as patch,
        gcs_emulator(folder / "buckets") as url,
        service_account(folder) as credentials,
    ):
        patch.setenv("STORAGE_EMULATOR_HOST", url)
        patch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(credentials))
        patch.setenv("NO_GCE_CHECK", "true")
        # Whatever would leave this machine over HTTPS meets a closed port instead.
        patch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
        # Else gcsfs asks for the kind of every bucket over gRPC, for a minute each. The variable is
        # read when gcsfs is imported: it is for subprocesses, here gcsfs is there already.
        patch.setenv("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")
        patch.setitem(_registry, "gs", GCSFileSystem)
        # Beam keeps the first credentials of a process; other tests may have used others.
        patch.setattr(auth._Credentials, "_credentials_init", False)
        GCSFileSystem.clear_instance_cache()
        yield GCSFileSystem(use_listings_cache=False)
        GCSFileSystem.clear_instance_cache()


@pytest.fixture(scope="module")
def dataflow(storage):
    """The Dataflow API; it runs the graphs that are staged on the emulator."""
    with pytest.MonkeyPatch.context() as patch, dataflow_api(storage.cat_file) as stand_in:
        patch.setattr("pipeline.dataflow_service.POLL_SECONDS", 0.05)
        yield stand_in
