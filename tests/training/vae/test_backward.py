from typing import Any

import torch

from training.vae.train import VaeTraining


def gan_training(make_config: Any, **changes: Any) -> VaeTraining:
    return VaeTraining(make_config(loss__gan__weight=0.1, **changes))


def take_step(training: VaeTraining) -> Any:
    training.begin(1, None)
    return training.advance(0)


def weights(training: VaeTraining) -> dict[str, torch.Tensor]:
    return {
        f"{part}.{name}": value.clone()
        for part, trained in training.parts.items()
        for name, value in trained.weights().items()
    }


def test_a_step_moves_model_and_discriminator(make_config: Any) -> None:
    training = gan_training(make_config)
    before = weights(training)
    parts = take_step(training)
    assert {"gradient_norm", "discriminator_gradient_norm"} <= set(parts)
    moved = {
        name.partition(".")[0]
        for name, value in weights(training).items()
        if not torch.equal(value, before[name])
    }
    assert moved == {"model", "discriminator"}


def test_a_discriminator_gradient_that_is_not_finite_leaves_the_whole_step_out(
    make_config: Any,
) -> None:
    training = gan_training(make_config)
    before = weights(training)
    spoilt = next(iter(training.parts["discriminator"].module.parameters()))
    spoilt.register_hook(lambda gradient: gradient * float("nan"))
    assert take_step(training) is None
    assert all(torch.equal(value, before[name]) for name, value in weights(training).items())


def test_the_discriminators_gradient_is_clipped_too(make_config: Any) -> None:
    training = gan_training(make_config, optimizer__clip_norm=1e-3)
    parts = take_step(training)
    assert float(parts["discriminator_gradient_norm"]) > 1e-3
    first = training.parts["discriminator"].optimizer_tensors()
    kept = [tensor.norm() for name, tensor in first.items() if name.endswith("/exp_avg")]
    # After one step the first moment is (1 - 0.5) times the clipped gradient.
    torch.testing.assert_close(torch.stack(kept).norm(), torch.tensor(0.5e-3), rtol=1e-2, atol=0)
