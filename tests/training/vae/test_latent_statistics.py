import torch

from training.vae.latent_statistics import ChannelStatistics


def test_statistics_over_batches_agree_with_torch_over_everything() -> None:
    torch.manual_seed(0)
    latents = torch.randn(12, 3, 4, 5) * torch.tensor([1.0, 5.0, 0.1]).view(3, 1, 1) + 2.0
    found = ChannelStatistics.empty(3)
    for batch in latents.split(5):
        found.add(batch)
    flat = latents.double().transpose(0, 1).flatten(1)
    torch.testing.assert_close(found.mean, flat.mean(dim=1))
    torch.testing.assert_close(found.std, flat.std(dim=1, correction=0))
    mean, std = found.overall
    assert abs(mean - float(latents.double().mean())) < 1e-9
    assert abs(std - float(latents.double().std(correction=0))) < 1e-9


def test_a_constant_channel_has_no_deviation() -> None:
    found = ChannelStatistics.empty(1)
    found.add(torch.full((2, 1, 3, 3), 7.0))
    assert (float(found.mean), float(found.std)) == (7.0, 0.0)
