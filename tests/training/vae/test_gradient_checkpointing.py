import torch

from davae_core.codec.autoencoder import KLAutoencoder
from davae_core.codec.blocks import KLConfig
from training.vae.gradient_checkpointing import checkpoint_blocks


def test_checkpointed_blocks_give_the_same_gradients() -> None:
    torch.manual_seed(0)
    config = KLConfig(widths=(8, 8), res_blocks=1, norm_groups=4)
    plain, thrifty = KLAutoencoder(config, 4), KLAutoencoder(config, 4)
    thrifty.load_state_dict(plain.state_dict())
    checkpoint_blocks(thrifty)
    images = torch.rand(1, 3, 16, 16)
    for vae in (plain, thrifty):
        vae.decode(vae.encode_moments(images).mean).square().sum().backward()
    for first, second in zip(plain.parameters(), thrifty.parameters(), strict=True):
        assert (first.grad is None) == (second.grad is None)
        if first.grad is not None:
            torch.testing.assert_close(first.grad, second.grad)


def test_names_of_the_weights_stay_the_same() -> None:
    vae = KLAutoencoder(KLConfig(widths=(8, 8), res_blocks=1, norm_groups=4), 4)
    before = set(vae.state_dict())
    checkpoint_blocks(vae)
    assert set(vae.state_dict()) == before
