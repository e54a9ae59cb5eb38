import pytest
import torch

from davae_core.files import CheckpointError
from davae_core.transformer.fingerprint import base_fingerprint, require_same_base, same_base
from davae_core.transformer.names import EDGES

FLOATS = (torch.float32, torch.float16, torch.bfloat16)
FP8 = (torch.float8_e4m3fn, torch.float8_e5m2)


def edges(seed, size=0.03):
    """Edge layers of SD3.5-Medium's shapes; `size` is their values' spread."""
    torch.manual_seed(seed)
    shapes = ((1536, 16, 2, 2), (1536,), (64, 1536), (64,))
    return {
        name: size * torch.randn(shape) for name, shape in zip(EDGES.values(), shapes, strict=True)
    }


def stored(base, *dtypes):
    """Copied through each of the types in turn, as files are."""
    for dtype in dtypes:
        base = {name: tensor.to(dtype) for name, tensor in base.items()}
    return base


@pytest.mark.parametrize("copy", FLOATS + FP8)
@pytest.mark.parametrize("own", FLOATS)
@pytest.mark.parametrize("size", [1.0, 0.03, 0.003])
def test_copies_of_one_base_are_known_again_in_every_type(own, copy, size):
    base = edges(0, size)
    fingerprint = base_fingerprint(stored(base, own))
    assert same_base(fingerprint, stored(base, copy))
    assert same_base(fingerprint, stored(base, torch.float16, copy))
    assert same_base(fingerprint, stored(base, torch.bfloat16, copy))


@pytest.mark.parametrize("copy", FLOATS + FP8)
@pytest.mark.parametrize("size", [1.0, 0.03, 0.01])
def test_another_base_of_the_same_shapes_is_not(copy, size):
    fingerprint = base_fingerprint(edges(0, size))
    assert not same_base(fingerprint, stored(edges(1, size), copy))


@pytest.mark.parametrize("ending", [".scale_weight", ".weight_scale"])
def test_float8_with_one_scale_is_compared_at_its_true_size(ending):
    base, fingerprint = edges(0), base_fingerprint(edges(0))
    head, scale = "final_layer.linear.weight", torch.tensor(0.0004)
    scaled = {**base, head: (base[head] / scale).to(torch.float8_e4m3fn)}
    assert not same_base(fingerprint, scaled)
    scaled[head.removesuffix(".weight") + ending] = scale
    assert same_base(fingerprint, scaled)
    assert not same_base(base_fingerprint(edges(1)), scaled)


@pytest.mark.parametrize("name", EDGES.values())
def test_one_foreign_edge_tensor_is_enough_to_be_another_base(name):
    base = edges(0)
    assert not same_base(base_fingerprint(base), {**base, name: edges(1)[name]})
    assert not same_base(
        base_fingerprint(base), {**base, name: torch.full_like(base[name], torch.nan)}
    )


def test_a_fine_tune_that_hardly_moved_the_edges_is_the_same_base():
    base, other = edges(0), edges(1)
    moved = {name: base[name] + 0.02 * other[name] for name in base}
    far = {name: base[name] + 0.2 * other[name] for name in base}
    assert same_base(base_fingerprint(base), moved)
    assert not same_base(base_fingerprint(base), far)


def test_edges_that_are_all_zero_agree_with_zeros_only():
    zeros = {name: torch.zeros(8, 4) for name in EDGES.values()}
    assert same_base(base_fingerprint(zeros), zeros)
    assert not same_base(
        base_fingerprint(zeros), {name: tensor + 1 for name, tensor in zeros.items()}
    )


def test_a_model_of_other_shapes_or_none_at_all_is_another_base():
    base = edges(0)
    wide = torch.cat([base["x_embedder.proj.weight"], torch.zeros(1536, 16, 2, 2)], dim=1)
    assert not same_base(base_fingerprint(base), {**base, "x_embedder.proj.weight": wide})
    assert not same_base(base_fingerprint(base), {})


@pytest.mark.parametrize("damaged", ["", "no base64!", "AAAA", "AAA"])
def test_a_damaged_fingerprint_is_no_base_s(damaged):
    assert not same_base(damaged, edges(0))


def test_fp8_is_too_coarse_to_be_remembered():
    with pytest.raises(ValueError, match="too coarse"):
        base_fingerprint(stored(edges(0), torch.float8_e4m3fn))


def test_a_wrong_base_is_named_with_the_adapter_and_the_right_one():
    base, other = edges(0), edges(1)
    parents = {"base": base_fingerprint(base)}
    require_same_base(parents, "adapter.safetensors", base, "base.safetensors")
    require_same_base({}, "adapter.safetensors", other, "other.safetensors")
    words = r"adapter\.safetensors was .* than other\.safetensors: pick the pretrained model it was"
    with pytest.raises(CheckpointError, match=words):
        require_same_base(parents, "adapter.safetensors", other, "other.safetensors")
    parents["base_name"] = "sd3.5_medium.safetensors"
    with pytest.raises(CheckpointError, match=r"pick sd3\.5_medium\.safetensors"):
        require_same_base(parents, "adapter.safetensors", other, "other.safetensors")
