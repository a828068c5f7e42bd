"""Earth Engine: the service that fails, refuses and asks who is there."""

from __future__ import annotations

import json
import logging
import os
import pickle
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest

from tests.servers.earth_engine import FAULTS, TOKEN, EarthEngineServer, Faults
from tests.servers.earth_engine_archive import GRD, PlanetArchive
from tests.transforms.sources.made_earthengine import (
    BOX,
    JUNE,
    PLACE,
    find,
    make_source,
    no_sleep,
)
from transforms.scene import SENTINEL1, SENTINEL2, SourceUnavailable
from transforms.sources import open_source
from transforms.sources.earthengine import MAX_REQUESTS, EarthEngineSource
from transforms.sources.earthengine_transport import PROCESS_REQUESTS, Settings
from transforms.sources.patience import Patience
from transforms.sources.synthetic import SyntheticSource


@pytest.fixture
def server(earth_engine):
    """The session's stand-in, as at its start."""
    earth_engine.reset()
    return earth_engine


# Trouble


def everything(source) -> list[bytes]:
    """All that a small run reads."""
    scenes = source.search(PLACE, JUNE)
    bands = {SENTINEL1: ("VV", "VH"), SENTINEL2: ("B02", "B05", "SCL", "CLOUD_PROBABILITY")}
    return [pickle.dumps(scenes)] + [
        source.read(s, BOX._replace(x0=BOX.x0 + shift), bands[s.sensor]).pixels.tobytes()
        for s in scenes
        for shift in (0, 480, 960)
    ]


def test_a_hostile_service_changes_no_byte(server):
    calm = everything(make_source(server))
    asked = len(server.requests)
    server.requests.clear()
    server.faults = Faults(0.2, seed=2, hold=6.0)
    waits = []
    hostile = make_source(server, deadline=2.0, patience=Patience(sleep=waits.append))
    assert everything(hostile) == calm
    met = {r.fault for r in server.requests}
    assert met >= set(FAULTS), "choose another seed: not all faults were met"
    failed = sum(bool(r.fault) for r in server.requests)
    assert len(waits) >= failed and len(server.requests) >= asked + failed


@pytest.mark.parametrize("fault", ["429", "truncated", "cut short"])
def test_a_service_that_stays_down_is_given_up_by_name(server, fault):
    source = make_source(server)
    scene = find(source, SENTINEL1)
    server.requests.clear()
    server.faults = Faults(1.0, kinds=(fault,))
    with pytest.raises(SourceUnavailable, match=f"{scene.id}.*given up after 6 attempts"):
        source.read(scene, BOX, ("VV",))
    with pytest.raises(SourceUnavailable, match=r"search of 15.27.*\[2024-06-01, 2024-06-13\)"):
        source.search(PLACE, JUNE)
    # The library itself has not tried again.
    assert server.count("pixels") == server.count("search") == 6


def test_a_server_that_is_gone_is_unavailable():
    with EarthEngineServer() as gone:
        source = make_source(gone, patience=Patience(attempts=2, sleep=no_sleep))
    with pytest.raises(SourceUnavailable, match="test-project"):
        source.check(PLACE, JUNE)


def test_a_permanent_failure_is_not_repeated(server):
    source = make_source(server)
    scene = find(source, SENTINEL1)
    lost = scene._replace(
        id="LOST", assets=tuple(a._replace(href=f"{GRD}/LOST_A_B_C_19990102T_0000#VV")
                                for a in scene.assets)
    )  # fmt: skip
    server.requests.clear()
    with pytest.raises(SourceUnavailable, match="scene LOST, bands VV.*HTTP 400.*not found"):
        source.read(lost, BOX, ("VV",))
    assert server.count("pixels") == 1


def test_a_service_that_refuses_is_told_apart_from_one_that_is_busy(server):
    source = make_source(server)
    server.refusal = (403, "Permission denied.")
    with pytest.raises(SourceUnavailable, match="HTTP 403: Permission denied"):
        source.search(PLACE, JUNE)
    assert server.count("search") == 1


def test_retry_after_of_the_service_is_waited(server):
    source = make_source(server)
    find(source, SENTINEL1)
    waits = []
    server.faults = Faults(1.0, kinds=("503",))
    busy = replace(source, patience=Patience(3, sleep=waits.append, jitter=lambda: 0.0))
    with pytest.raises(SourceUnavailable, match="HTTP 503"):
        busy.search(PLACE, JUNE)
    assert waits == [7.0, 7.0]


class InFlight:
    """Holds every plane for a while and notes which services, and how many, were at work.

    Attributes:
      full: how many are waited for, on a slow machine too, before time starts to count.
    """

    def __init__(self, full: int = 1):
        self.lock, self.running, self.seen = threading.Lock(), [], []
        self.full, self.reached = full, threading.Event()

    def at(self, service: str):
        def change(image, band, geobox, values, mask):
            with self.lock:
                self.running.append(service)
                self.seen.append(list(self.running))
                if len(self.running) >= self.full:
                    self.reached.set()
            self.reached.wait(20)
            time.sleep(0.6)  # time enough for a request too many to arrive
            with self.lock:
                self.running.remove(service)
            return values, mask

        return change


def test_a_process_has_a_cap_on_its_requests(server):
    source, flight = make_source(server), InFlight(PROCESS_REQUESTS)
    scene = find(source, SENTINEL1)
    server.archive = PlanetArchive(change=flight.at("here"))
    count = PROCESS_REQUESTS + 4
    with ThreadPoolExecutor(count) as pool:
        reads = [pool.submit(source.read, scene, BOX, ("VV",)) for _ in range(count)]
        [read.result() for read in reads]
    assert max(map(len, flight.seen)) == PROCESS_REQUESTS < MAX_REQUESTS == source.max_requests


def test_two_services_take_turns_in_one_process(server):
    flight = InFlight()
    with EarthEngineServer() as other:
        here, there = make_source(server), make_source(other)
        scene = find(here, SENTINEL1)
        server.archive = PlanetArchive(change=flight.at("here"))
        other.archive = PlanetArchive(SyntheticSource(seed=9), change=flight.at("there"))
        with ThreadPoolExecutor(4) as pool:
            reads = [pool.submit(source.read, scene, BOX, ("VV",)) for source in (here, there) * 2]
            rasters = [read.result().pixels.tobytes() for read in reads]
    assert {len(set(running)) for running in flight.seen} == {1}
    assert len(set(rasters[::2])) == 1 == len(set(rasters[1::2])) and rasters[0] != rasters[1]


# Configuration and secrets


def test_options_are_read_from_the_spec():
    source = open_source("earthengine:my-project,level=L1C,key=a/b.json,score=cs_cdf")
    assert source.settings == Settings("my-project", key="a/b.json")
    assert (source.level, source.score) == ("L1C", "cs_cdf")
    assert open_source("earthengine:p,url=http://127.0.0.1:1,anonymous=1").settings.anonymous


@pytest.mark.parametrize(
    "spec", ["", ",level=L2A", "p,level=L3", "p,levl=L2A", "p,key=", "p,anonymous=0", "p,score=x"]
)
def test_a_wrong_spec_is_an_error(spec):
    with pytest.raises(ValueError, match="source earthengine"):
        open_source(f"earthengine:{spec}")


def test_the_module_is_imported_without_the_client_library():
    code = (
        "import sys; from transforms.sources import open_source;"
        "open_source('earthengine:p');"
        "heavy = {'ee', 'googleapiclient', 'requests', 'apache_beam'};"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_check_says_that_credentials_are_missing(server, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path))
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS", raising=False)
    source = EarthEngineSource(Settings("test-project", url=server.url))
    with pytest.raises(ValueError, match="earthengine authenticate.*service account"):
        source.check(PLACE, JUNE)


@pytest.mark.parametrize(
    "message, advice",
    [
        ("Earth Engine API has not been used in project 1 before or it is disabled.", "enable"),
        ("Project 'p' is not registered to use Earth Engine.", "register the project"),
        ("Caller does not have required permission to use project p.", "roles Earth Engine"),
    ],
)
def test_check_says_what_to_do_about_a_refusal(message, advice):
    with EarthEngineServer() as fresh:
        fresh.refusal = (403, message)
        with pytest.raises(ValueError, match=f"test-project: HTTP 403: .*{advice}"):
            make_source(fresh).check(PLACE, JUNE)
        assert fresh.count("algorithms") == 1


def test_check_of_a_working_project_is_one_cheap_call():
    with EarthEngineServer() as fresh:
        source = make_source(fresh)
        source.check(PLACE, JUNE)
        source.check(PLACE, JUNE)  # of the next tile
        assert [r.kind for r in fresh.requests].count("search") == 1


@pytest.fixture(scope="module")
def key_file(earth_engine, tmp_path_factory):
    """A service account's key as Google writes them, with a private key of its own."""
    from cryptography.hazmat.primitives import serialization as form
    from cryptography.hazmat.primitives.asymmetric import rsa

    private = rsa.generate_private_key(65537, 2048).private_bytes(
        form.Encoding.PEM, form.PrivateFormat.PKCS8, form.NoEncryption()
    )
    path = tmp_path_factory.mktemp("keys") / "key.json"
    key = {
        "type": "service_account",
        "project_id": "test-project",
        "private_key_id": "0123456789abcdef",
        "private_key": private.decode(),
        "client_email": "robot@test-project.iam.gserviceaccount.com",
        "token_uri": f"{earth_engine.url}/token",
    }
    path.write_text(json.dumps(key))
    return path


@pytest.mark.parametrize("way", ["key option", "application default"])
def test_a_service_account_signs_in(server, key_file, tmp_path, monkeypatch, way):
    monkeypatch.setenv("HOME", str(tmp_path))
    settings = Settings("test-project", url=server.url, deadline=20.0)
    if way == "key option":
        settings = settings._replace(key=str(key_file))
    else:
        monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(key_file))
    EarthEngineSource(settings).search(PLACE, JUNE)
    assert server.count("token") == 1
    [request] = server.of("search")
    assert request.headers["authorization"] == f"Bearer {TOKEN}"
    assert request.headers["x-goog-user-project"] == "test-project"
    # The next test starts without this account.
    make_source(server).search(PLACE, JUNE)
    assert "authorization" not in server.of("search")[1].headers


def test_secrets_are_in_no_pickle_repr_log_or_error(server, key_file, caplog):
    caplog.set_level(logging.DEBUG)
    secret = json.loads(key_file.read_text())["private_key"].splitlines()[1]
    settings = Settings("test-project", key=str(key_file), url=server.url, deadline=5.0)
    source = EarthEngineSource(settings, patience=Patience(2, sleep=no_sleep))
    source.search(PLACE, JUNE)
    server.refusal = (403, "Permission denied.")
    with pytest.raises(SourceUnavailable) as refused:
        source.search(PLACE, JUNE)
    shown = [repr(source), caplog.text, str(refused.value), repr(refused.value.__cause__)]
    assert not any(word in text for text in shown for word in (secret, "PRIVATE", TOKEN))
    assert secret.encode() not in pickle.dumps(source)
    assert str(key_file) in repr(source)


@pytest.mark.parametrize("content", [None, "{not json SECRET", '{"private_key": "SECRET"}'])
def test_a_bad_key_file_is_named_and_not_quoted(server, tmp_path, content):
    path = tmp_path / "key.json"
    if content:
        path.write_text(content)
    source = EarthEngineSource(Settings("test-project", key=str(path), url=server.url))
    with pytest.raises(ValueError, match="key.json") as refused:
        source.check(PLACE, JUNE)
    assert "SECRET" not in str(refused.value) and refused.value.__suppress_context__


@pytest.mark.live
@pytest.mark.skipif("EARTHENGINE_PROJECT" not in os.environ, reason="no EARTHENGINE_PROJECT")
def test_the_real_service_gives_scenes_and_pixels():
    key = os.environ.get("EARTHENGINE_KEY")
    project = os.environ["EARTHENGINE_PROJECT"]
    source = open_source(f"earthengine:{project}" + (f",key={key}" if key else ""))
    source.check(PLACE, JUNE)
    scenes = source.search(PLACE, JUNE)
    assert {s.sensor for s in scenes} == {SENTINEL1, SENTINEL2}
    assert all(s.within(JUNE) for s in scenes)
    full = 0
    for scene in scenes:
        raster = source.read(scene, BOX, scene.bands)
        assert raster.pixels.shape == (len(scene.bands), *BOX.shape)
        other = source.read(scene, BOX._replace(x0=BOX.x0 + 100), scene.bands[1:2])
        np.testing.assert_array_equal(raster.pixels[1, :, 10:], other.pixels[0, :, :-10])
        full += bool(np.isfinite(raster.pixels).all() and (raster.pixels[:2] != 0).all())
    assert full
