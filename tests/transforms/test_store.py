"""The same promises in a local folder and in an object store (fsspec's in-memory one)."""

import threading

import pytest

from transforms import store


@pytest.fixture(params=["local", "memory"])
def root(request, tmp_path):
    return str(tmp_path) if request.param == "local" else f"memory://{tmp_path.name}"


def test_a_folder_that_is_not_there(root):
    assert store.list_sizes(store.join(root, "none.zarr")) == {}
    assert not store.exists(store.join(root, "none.zarr"))


def test_json_round_trip(root):
    url = store.join(root, "deep", "folder", "a.json")
    store.write_json(url, {"b": 1, "a": "é"})
    assert store.read_json(url) == {"a": "é", "b": 1}
    assert store.read_bytes(url) == '{\n  "a": "é",\n  "b": 1\n}\n'.encode()
    store.write_bytes(url, b"{")
    with pytest.raises(ValueError, match="a.json: expected a JSON document"):
        store.read_json(url)
    with pytest.raises(FileNotFoundError):
        store.read_json(store.join(root, "none.json"))


def test_a_failed_write_leaves_the_old_file_and_nothing_else(root):
    url = store.join(root, "a.txt")
    store.write_bytes(url, b"old")
    with pytest.raises(KeyError), store.publishing(url) as path:
        path.write_bytes(b"new, torn")
        path.with_suffix(".aux.xml").write_bytes(b"companion")
        raise KeyError
    assert store.read_bytes(url) == b"old"
    assert store.list_files(root) == ["a.txt"]


def test_only_what_is_half_written_is_swept(tmp_path):
    for name in (f"a/zarr.{'0' * 32}.partial", f"a/.b.json.{'f' * 32}.partial/b.json"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
        (tmp_path / name).parent.parent.joinpath("mine.partial").touch()
    store.remove_partial(str(tmp_path))
    assert store.list_files(str(tmp_path)) == ["a/mine.partial", "mine.partial"]
    store.remove_partial(str(tmp_path / "none"))
    store.remove_partial("gs://never-asked/none")


def test_join():
    assert store.join("gs://b/x/", "/y", "z.zarr") == "gs://b/x/y/z.zarr"
    assert store.join("/out", "y/") == "/out/y"


def test_linked_files_outlive_their_source_and_are_not_changed_by_it(root):
    for name in ("a.txt", "deep/b.txt"):
        store.write_bytes(store.join(root, "old", name), name.encode())
    store.link_files(store.join(root, "old"), store.join(root, "new"))
    assert store.list_files(store.join(root, "new")) == ["a.txt", "deep/b.txt"]
    store.write_bytes(store.join(root, "old", "a.txt"), b"written anew")
    store.remove(store.join(root, "old", "deep"))
    assert store.read_bytes(store.join(root, "new", "a.txt")) == b"a.txt"
    assert store.read_bytes(store.join(root, "new", "deep", "b.txt")) == b"deep/b.txt"


def test_links_need_one_storage(tmp_path):
    with pytest.raises(ValueError, match="one is local and one is not"):
        store.link_files(str(tmp_path), "gs://bucket/out")


@pytest.mark.parametrize(
    ("href", "meant"),
    [
        ("../in/s1.json", "/data/in/s1.json"),
        ("./a.tif", "/data/out/a.tif"),
        ("https://a.b/x", "https://a.b/x"),
        ("urn:scene:x", "urn:scene:x"),
    ],
)
def test_links_are_resolved_and_made_relative_again(href, meant):
    assert store.resolve("/data/out/item.json", href) == meant
    back = store.relative(meant, "/data/out")
    assert store.resolve("/data/out/item.json", back) == meant
    assert store.resolve("gs://b/out/item.json", "../in/a.json") == "gs://b/in/a.json"


def test_a_document_that_may_be_missing_is_found_by_one_read(root):
    url = store.join(root, "plan", "a.json")
    assert store.find_json(url) is None
    store.write_json(url, {"blocks": {}})
    assert store.find_json(url) == {"blocks": {}}
    store.write_bytes(url, b"{")
    with pytest.raises(ValueError, match="expected a JSON document"):
        store.find_json(url)


def test_questions_are_asked_at_once_and_answered_in_order():
    everyone = threading.Barrier(store.AT_ONCE, timeout=30)

    def ask(number):
        everyone.wait()
        return -number

    asked = range(3 * store.AT_ONCE)
    assert store.in_parallel(ask, asked) == [-number for number in asked]
    with pytest.raises(ZeroDivisionError):
        store.in_parallel(lambda number: 1 / number, asked)
