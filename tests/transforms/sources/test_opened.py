"""Files stay open from window to window, for one thread at a time, and not longer than they may."""

import os
from concurrent.futures import ThreadPoolExecutor
from threading import Event

import numpy as np
import pytest
from rasterio.errors import RasterioIOError

from tests.transforms.sources.made_scenes import write_tif
from transforms.grid import GeoBox
from transforms.scene import Asset
from transforms.sources import opened
from transforms.sources.opened import close_files, lent

BOX = GeoBox(32633, 500000, 5300000, 10, 64, 64)


@pytest.fixture
def asset(tmp_path):
    def make(name="one.tif", value=1):
        write_tif(tmp_path / name, np.full(BOX.shape, value, np.uint16), BOX)
        return Asset("B02", str(tmp_path / name))

    yield make
    close_files()


def test_a_file_is_opened_once(asset):
    one = asset()
    with lent(one, {}) as first:
        assert first.read(1).max() == 1
    with lent(one, {}) as again:
        assert again is first
    close_files()
    assert first.closed
    with lent(one, {}) as anew:
        assert anew is not first and anew.read(1).max() == 1


def test_one_that_was_replaced_is_read_anew(asset):
    with lent(asset(value=1), {}) as before:
        assert before.read(1).max() == 1
    replaced = asset(value=2)
    os.utime(replaced.href, ns=(7, 7))
    with lent(replaced, {}) as after:
        assert after.read(1).max() == 2


def test_one_that_could_not_be_read_is_opened_anew(asset):
    one = asset()
    with pytest.raises(RasterioIOError), lent(one, {}) as failed:
        raise RasterioIOError("cut short")
    assert failed.closed
    with lent(one, {}) as again:
        assert again.read(1).max() == 1
    with pytest.raises(RasterioIOError), lent(one._replace(href=one.href + "f"), {}):
        pass


def test_the_one_that_was_not_used_for_longest_is_closed(asset, monkeypatch):
    monkeypatch.setattr(opened, "MOST", 2)
    a, b, c = map(asset, ("a.tif", "b.tif", "c.tif"))
    files = []
    for one in (a, b, a, c):
        with lent(one, {}) as dataset:
            files.append(dataset)
    assert [f.closed for f in files] == [False, True, False, False]


def test_threads_take_turns(asset):
    one, inside = asset(), Event()

    def second():
        with lent(one, {}) as dataset:
            inside.set()
            return dataset

    with ThreadPoolExecutor(1) as pool:
        with lent(one, {}) as first:
            waiting = pool.submit(second)
            assert not inside.wait(0.1)
        assert waiting.result(10) is first
