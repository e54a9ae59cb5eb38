"""Any value at any place of what files say in JSON and YAML is a sentence or a sound result."""

import json

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.reliability.damage.values import places, put
from benchmarks.reliability.isolation import ROOT, sentence_flaw
from davae_core import mini
from davae_core.codec.description import codec_config
from davae_core.files import CheckpointError, read_shapes
from davae_core.transformer.description import read_file_description
from training.cache.config import CacheConfig
from training.dit.config import DitTrainingConfig
from training.errors import TrainingError
from training.settings.yaml_config import read_config
from training.vae.config import VaeTrainingConfig

NUMBERS = st.integers() | st.floats() | st.sampled_from([10**400, -(10**400), 2**63])
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=10,
)  # fmt: skip
FILES = {"codec": mini.davae_path(), "adapter": mini.adapter_path()}
SETTINGS = {
    "sd35_paper": DitTrainingConfig,
    "paper": VaeTrainingConfig,
    "sd35_cache": CacheConfig,
}


def told(kind):
    """Shapes and metadata of a bundled file."""
    found, metadata = read_shapes(FILES[kind])
    return {name: shape for name, (shape, _) in found.items()}, metadata


@pytest.mark.parametrize("kind", FILES)
@given(data=st.data())
@settings(max_examples=150)
def test_any_value_in_metadata_is_a_sentence_or_a_sound_description(kind, data, tmp_path_factory):
    shapes, metadata = told(kind)
    sound = json.loads(metadata["davae"])
    place = data.draw(st.sampled_from(list(places(sound))))
    changed = {**metadata, "davae": json.dumps(put(sound, place, data.draw(VALUES)))}
    try:
        if kind == "codec":
            codec_config("some.safetensors", shapes, changed)
        else:
            described(changed, tmp_path_factory.mktemp("described") / "some.safetensors")
    except CheckpointError as error:
        assert sentence_flaw(str(error)) is None


def described(metadata, path):
    """What an adapter's file of this metadata says."""
    import torch
    from safetensors.torch import save_file

    save_file({"a": torch.zeros(1)}, path, metadata)
    return read_file_description(path)


@pytest.mark.parametrize("recipe", SETTINGS)
@given(data=st.data())
@settings(max_examples=100)
def test_any_value_in_settings_is_a_sentence_or_sound_settings(recipe, data, tmp_path_factory):
    sound = yaml.safe_load((ROOT / "training" / "configs" / f"{recipe}.yaml").read_text())
    place = data.draw(st.sampled_from(list(places(sound))))
    path = tmp_path_factory.mktemp("settings") / "some.yaml"
    # JSON is YAML, and says NaN and long numbers too.
    path.write_text(json.dumps(put(sound, place, data.draw(VALUES))))
    try:
        read_config(SETTINGS[recipe], path)
    except TrainingError as error:
        assert sentence_flaw(str(error)) is None
