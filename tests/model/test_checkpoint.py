"""Checkpoint files: round trip, equal bytes, and what is refused."""

import hashlib
import json
from dataclasses import replace

import pytest
import torch
from planet import MICRO
from safetensors.torch import load_file, save_file

from model.checkpoint import METADATA_KEY, load, of_network, require_match, save
from model.inputs import INPUTS
from model.legend import LULC6
from model.network import CloudLULCNet


@pytest.fixture(scope="module")
def checkpoint():
    torch.manual_seed(0)
    net = CloudLULCNet(MICRO)
    net.scaling.set_statistics([0.3] * 14, [0.2] * 14)
    card = {"licence": "Apache-2.0", "trained_on": ["a", "b"]}
    return of_network(net, INPUTS, LULC6, 1.3, card)


def test_round_trip(checkpoint, tmp_path):
    path = tmp_path / "a.safetensors"
    saved = save(path, checkpoint)
    read = load(path)
    assert saved.digest == read.digest == hashlib.sha256(path.read_bytes()).hexdigest()
    for name in ("config", "inputs", "legend", "temperature", "card"):
        assert getattr(read, name) == getattr(checkpoint, name)
    assert read.state.keys() == checkpoint.state.keys()
    assert all(torch.equal(read.state[k], v) for k, v in checkpoint.state.items())
    net = read.network()
    assert not net.training
    assert net.scaling.mean.tolist() == pytest.approx([0.3] * 14)


def test_half_is_half_the_size_and_reads_as_float32(checkpoint, tmp_path):
    save(tmp_path / "full.safetensors", checkpoint)
    half = save(tmp_path / "half.safetensors", checkpoint, half=True)
    sizes = [(tmp_path / f"{n}.safetensors").stat().st_size for n in ("full", "half")]
    assert sizes[1] < 0.75 * sizes[0]
    assert {v.dtype for v in half.state.values()} == {torch.float32}
    k = "decoder.start.weight"
    assert torch.equal(half.state[k], checkpoint.state[k].half().float())


def test_same_content_same_bytes_and_nothing_left_behind(checkpoint, tmp_path):
    a = save(tmp_path / "a.safetensors", checkpoint)
    shuffled = replace(checkpoint, state=dict(reversed(checkpoint.state.items())))
    b = save(tmp_path / "b.safetensors", shuffled)
    assert a.digest == b.digest
    assert save(tmp_path / "b.safetensors", load(tmp_path / "a.safetensors")).digest == a.digest
    other = save(tmp_path / "b.safetensors", replace(checkpoint, temperature=2.0))
    assert other.digest != a.digest
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.safetensors", "b.safetensors"]


def test_files_that_are_no_checkpoint(checkpoint, tmp_path):
    with pytest.raises(ValueError, match="none.safetensors"):
        load(tmp_path / "none.safetensors")
    path = tmp_path / "bad.safetensors"
    path.write_bytes(b"this is a text, not weights at all")
    with pytest.raises(ValueError, match="bad.safetensors: not a readable safetensors"):
        load(path)
    save_file({"a": torch.zeros(1)}, path)
    with pytest.raises(ValueError, match="bad.safetensors: metadata key 'cloudlulc' is missing"):
        load(path)
    save(path, checkpoint)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match="bad.safetensors: not a readable safetensors"):
        load(path)


def rewrite(path, checkpoint, change, tensors=None):
    """A checkpoint file whose metadata, or tensors, were changed after it was saved."""
    from safetensors import safe_open

    save(path, checkpoint)
    with safe_open(path, framework="pt") as f:
        about = json.loads(f.metadata()[METADATA_KEY])
    change(about)
    state = load_file(path)
    save_file((tensors or dict)(state), path, {METADATA_KEY: json.dumps(about)})


def test_metadata_that_cannot_be_used(checkpoint, tmp_path):
    path = tmp_path / "c.safetensors"
    rewrite(path, checkpoint, lambda a: a["config"].update(colour=3))
    with pytest.raises(ValueError, match="c.safetensors.*colour"):
        load(path)
    rewrite(path, checkpoint, lambda a: a.pop("legend"))
    with pytest.raises(ValueError, match="c.safetensors.*legend"):
        load(path)
    rewrite(path, checkpoint, lambda a: a.update(format=99))
    with pytest.raises(ValueError, match="format 99, expected 1"):
        load(path)


def test_tensors_that_do_not_fit(checkpoint, tmp_path):
    path = tmp_path / "c.safetensors"
    rewrite(path, checkpoint, lambda a: a["config"].update(latent=16))
    with pytest.raises(ValueError, match=r"do not fit the config.*to_latent.*expected \(16"):
        load(path)
    rewrite(path, checkpoint, dict, lambda s: {k: v for k, v in s.items() if "orm.0" not in k})
    with pytest.raises(ValueError, match="missing .*orm.0"):
        load(path)
    rewrite(path, checkpoint, dict, lambda s: s | {"extra": torch.zeros(1)})
    with pytest.raises(ValueError, match="unknown .*extra"):
        load(path)


def test_a_bad_checkpoint_is_not_saved(checkpoint, tmp_path):
    path = tmp_path / "d.safetensors"
    with pytest.raises(ValueError, match="6 classes"):
        save(path, replace(checkpoint, legend=LULC6._replace(classes=LULC6.classes[:5])))
    with pytest.raises(ValueError, match="temperature"):
        save(path, replace(checkpoint, temperature=0.0))
    large = checkpoint.state | {"scaling.mean": torch.full((14,), 1e6)}
    with pytest.raises(ValueError, match="not finite.*scaling.mean"):
        save(path, replace(checkpoint, state=large), half=True)
    assert not list(tmp_path.iterdir())


def test_other_bands_or_legend_are_printed(checkpoint):
    require_match(checkpoint, INPUTS, LULC6)
    bands = INPUTS._replace(optical=INPUTS.optical._replace(bands=INPUTS.optical.bands[:4]))
    with pytest.raises(ValueError, match="other inputs") as e:
        require_match(checkpoint, bands, LULC6)
    assert str(e.value).count("sentinel-2-l2a") == 2
    with pytest.raises(ValueError, match="other legend") as e:
        require_match(checkpoint, INPUTS, LULC6._replace(name="mine"))
    assert "'mine'" in str(e.value) and "'lulc6'" in str(e.value)
