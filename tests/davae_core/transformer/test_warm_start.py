import pytest
import torch
from torch import nn

from davae_core.transformer.warm_start import detail_weight, widen_head, widen_patch_embedder

CONTEXT, POOLED = 64, 48


@pytest.fixture
def transformer():
    """A two-block SD3 transformer with dual attention in the first block, as SD3.5-Medium has it."""
    from diffusers import SD3Transformer2DModel

    torch.manual_seed(0)
    model = SD3Transformer2DModel(
        sample_size=32, patch_size=2, in_channels=16, num_layers=2, attention_head_dim=64, num_attention_heads=2,
        joint_attention_dim=CONTEXT, caption_projection_dim=128, pooled_projection_dim=POOLED, out_channels=16,
        pos_embed_max_size=40, dual_attention_layers=(0,), qk_norm="rms_norm",
    )  # fmt: skip
    for parameter in model.parameters():
        # Stock initialisation leaves some layers at zero, which would hide mistakes.
        nn.init.normal_(parameter, std=0.05)
    return model.eval()


def conditions():
    torch.manual_seed(1)
    return {
        "encoder_hidden_states": torch.randn(1, 7, CONTEXT),
        "pooled_projections": torch.randn(1, POOLED),
        "timestep": torch.tensor([700.0]),
    }


@pytest.mark.parametrize(("height", "width"), [(4, 6), (2, 2), (10, 14)])
@torch.no_grad()
def test_a_widened_sd3_transformer_gives_the_old_base_and_no_detail(transformer, height, width):
    torch.manual_seed(2)
    latents = torch.randn(1, 32, height, width)
    before = transformer(hidden_states=latents[:, :16], **conditions()).sample
    transformer.pos_embed.proj = widen_patch_embedder(transformer.pos_embed.proj, 16, 16)
    transformer.proj_out = widen_head(transformer.proj_out, 16, 16)
    transformer.out_channels = 32
    after = transformer(hidden_states=latents, **conditions()).sample
    assert before.abs().max() > 0
    # More channels are another kernel's sums: float32 rounding apart on some processors.
    torch.testing.assert_close(after[:, :16], before, atol=1e-6, rtol=1e-6)
    assert torch.count_nonzero(after[:, 16:]) == 0


@torch.no_grad()
def test_a_linear_embedder_on_patches_widens_the_same_way():
    torch.manual_seed(0)
    patches = torch.randn(3, 4, 5)
    layer = nn.Linear(4 * 5, 8)
    wide = widen_patch_embedder(layer, 5, 3)
    extended = torch.cat([patches, torch.randn(3, 4, 3)], dim=2)
    torch.testing.assert_close(wide(extended.flatten(1)), layer(patches.flatten(1)))


@torch.no_grad()
def test_head_rows_keep_each_positions_channels_together():
    head = nn.Linear(6, 4 * 2)
    wide = widen_head(head, base_channels=2, detail_channels=3)
    tokens = torch.randn(5, 6)
    out = wide(tokens).unflatten(1, (4, 5))
    torch.testing.assert_close(out[:, :, :2], head(tokens).unflatten(1, (4, 2)))
    assert torch.count_nonzero(out[:, :, 2:]) == 0


def test_widened_layers_train_and_own_their_weights():
    layer = nn.Conv2d(4, 8, kernel_size=2, stride=2)
    wide = widen_patch_embedder(layer, 4, 4)
    wide(torch.randn(1, 8, 4, 4)).sum().backward()
    assert wide.weight.grad[:, 4:].abs().max() > 0
    with torch.no_grad():
        wide.weight.zero_()
    assert layer.weight.abs().max() > 0


def test_dtype_and_missing_bias_are_kept():
    wide = widen_patch_embedder(nn.Conv2d(4, 8, 2, 2, bias=False).bfloat16(), 4, 2)
    assert wide.bias is None and wide.weight.dtype == torch.bfloat16
    assert widen_head(nn.Linear(3, 8, bias=False), 4, 2).bias is None


@pytest.mark.parametrize("layer", [nn.Conv2d(32, 8, 2, 2), nn.Linear(30, 8), nn.Identity()])
def test_layers_that_do_not_read_the_base_are_refused(layer):
    with pytest.raises(ValueError, match=r"base channels|patch embedder"):
        widen_patch_embedder(layer, 16, 16)


def test_heads_of_another_width_are_refused():
    with pytest.raises(ValueError, match="widened already"):
        widen_head(nn.Linear(4, 30), 16, 16)


def test_detail_weight_rises_along_half_a_cosine():
    assert detail_weight(0, 100) == 0
    assert detail_weight(50, 100) == pytest.approx(0.5)
    assert detail_weight(25, 100) == pytest.approx(0.5 - 0.5 * 2**-0.5)
    assert detail_weight(100, 100) == detail_weight(10_000, 100) == 1
    assert detail_weight(100, 100, end=0.5) == 0.5
    with pytest.raises(ValueError, match="at least one step"):
        detail_weight(0, 0)
