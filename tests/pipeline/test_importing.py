import gc
import sys

import pytest

from pipeline.importing import importing


@pytest.fixture
def thawed():
    yield
    gc.unfreeze()


def test_what_is_imported_is_never_searched_and_the_collector_goes_on(
    tmp_path, monkeypatch, thawed
):
    (tmp_path / "made_to_be_imported.py").write_text("KEPT = [[] for _ in range(1000)]\n")
    monkeypatch.syspath_prepend(tmp_path)
    before = gc.get_freeze_count()
    with importing():
        import made_to_be_imported

        assert not gc.isenabled()
    assert gc.isenabled() and gc.get_freeze_count() >= before + 1000
    assert not any(made_to_be_imported.KEPT is known for known in gc.get_objects())
    monkeypatch.delitem(sys.modules, "made_to_be_imported")


def test_where_nothing_is_new_nothing_is_kept(thawed):
    before = gc.get_freeze_count()
    with pytest.raises(ImportError), importing():
        import no_module_of_this_name  # noqa: F401
    assert gc.isenabled() and gc.get_freeze_count() == before
