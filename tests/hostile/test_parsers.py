"""Malformed documents are refused with a clear error or read: no crash, no hang, no stray write."""

import pytest

from benchmarks import fuzz

EXAMPLES = 60


@pytest.mark.parametrize("name", fuzz.PARSERS)
def test_malformed_input_is_refused_or_read(name, tmp_path):
    counted = fuzz.fuzz(name, EXAMPLES, tmp_path)
    assert counted["refused"] > 0
    assert sum(counted.values()) >= EXAMPLES // 2


def test_a_crash_a_hang_and_a_stray_write_are_noticed(tmp_path, monkeypatch):
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    inside.mkdir()

    def parser(parse):
        return fuzz.Parser(lambda: None, parse)

    with pytest.raises(KeyError):
        fuzz.outcome(parser(lambda data, folder: {}["x"]), b"", inside)
    with pytest.raises(AssertionError, match="no clear error"):
        fuzz.outcome(parser(lambda data, folder: b"\xff".decode()), b"", inside)
    with pytest.raises(AssertionError, match="wrote .*outside"):
        fuzz.outcome(parser(lambda data, folder: outside.write_bytes(data)), b"", inside)
    monkeypatch.setattr(fuzz, "SECONDS", 1)
    with pytest.raises(fuzz.Hang):
        fuzz.outcome(parser(lambda data, folder: [None for _ in iter(int, 1)]), b"", inside)
