import torch

from training.vae.latent_statistics import channel_means, deviation


def test_statistics_over_batches_agree_with_torch_over_everything() -> None:
    torch.manual_seed(0)
    latents = torch.randn(12, 3, 4, 5) * torch.tensor([1.0, 5.0, 0.1]).view(3, 1, 1) + 2.0
    mean, square = channel_means(latents.split(5))
    flat = latents.double().transpose(0, 1).flatten(1)
    torch.testing.assert_close(mean, flat.mean(dim=1))
    torch.testing.assert_close(deviation(mean, square), flat.std(dim=1, correction=0))
    whole = deviation(mean.mean(), square.mean())
    assert abs(float(whole) - float(flat.std(correction=0))) < 1e-9


def test_a_constant_channel_has_no_deviation() -> None:
    mean, square = channel_means([torch.full((2, 1, 3, 3), 7.0)])
    assert (float(mean), float(deviation(mean, square))) == (7.0, 0.0)
