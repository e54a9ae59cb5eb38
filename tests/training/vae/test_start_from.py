"""Runs that train a codec on, all of it or its decoder alone."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from davae_core.codec.files import base_of, load_codec, save_codec
from davae_core.codec.latent_files import encoding_hash
from training.engine.tracking import read_log
from training.errors import TrainingError
from training.vae.train import train_vae
from training.vae.trainees import DetailTrainee, build_trainee

ONE = torch.ones(2, 1, 1, 1)


@pytest.fixture
def codec_file(make_config: Any, tmp_path: Path) -> Path:
    """What a short stage-1 run wrote, with weights rounded to half precision."""
    config = make_config(
        train__steps=2, output__folder=str(tmp_path / "first"), output__dtype="fp16"
    )
    path = train_vae(config)
    assert path is not None
    return path


@pytest.fixture
def go_on(make_config: Any, codec_file: Path) -> Any:
    """Makes a configuration that starts from that codec."""

    def make(**changes: Any) -> Any:
        return make_config(model__base_vae=None, model__start_from=str(codec_file), **changes)

    return make


def test_a_codec_is_trained_on_from_its_own_weights(go_on: Any, codec_file: Path) -> None:
    config = go_on().model
    trainee = build_trainee(config)
    assert isinstance(trainee, DetailTrainee)
    kept = load_codec(codec_file).float().state_dict()
    assert all(torch.equal(value, kept[name]) for name, value in trainee.codec.state_dict().items())
    trains = {name.split(".")[1] for name, p in trainee.named_parameters() if p.requires_grad}
    assert trains == {"detail", "joint"}


def test_a_codec_trained_on_is_not_fitted_anew(go_on: Any, codec_file: Path) -> None:
    config = go_on(optimizer__learning_rate=1e-12, optimizer__ema=0.0, train__steps=1)
    written = train_vae(config)
    assert written is not None
    before, after = load_file(codec_file), load_file(written)
    for name in (name for name in before if name.startswith("joint.")):
        torch.testing.assert_close(after[name].float(), before[name].float(), atol=1e-6, rtol=0)


def test_a_decoder_alone_is_trained_behind_latents_that_stay(go_on: Any, codec_file: Path) -> None:
    written = train_vae(go_on(model__train="decoder", output__dtype="fp16"))
    assert written is not None
    before, after = load_file(codec_file), load_file(written)
    assert before.keys() == after.keys()
    changed = {name.split(".")[0] for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"joint"}
    assert encoding_hash(written) == encoding_hash(codec_file)


def test_no_gradient_runs_through_an_encoder_that_stays(go_on: Any) -> None:
    trainee = build_trainee(go_on(model__train="decoder").model)
    images = torch.rand(2, 3, 16, 16) * 2 - 1
    found = trainee(images, torch.zeros(2, *trainee.noise_shape(16)), ONE)
    assert found.posterior is None and found.detail is None
    found.reconstruction.sum().backward()
    reached = {name.split(".")[1] for name, p in trainee.named_parameters() if p.grad is not None}
    assert reached == {"joint"}


def test_a_decoder_may_still_learn_the_bases_reconstruction(go_on: Any) -> None:
    config = go_on(model__train="decoder")
    trainee = build_trainee(config.model, base_target=True)
    assert isinstance(trainee, DetailTrainee)
    images, base = torch.rand(2, 3, 16, 16) * 2 - 1, base_of(trainee.codec)
    with torch.no_grad():
        wanted = base.decode(base.encode_moments(images).mean).clamp(-1, 1)
    found = trainee(images, torch.zeros(2, *trainee.noise_shape(16)), ONE)
    torch.testing.assert_close(found.target, wanted)


def test_a_decoder_run_goes_on_only_over_the_same_encoder(go_on: Any, codec_file: Path) -> None:
    config = go_on(model__train="decoder", train__steps=4)
    assert train_vae(config, stop_at=2) is None
    codec = load_codec(codec_file)
    with torch.no_grad():
        codec.detail.down.conv.weight.add_(0.5)
    save_codec(codec_file, codec)
    with pytest.raises(TrainingError, match=r"model\.start_from .* holds other weights"):
        train_vae(config)


def test_a_decoder_run_says_what_it_validates(go_on: Any, pictures: Path) -> None:
    config = go_on(
        model__train="decoder", validation__folders=(str(pictures / "held_out"),), train__steps=2
    )
    assert train_vae(config) is not None
    rows = read_log(Path(config.output.folder), "validation")
    assert rows and rows[-1]["psnr"] > 0


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"model__train": "decoder", "model__start_from": None}, "name that davae in model.start_"),
        ({"model__kind": "base_vae"}, "model.kind is base_vae: train a base VAE on by model.base_"),
        ({"model__base_vae": "vae.safetensors"}, "are both set, but a davae brings its base VAE"),
        ({"model__detail": "zero"}, "set it to learned, or grow the control arm"),
    ],
)
def test_settings_that_contradict_a_start_are_refused(
    make_config: Any, codec_file: Path, changes: dict[str, Any], sentence: str
) -> None:
    given = {"model__start_from": str(codec_file), "model__base_vae": None, **changes}
    if given["model__start_from"] is None:
        given["model__base_vae"] = "vae.safetensors"
    with pytest.raises(TrainingError, match=sentence):
        make_config(**given)


def test_a_codec_of_other_sizes_is_refused(go_on: Any) -> None:
    config = go_on(model__trunk="trained")
    with pytest.raises(TrainingError, match="has shared_trunk True where the configuration means"):
        build_trainee(config.model)


def test_a_compact_codec_and_a_base_vae_are_refused(
    go_on: Any, codec_file: Path, base_file: Path
) -> None:
    config = go_on().model
    codec = load_codec(codec_file)
    save_codec(codec_file, codec, compact=True)
    with pytest.raises(TrainingError, match="compact DA-VAE, without its base decoder"):
        build_trainee(config)
    codec_file.write_bytes(base_file.read_bytes())
    with pytest.raises(TrainingError, match=r"model\.start_from cannot be used: .* not a DA-VAE"):
        build_trainee(config)
