from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from davae_core.latents import (
    LatentLayout,
    check_latents,
    crop_to_multiple,
    downscale_image,
    join,
    split,
    to_model_space,
    to_vae_space,
    token_count,
)
from davae_core.presets import PATCH, PRESETS

SD3 = PRESETS["sd3"].layout
PLAIN = replace(SD3, detail_channels=0, ratio=1)


def test_base_comes_first_and_join_undoes_split():
    latents = torch.randn(2, 32, 4, 6)
    base, detail = split(latents, SD3)
    assert torch.equal(base, latents[:, :16])
    assert torch.equal(detail, latents[:, 16:])
    assert torch.equal(join(base, detail, SD3), latents)


SCALES = st.floats(0.0625, 16.0, width=32)
LAYOUTS = st.builds(
    LatentLayout,
    base_channels=st.integers(1, 5),
    detail_channels=st.integers(0, 5),
    base_factor=st.sampled_from([1, 2, 4, 8]),
    ratio=st.integers(1, 4),
    base_shift=st.floats(-5.0, 5.0, width=32),
    base_scale=SCALES | SCALES.map(lambda scale: -scale),
)


@given(LAYOUTS, st.tuples(st.integers(1, 3), st.integers(1, 5), st.integers(1, 5)))
def test_any_latent_comes_back_from_its_parts_and_from_model_space(layout, sides):
    random = torch.Generator().manual_seed(0)
    batch, height, width = sides
    latents = torch.randn(batch, layout.channels, height, width, generator=random)
    assert torch.equal(join(*split(latents, layout), layout), latents)
    model = to_model_space(latents, layout)
    assert torch.equal(split(model, layout)[1], split(latents, layout)[1])
    # Shift and scale round four times, each time by half a float32 step of what is added up.
    largest = float(latents.abs().max()) + 2 * abs(layout.base_shift)
    torch.testing.assert_close(to_vae_space(model, layout), latents, atol=3e-7 * largest, rtol=0)


@given(LAYOUTS, st.integers(1, 9), st.integers(1, 9), st.integers(1, 3))
def test_tokens_are_the_patches_that_cover_the_latent(layout, columns, rows, patch):
    covered = F.max_pool2d(torch.zeros(1, 1, rows, columns), patch, ceil_mode=True)
    found = token_count(columns * layout.factor, rows * layout.factor, layout, patch)
    assert found == covered.numel()


def test_model_space_scales_the_base_and_leaves_the_detail():
    latents = torch.randn(1, 32, 2, 2)
    model = to_model_space(latents, SD3)
    torch.testing.assert_close(model[:, :16], (latents[:, :16] - 0.0609) * 1.5305)
    assert torch.equal(model[:, 16:], latents[:, 16:])
    torch.testing.assert_close(to_vae_space(model, SD3), latents)


@pytest.mark.parametrize(
    ("side", "tokens"), [(512, 256), (1024, 1024), (2048, 4096), (1040, 33 * 33)]
)
def test_token_count_is_a_quarter_of_the_plain_vaes(side, tokens):
    assert token_count(side, side, SD3, PATCH) == tokens
    assert token_count(side // 2, side // 2, PLAIN, PATCH) == tokens


def test_downscaling_is_the_published_four_tap_filter():
    row = torch.zeros(1, 1, 8, 16)
    row[..., 6] = 1.0
    small = downscale_image(row, 2)
    weights = torch.tensor([-0.09375, 0.59375, 0.59375, -0.09375])
    expected = torch.zeros(8)
    for cell in range(8):
        for tap in range(4):
            if 2 * cell - 1 + tap == 6:
                expected[cell] += weights[tap]
    torch.testing.assert_close(small[0, 0, 2], expected)


def test_downscaling_clamps_before_and_after():
    step = torch.full((1, 3, 16, 16), -1.0)
    step[..., 8:] = 5.0
    small = downscale_image(step, 2)
    assert small.min() >= -1 and small.max() <= 1


def test_crop_is_central_and_refuses_pictures_below_one_cell():
    image = torch.arange(20.0).view(1, 1, 1, 20).expand(1, 3, 33, 20)
    cropped = crop_to_multiple(image, 16)
    assert cropped.shape == (1, 3, 32, 16)
    assert cropped[0, 0, 0, 0] == 2
    with pytest.raises(ValueError, match="20x8 pixels"):
        crop_to_multiple(image[..., :8, :], 16)


@pytest.mark.parametrize(
    ("latents", "words"),
    [
        (torch.zeros(1, 16, 4, 4), "32"),
        (torch.zeros(32, 4, 4), "shape"),
        (torch.full((1, 32, 4, 4), float("nan")), "NaN"),
    ],
)
def test_wrong_latents_are_named_in_one_sentence(latents, words):
    with pytest.raises(ValueError, match=words):
        check_latents(latents, SD3)


def test_join_refuses_parts_of_another_layout():
    with pytest.raises(ValueError, match="do not make one latent"):
        join(torch.zeros(1, 16, 4, 4), torch.zeros(1, 32, 4, 4), SD3)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("base_channels", 0),
        ("detail_channels", -1),
        ("base_factor", 0),
        ("ratio", 0),
        ("base_scale", 0),
    ],
)
def test_a_layout_without_meaning_is_refused(field, value):
    with pytest.raises(ValueError, match=field):
        replace(SD3, **{field: value})


def test_a_plain_vaes_latent_is_one_without_detail():
    assert (PLAIN.channels, PLAIN.factor) == (16, 8)
    latents, image = torch.randn(2, 16, 4, 6), torch.rand(1, 3, 16, 24) * 2 - 1
    check_latents(latents, PLAIN)
    base, detail = split(latents, PLAIN)
    assert torch.equal(base, latents) and detail.shape == (2, 0, 4, 6)
    assert torch.equal(join(base, detail, PLAIN), latents)
    model = to_model_space(latents, PLAIN)
    torch.testing.assert_close(model, (latents - 0.0609) * 1.5305)
    torch.testing.assert_close(to_vae_space(model, PLAIN), latents)
    torch.testing.assert_close(downscale_image(image, PLAIN.ratio), image)
    with pytest.raises(ValueError, match="needs \\[batch, 16, "):
        check_latents(torch.zeros(1, 32, 4, 4), PLAIN)


def test_what_needs_detail_refuses_a_layout_without_it():
    assert SD3.require_detail() is SD3
    with pytest.raises(ValueError, match="detail_channels must be at least 1, not 0"):
        PLAIN.require_detail()
    with pytest.raises(ValueError, match="detail_channels must be at least 1, not 0"):
        replace(PRESETS["sd3"], layout=PLAIN)
