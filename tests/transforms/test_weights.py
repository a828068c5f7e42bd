import pytest

from model import checkpoint
from tests.planet import micro_checkpoint
from transforms.weights import load_card, load_checkpoint


def test_a_card_is_that_of_the_checkpoint_that_the_digest_names(tmp_path):
    url = micro_checkpoint(tmp_path / "micro.safetensors")
    loaded = checkpoint.load(url)
    assert load_checkpoint(url).card == loaded.card == load_card(url, loaded.digest)
    with pytest.raises(ValueError, match=r"micro.safetensors: its digest is .*, the maps"):
        load_card(url, "00" * 32)
