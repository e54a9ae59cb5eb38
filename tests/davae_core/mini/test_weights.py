"""The bundled codec and base VAE: small enough to ship, and made for each other."""

import pytest

from davae_core import mini
from davae_core.codec.files import load_base_vae
from davae_core.codec.latent_files import encoding_hash
from davae_core.files import value_hash
from davae_core.inspection import inspect_file
from davae_core.presets import SD3
from davae_core.transformer.adapter import read_adapter
from davae_core.transformer.fingerprint import same_base
from davae_core.transformer.pretrained import load_transformer


def test_the_codec_holds_the_base_vae_that_it_names_as_its_parent():
    base = load_base_vae(mini.davae_path())
    encoder = {f"encoder.{name}": part for name, part in base.vae.encoder.state_dict().items()}
    parents = inspect_file(mini.davae_path()).data["metadata"]["parents"]
    assert parents == {"base_encoder": value_hash(encoder)}
    assert (base.layout.base_shift, base.layout.base_scale) == (
        SD3.layout.base_shift,
        SD3.layout.base_scale,
    )


def test_the_whole_stack_takes_less_than_30_megabytes():
    parts = (
        mini.davae_path(),
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
    assert adapter.advice.trained == ((256, 256), (192, 288), (288, 192))
