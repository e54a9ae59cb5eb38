from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from davae_core.codec.files import base_of, load_base_vae
from davae_core.latents import base_to_model_space, downscale_image
from training.errors import TrainingError
from training.vae.config import SizesConfig
from training.vae.trainees import BaseVaeTrainee, DetailTrainee, Trainee, build_trainee, codec_sizes

ONE = torch.ones(2, 1, 1, 1)


def build(make_config: Any, **changes: Any) -> Trainee:
    torch.manual_seed(0)
    config = make_config(**changes)
    return build_trainee(config.model, config.loss.target == "base_reconstruction")


def images() -> Tensor:
    torch.manual_seed(1)
    return torch.rand(2, 3, 16, 16) * 2 - 1


def trained(trainee: Trainee) -> set[str]:
    """First two parts of the names of the parameters that a backward reaches."""
    noise = torch.zeros(2, *trainee.noise_shape(16))
    found = trainee(images(), noise, ONE)
    loss = found.reconstruction.square().sum()
    if found.posterior is not None:
        loss = loss + found.posterior.kl().sum()
    loss.backward()
    wanted = {name for name, value in trainee.named_parameters() if value.requires_grad}
    reached = {name for name, value in trainee.named_parameters() if value.grad is not None}
    assert wanted == reached
    return {".".join(name.split(".")[1:3]) for name in reached}


def test_a_frozen_trunk_leaves_head_stem_and_decoder_to_train(make_config: Any) -> None:
    assert trained(build(make_config)) == {"detail.down", "joint.up", "joint.decoder"}


def test_a_trained_trunk_is_a_copy_that_trains_too(make_config: Any) -> None:
    trainee = build(make_config, model__trunk="trained")
    assert trained(trainee) == {"detail.trunk", "detail.down", "joint.up", "joint.decoder"}


def test_the_control_arm_trains_stem_and_decoder_only(make_config: Any) -> None:
    trainee = build(make_config, model__detail="zero")
    assert trained(trainee) == {"joint.up", "joint.decoder"}


def test_a_base_vae_trains_whole(make_config: Any, base_vae_changes: dict[str, Any]) -> None:
    trainee = build(make_config, **base_vae_changes)
    assert all(value.requires_grad for value in trainee.parameters())
    trained(trainee)


def test_a_held_base_vae_is_told_its_first_latents_and_goes_on_from_there(
    make_config: Any, base_vae_changes: dict[str, Any], base_file: Any
) -> None:
    config = make_config(**{**base_vae_changes, "model__base_vae": str(base_file)})
    trainee = build_trainee(config.model, held=True)
    assert isinstance(trainee, BaseVaeTrainee) and trainee.start is not None
    found = trainee(images(), torch.zeros(2, *trainee.noise_shape(16)), ONE)
    assert found.posterior is not None and found.start is not None
    assert torch.equal(found.posterior.mean, found.start)
    with torch.no_grad():
        next(trainee.vae.encoder.parameters()).add_(0.1)
    later = trainee(images(), torch.zeros(2, *trainee.noise_shape(16)), ONE)
    assert torch.equal(later.start, found.start) and not torch.equal(
        later.posterior.mean, found.start
    )
    assert {name for name, value in trainee.named_parameters() if value.requires_grad} == {
        f"vae.{name}" for name, _ in trainee.vae.named_parameters()
    }


def test_a_small_codec_has_no_widths_to_change(make_config: Any) -> None:
    config = make_config(model__preset="small")
    assert codec_sizes(replace(config.model, sizes=SizesConfig())).layout.channels == 32
    with pytest.raises(TrainingError, match="one width and no norms, so leave norm_groups empty"):
        build_trainee(config.model)


def test_the_control_arm_decodes_zeros_in_place_of_the_detail(make_config: Any) -> None:
    trainee = build(make_config, model__detail="zero")
    assert isinstance(trainee, DetailTrainee)
    noise = torch.randn(2, *trainee.noise_shape(16))
    found = trainee(images(), noise, ONE)
    base = base_to_model_space(
        trainee.codec.encode_moments(images()).base.mean, trainee.codec.layout
    )
    expected = trainee.codec.decode_joint(base, torch.zeros_like(noise))
    torch.testing.assert_close(found.reconstruction, expected)
    assert found.posterior is None
    torch.testing.assert_close(trainee.evaluate(images()).reconstruction, expected.clamp(-1, 1))


def test_the_base_is_the_mean_in_model_space_and_the_detail_a_sample(make_config: Any) -> None:
    trainee = build(make_config)
    assert isinstance(trainee, DetailTrainee)
    noise = torch.randn(2, *trainee.noise_shape(16))
    found = trainee(images(), noise, ONE)
    moments = trainee.codec.encode_moments(images())
    torch.testing.assert_close(found.base, (moments.base.mean - 0.25) * 2.0)
    assert found.detail is not None
    torch.testing.assert_close(
        found.detail, moments.detail.mean + torch.exp(0.5 * moments.detail.logvar) * noise
    )


def test_dropped_detail_reaches_the_alignment_but_not_the_decoder(make_config: Any) -> None:
    trainee = build(make_config)
    assert isinstance(trainee, DetailTrainee)
    noise = torch.randn(2, *trainee.noise_shape(16))
    keep = torch.tensor([0.0, 1.0]).view(2, 1, 1, 1)
    found = trainee(images(), noise, keep)
    whole = trainee(images(), noise, ONE)
    torch.testing.assert_close(found.detail, whole.detail)
    torch.testing.assert_close(found.reconstruction[1], whole.reconstruction[1])
    zero = trainee.codec.decode_joint(found.base, torch.zeros_like(noise))
    torch.testing.assert_close(found.reconstruction[0], zero[0])


def test_the_target_may_be_the_base_vaes_own_reconstruction(make_config: Any) -> None:
    trainee = build(make_config, loss__target="base_reconstruction")
    assert isinstance(trainee, DetailTrainee)
    found = trainee(images(), torch.zeros(2, *trainee.noise_shape(16)), ONE)
    base = base_of(trainee.codec)
    expected = base.decode(base.encode_moments(images()).mean).clamp(-1, 1)
    torch.testing.assert_close(found.target, expected)
    assert not found.target.requires_grad


@pytest.mark.parametrize("trunk", ["frozen", "trained"])
def test_the_base_encoder_sees_each_picture_once_at_each_size(make_config: Any, trunk: str) -> None:
    """The teacher's latent and the detail head read one pass; a trunk of the detail's own has its own beside it."""
    trainee = build(make_config, loss__target="base_reconstruction", model__trunk=trunk)
    assert isinstance(trainee, DetailTrainee)
    sides: list[int] = []
    trainee.codec.encoder.conv_in.register_forward_hook(
        lambda module, given, made: sides.append(given[0].shape[-1])
    )
    trainee(images(), torch.zeros(2, *trainee.noise_shape(16)), ONE)
    assert sorted(sides) == [8, 16]


def test_drafts_are_the_base_vae_at_a_fraction_of_the_size(make_config: Any) -> None:
    trainee = build(make_config)
    assert isinstance(trainee, DetailTrainee)
    draft = trainee.evaluate(images()).draft
    assert draft is not None
    assert draft.shape == (2, 3, 8, 8)
    codec = trainee.codec
    assert codec.decoder is not None
    mean = codec.encoder(downscale_image(images(), 2)).chunk(2, dim=1)[0]
    torch.testing.assert_close(draft, codec.decoder(mean).clamp(-1, 1))


def test_shift_and_scale_come_from_the_file_unless_given(make_config: Any) -> None:
    own, given = (
        build(make_config),
        build(make_config, model__base_shift=0.5, model__base_scale=3.0),
    )
    assert isinstance(own, DetailTrainee)
    assert isinstance(given, DetailTrainee)
    assert (own.codec.layout.base_shift, own.codec.layout.base_scale) == (0.25, 2.0)
    assert (given.codec.layout.base_shift, given.codec.layout.base_scale) == (0.5, 3.0)


def test_sizes_deviate_from_the_preset_where_they_are_given(make_config: Any) -> None:
    config = make_config().model
    sizes = codec_sizes(replace(config, preset="sd3"))
    assert sizes.backbone.widths == (8, 8)
    assert (sizes.layout.base_factor, sizes.layout.factor) == (2, 4)
    plain = codec_sizes(replace(config, preset="sd3", sizes=replace(config.sizes, widths=None)))
    assert plain.backbone.widths == (128, 256, 512, 512)


def test_a_base_of_other_sizes_is_refused(make_config: Any) -> None:
    with pytest.raises(ValueError, match="other sizes"):
        build(make_config, model__sizes={"widths": [8, 16], "norm_groups": 4, "base_channels": 4})


def test_the_initial_weights_follow_the_seed(
    make_config: Any, base_vae_changes: dict[str, Any]
) -> None:
    first, second = (build(make_config, **base_vae_changes) for _ in range(2))
    assert isinstance(first, BaseVaeTrainee)
    for name, value in first.state_dict().items():
        assert torch.equal(value, second.state_dict()[name])


def test_a_base_vae_can_be_trained_on_from_a_file(make_config: Any, base_file: Any) -> None:
    trainee = build(make_config, model__kind="base_vae", model__base_vae=str(base_file))
    assert isinstance(trainee, BaseVaeTrainee)
    weights = load_base_vae(base_file).vae.state_dict()
    assert all(
        torch.equal(trainee.vae.state_dict()[name], value) for name, value in weights.items()
    )
    assert all(value.requires_grad for value in trainee.parameters())
