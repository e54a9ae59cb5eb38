import torch

from training.vae.config import GanConfig
from training.vae.discriminator import PatchDiscriminator, discriminator_loss, generator_loss


def test_scores_are_patches_and_independent_within_a_batch() -> None:
    torch.manual_seed(0)
    critic = PatchDiscriminator(GanConfig(channels=8, layers=2))
    images = torch.randn(3, 3, 32, 32)
    scores = critic(images)
    assert scores.shape[:2] == (3, 1)
    assert scores.shape[2] > 1
    torch.testing.assert_close(critic(images[1:2]), scores[1:2])


def test_the_hinge_stops_pulling_beyond_the_margin() -> None:
    real, made = torch.tensor([2.0, 3.0]), torch.tensor([-2.0, -1.5])
    assert float(discriminator_loss(real, made)) == 0.0
    assert float(discriminator_loss(-real, -made)) > 1.0


def test_the_generator_wants_high_scores() -> None:
    assert float(generator_loss(torch.tensor([3.0]))) < float(generator_loss(torch.tensor([-3.0])))


def test_a_discriminator_learns_to_tell_noise_from_flat_pictures() -> None:
    torch.manual_seed(0)
    critic = PatchDiscriminator(GanConfig(channels=8, layers=1))
    optimizer = torch.optim.Adam(critic.parameters(), lr=1e-2)
    flat, noise = torch.zeros(4, 3, 16, 16), torch.randn(4, 3, 16, 16)
    for _ in range(30):
        optimizer.zero_grad()
        loss = discriminator_loss(critic(flat), critic(noise))
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.3
