"""The bundled codec and base VAE: small enough to ship, and made for each other."""

import pytest

from davae_core import mini
from davae_core.codec.latent_files import encoding_hash
from davae_core.files import read_safetensors, value_hash
from davae_core.inspection import inspect_file
from davae_core.transformer.adapter import read_adapter
from davae_core.transformer.fingerprint import same_base
from davae_core.transformer.pretrained import load_transformer


def test_the_codec_and_its_base_take_less_than_12_megabytes():
    assert sum(path.stat().st_size for path in (mini.davae_path(), mini.base_vae_path())) < 12e6


def test_the_codec_holds_the_base_vae_and_names_it_as_its_parent():
    base, codec = (read_safetensors(path)[0] for path in (mini.base_vae_path(), mini.davae_path()))
    assert {name: codec[name].tolist() for name in base} == {n: t.tolist() for n, t in base.items()}
    encoder = {name: part for name, part in base.items() if name.startswith("encoder.")}
    parents = inspect_file(mini.davae_path()).data["metadata"]["parents"]
    assert parents == {"base_encoder": value_hash(encoder)}


def test_the_whole_stack_takes_less_than_30_megabytes():
    parts = (
        mini.davae_path(),
        mini.base_vae_path(),
        mini.clip_path(),
        mini.transformer_path(),
        mini.adapter_path(),
        mini.detail_adapter_path(),
    )
    assert sum(path.stat().st_size for path in parts) < 30e6


@pytest.mark.parametrize(
    ("path", "mode"), [(mini.adapter_path(), "joint"), (mini.detail_adapter_path(), "detail")]
)
def test_the_adapters_belong_to_the_bundled_transformer_and_codec(path, mode):
    adapter = read_adapter(path)
    assert adapter.mode == mode
    assert same_base(adapter.parents["base"], load_transformer(mini.transformer_path()))
    assert adapter.parents["vae"] == encoding_hash(mini.davae_path())
    assert adapter.advice.sizes == (256,)
