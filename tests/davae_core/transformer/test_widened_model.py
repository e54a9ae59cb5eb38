import pytest
import torch

from davae_core.presets import SD3
from davae_core.transformer.files import load_transformer
from davae_core.transformer.warm_start import widen_conv_weight, widen_head_rows
from davae_core.transformer.widened_model import EMBEDDER, HEAD, HEAD_BIAS, is_widened, widen_model


@pytest.fixture
def base(golden):
    return load_transformer(golden / "transformer" / "base.safetensors")


def test_three_edge_tensors_are_widened_and_the_others_handed_through(base):
    wide = widen_model(base, SD3.layout)
    assert torch.equal(wide[EMBEDDER], widen_conv_weight(base[EMBEDDER], 16, 16))
    assert torch.equal(wide[HEAD], widen_head_rows(base[HEAD], 16, 16))
    assert torch.equal(wide[HEAD_BIAS], widen_head_rows(base[HEAD_BIAS], 16, 16))
    others = base.keys() - {EMBEDDER, HEAD, HEAD_BIAS}
    assert all(wide[name] is base[name] for name in others)
    assert is_widened(wide, SD3.layout) and not is_widened(base, SD3.layout)


@pytest.mark.parametrize(
    "dtype", [torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2]
)
def test_storage_types_are_kept_with_their_values(base, dtype):
    stored = {**base, HEAD: base[HEAD].to(dtype), EMBEDDER: base[EMBEDDER].to(dtype)}
    wide = widen_model(stored, SD3.layout)
    assert wide[HEAD].dtype == wide[EMBEDDER].dtype == dtype
    assert torch.equal(wide[HEAD].float(), widen_head_rows(stored[HEAD].float(), 16, 16))
    assert torch.equal(wide[EMBEDDER][:, :16].float(), stored[EMBEDDER].float())
    assert not wide[EMBEDDER][:, 16:].float().any()


def test_one_scale_for_a_whole_layer_is_kept_and_scales_per_block_are_refused(base):
    one = {**base, "final_layer.linear.scale_weight": torch.tensor(0.5)}
    assert widen_model(one, SD3.layout)["final_layer.linear.scale_weight"] == 0.5
    blocks = {**base, "final_layer.linear.weight_scale": torch.ones(64, 4)}
    with pytest.raises(ValueError, match=r"final_layer\.linear is quantised in blocks"):
        widen_model(blocks, SD3.layout)


def test_a_model_that_is_widened_already_is_refused(base):
    with pytest.raises(ValueError, match="128 rows"):
        widen_model(widen_model(base, SD3.layout), SD3.layout)
