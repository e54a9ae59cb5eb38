import torch
from torch import nn

from training.engine.ema import WeightAverage


def test_a_constant_weight_is_its_own_average() -> None:
    module = nn.Linear(3, 2)
    average = WeightAverage(module, 0.9)
    for _ in range(5):
        average.update()
    torch.testing.assert_close(average.means["weight"], module.weight.detach())


def test_all_means_at_once_are_what_one_after_another_would_be() -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(5, 7), nn.LayerNorm(7), nn.Linear(7, 3).bfloat16())
    average = WeightAverage(module, 0.9)
    alone = {name: mean.clone() for name, mean in average.means.items()}
    for update in range(4):
        for name, value in module.named_parameters():
            nn.init.normal_(value)
            alone[name].lerp_(value.detach().float(), 1.0 - min(0.9, (1 + update) / (10 + update)))
        average.update()
    assert alone.keys() == average.means.keys() and average.updates == 4
    for name, mean in alone.items():
        assert torch.equal(average.means[name], mean), name


def test_the_decay_grows_to_its_value() -> None:
    module = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(module.weight)
    average = WeightAverage(module, 0.5)
    nn.init.ones_(module.weight)
    expected = 0.0
    for update in range(20):
        decay = min(0.5, (1 + update) / (10 + update))
        expected = decay * expected + (1 - decay)
        average.update()
        assert abs(float(average.means["weight"]) - expected) < 1e-6


def test_a_decay_of_zero_follows_the_weights() -> None:
    module = nn.Linear(2, 2)
    average = WeightAverage(module, 0.0)
    nn.init.normal_(module.weight)
    average.update()
    assert torch.equal(average.means["weight"], module.weight.detach())


def test_frozen_weights_are_left_out() -> None:
    module = nn.Linear(2, 2)
    module.bias.requires_grad_(False)
    assert set(WeightAverage(module, 0.9).means) == {"weight"}


def test_the_trained_weights_return_after_the_average_was_applied() -> None:
    module = nn.Linear(2, 2)
    average = WeightAverage(module, 0.99)
    started = module.weight.detach().clone()
    nn.init.ones_(module.weight)
    with average.applied():
        assert torch.equal(module.weight, started)
    assert torch.equal(module.weight, torch.ones(2, 2))
