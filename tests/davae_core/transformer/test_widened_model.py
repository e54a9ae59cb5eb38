import pytest
import torch

from davae_core.presets import SD3
from davae_core.transformer.names import EMBEDDER_WEIGHT, HEAD_BIAS, HEAD_WEIGHT
from davae_core.transformer.pretrained import load_transformer
from davae_core.transformer.warm_start import widen_conv_weight, widen_head_rows
from davae_core.transformer.widened_model import is_widened, widen_model
from tests.davae_core.transformer.in_diffusers import in_diffusers


@pytest.fixture
def base(golden):
    return load_transformer(golden / "transformer" / "base.safetensors")


def test_three_edge_tensors_are_widened_and_the_others_handed_through(base):
    wide = widen_model(base, SD3.layout)
    assert torch.equal(wide[EMBEDDER_WEIGHT], widen_conv_weight(base[EMBEDDER_WEIGHT], 16, 16))
    assert torch.equal(wide[HEAD_WEIGHT], widen_head_rows(base[HEAD_WEIGHT], 16, 16))
    assert torch.equal(wide[HEAD_BIAS], widen_head_rows(base[HEAD_BIAS], 16, 16))
    others = base.keys() - {EMBEDDER_WEIGHT, HEAD_WEIGHT, HEAD_BIAS}
    assert all(wide[name] is base[name] for name in others)
    assert is_widened(wide, SD3.layout) and not is_widened(base, SD3.layout)


@pytest.mark.parametrize(("height", "width"), [(4, 6), (2, 2), (10, 14)])
@torch.no_grad()
def test_a_widened_transformer_gives_the_old_base_and_no_detail(base, height, width):
    torch.manual_seed(1)
    conditions = {
        "encoder_hidden_states": torch.randn(1, 7, 64),
        "pooled_projections": torch.randn(1, 48),
        "timestep": torch.tensor([700.0]),
    }
    latents = torch.randn(1, 32, height, width)
    before = in_diffusers(base)(hidden_states=latents[:, :16], **conditions).sample
    after = in_diffusers(widen_model(base, SD3.layout))(hidden_states=latents, **conditions).sample
    assert before.abs().max() > 0
    # More channels are another kernel's sums: float32 rounding apart on some processors.
    torch.testing.assert_close(after[:, :16], before, atol=1e-6, rtol=1e-6)
    assert torch.count_nonzero(after[:, 16:]) == 0


@pytest.mark.parametrize(
    "dtype", [torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2]
)
def test_storage_types_are_kept_with_their_values(base, dtype):
    stored = {
        **base,
        HEAD_WEIGHT: base[HEAD_WEIGHT].to(dtype),
        EMBEDDER_WEIGHT: base[EMBEDDER_WEIGHT].to(dtype),
    }
    wide = widen_model(stored, SD3.layout)
    assert wide[HEAD_WEIGHT].dtype == wide[EMBEDDER_WEIGHT].dtype == dtype
    assert torch.equal(
        wide[HEAD_WEIGHT].float(), widen_head_rows(stored[HEAD_WEIGHT].float(), 16, 16)
    )
    assert torch.equal(wide[EMBEDDER_WEIGHT][:, :16].float(), stored[EMBEDDER_WEIGHT].float())
    assert not wide[EMBEDDER_WEIGHT][:, 16:].float().any()


def test_one_scale_for_a_whole_layer_is_kept_and_scales_per_block_are_refused(base):
    one = {**base, "final_layer.linear.scale_weight": torch.tensor(0.5)}
    assert widen_model(one, SD3.layout)["final_layer.linear.scale_weight"] == 0.5
    blocks = {**base, "final_layer.linear.weight_scale": torch.ones(64, 4)}
    with pytest.raises(ValueError, match=r"final_layer\.linear is quantised in blocks"):
        widen_model(blocks, SD3.layout)


def test_a_model_that_is_widened_already_is_refused(base):
    with pytest.raises(ValueError, match="128 rows"):
        widen_model(widen_model(base, SD3.layout), SD3.layout)
