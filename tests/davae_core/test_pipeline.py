"""Text to image outside ComfyUI, on tiny diffusers models with random weights and the bundled DA-VAE."""

import json
import string
from dataclasses import replace
from functools import partial

import pytest
import torch
from diffusers import (
    AutoencoderKL,
    FlowMatchEulerDiscreteScheduler,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
)
from safetensors.torch import save_file
from transformers import CLIPTextConfig, CLIPTextModelWithProjection, CLIPTokenizer

from davae_core.codec.files import load_codec
from davae_core.codec.latent_files import encoding_hash
from davae_core.files import CheckpointError
from davae_core.flow import sample_euler, shifted_sigmas
from davae_core.latents import to_vae_space
from davae_core.mini import davae_path
from davae_core.pipeline import load_pipeline
from davae_core.presets import SD3
from davae_core.transformer.adapter import Adapter, read_adapter, widened_edges, write_adapter
from davae_core.transformer.description import Advice
from davae_core.transformer.fingerprint import base_fingerprint
from davae_core.transformer.merging import plan_merge, write_merged
from davae_core.transformer.pretrained import load_transformer
from tests.training.dit_fixtures import write_davae

STEPS = Advice(shift=3.0, guidance=2.0, steps=3)


def tokenizer(folder):
    """CLIP's kind of tokenizer that knows single letters."""
    ends = [f"{letter}</w>" for letter in string.ascii_lowercase]
    words = [*string.ascii_lowercase, *ends, "<|startoftext|>", "<|endoftext|>"]
    vocabulary = {word: number for number, word in enumerate(words)}
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    return CLIPTokenizer(
        str(folder / "vocab.json"), str(folder / "merges.txt"), model_max_length=77
    )


def text_encoder(seed):
    torch.manual_seed(seed)
    config = CLIPTextConfig(
        vocab_size=54, hidden_size=32, intermediate_size=37, num_hidden_layers=3, num_attention_heads=4,
        projection_dim=32, bos_token_id=52, eos_token_id=53, pad_token_id=53,
    )  # fmt: skip
    return CLIPTextModelWithProjection(config)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A whole SD3 pipeline's folder, without T5 as many use it."""
    folder = tmp_path_factory.mktemp("sd3")
    torch.manual_seed(0)
    transformer = SD3Transformer2DModel(
        sample_size=8, in_channels=16, out_channels=16, num_layers=2, attention_head_dim=64, num_attention_heads=1,
        joint_attention_dim=96, caption_projection_dim=64, pooled_projection_dim=64, pos_embed_max_size=12,
        dual_attention_layers=(0,), qk_norm="rms_norm",
    )  # fmt: skip
    for parameter in transformer.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    vae = AutoencoderKL(latent_channels=16, shift_factor=0.1, block_out_channels=(32,))
    own = tokenizer(folder)
    StableDiffusion3Pipeline(
        transformer, FlowMatchEulerDiscreteScheduler(shift=3.0), vae, text_encoder(1), own, text_encoder(2), own,
        None, None,
    ).save_pretrained(folder / "pipeline")  # fmt: skip
    return folder / "pipeline"


@pytest.fixture(scope="module")
def adapter(folder, tmp_path_factory):
    """An adapter for it that was trained with the bundled DA-VAE."""
    base = load_transformer(folder)
    torch.manual_seed(1)
    layer = "transformer_blocks.1.attn.to_q"
    lora = {
        f"{layer}.lora_A.weight": torch.randn(4, 64),
        f"{layer}.lora_B.weight": torch.randn(64, 4),
    }
    edges = {name: 0.1 * torch.randn_like(t) for name, t in widened_edges(base, layout()).items()}
    parents = {"base": base_fingerprint(base), "vae": encoding_hash(davae_path())}
    found = Adapter(layout(), lora, edges, STEPS, parents)
    path = tmp_path_factory.mktemp("adapter") / "davae_adapter.safetensors"
    write_adapter(path, found)
    write_merged(path.with_name("merged.safetensors"), plan_merge(base, found))
    return path


def layout():
    """The bundled DA-VAE's, whose shift and scale are not SD3's."""

    return load_codec(davae_path()).layout


@pytest.fixture(scope="module")
def pipeline(folder, adapter):
    return load_pipeline(folder, davae_path(), adapter=adapter, dtype=torch.float32)


@pytest.fixture(scope="module")
def detail_adapter(folder, adapter, tmp_path_factory):
    """The same weights as an adapter that draws the detail alone."""
    found = replace(read_adapter(adapter), mode="detail", advice=replace(STEPS, guidance=1.0))
    path = tmp_path_factory.mktemp("detail") / "davae_detail.safetensors"
    write_adapter(path, found)
    write_merged(path.with_name("merged.safetensors"), plan_merge(load_transformer(folder), found))
    return path


@pytest.fixture(scope="module")
def detail_pipeline(folder, detail_adapter):
    return load_pipeline(folder, davae_path(), adapter=detail_adapter, dtype=torch.float32)


def test_prompts_become_pictures_that_depend_on_prompt_and_seed(pipeline):
    told = []
    images = pipeline.draw(["a red cat", "a dog"], 96, 64, progress=lambda *step: told.append(step))
    assert images.shape == (2, 3, 64, 96)
    assert images.isfinite().all() and images.abs().max() <= 1 and images.std() > 0.01
    assert told == [(1, 3), (2, 3), (3, 3)]
    again = pipeline.draw(["a red cat", "a dog"], 96, 64)
    assert torch.equal(images, again)
    other = pipeline.draw(["a red cat", "a blue sea"], 96, 64)
    torch.testing.assert_close(other[0], images[0])
    assert not torch.allclose(other[1], images[1])
    assert not torch.allclose(pipeline.draw(["a red cat", "a dog"], 96, 64, seed=1), images)
    changed = pipeline.draw(["a red cat", "a dog"], 96, 64, negative="fog")
    assert not torch.allclose(changed, images)


def test_latents_are_those_of_diffusers_own_sd3_pipeline(pipeline, folder):
    theirs = StableDiffusion3Pipeline.from_pretrained(
        folder, transformer=pipeline.transformer, text_encoder_3=None, tokenizer_3=None
    )
    noise = torch.randn(1, 32, 4, 6, generator=torch.Generator().manual_seed(5))
    latents = theirs(
        "a red cat", negative_prompt="", height=32, width=48, num_inference_steps=3, guidance_scale=2.0,
        latents=noise, output_type="latent",
    ).images  # fmt: skip
    with torch.inference_mode():
        wanted = pipeline.codec.decode(to_vae_space(latents, pipeline.description.layout))
    found = pipeline.draw(["a red cat"], 96, 64, seed=5)
    torch.testing.assert_close(found, wanted, atol=1e-4, rtol=0)


def test_image_to_image_keeps_the_more_the_less_it_denoises(pipeline):
    start = pipeline.codec.encode(torch.rand(1, 3, 64, 64) * 2 - 1)
    draw = partial(pipeline.draw_latents, ["a"], 64, 64, seed=5, steps=4)
    from_noise = draw()
    torch.testing.assert_close(draw(start=start, denoise=1.0), from_noise)
    little, half = (draw(start=start, denoise=share) for share in (0.1, 0.5))
    assert (little - start).abs().mean() < (half - start).abs().mean()
    assert not torch.allclose(half, from_noise, atol=1e-2)


def test_image_to_image_is_refused_where_it_means_nothing(pipeline, detail_pipeline):
    start = torch.zeros(1, detail_pipeline.description.layout.channels, 4, 4)
    with pytest.raises(ValueError, match="A detail adapter draws no image to image"):
        detail_pipeline.draw_latents(["a"], 64, 64, start=start)
    with pytest.raises(ValueError, match=r"denoise must be at least 0\.01 and at most 1, not 0"):
        pipeline.draw_latents(["a"], 64, 64, start=start, denoise=0.0)
    with pytest.raises(ValueError, match=r"denoise 0\.5 keeps some of a `start`: give one"):
        pipeline.draw_latents(["a"], 64, 64, denoise=0.5)
    with pytest.raises(ValueError, match="`start` has the shape"):
        pipeline.draw_latents(["a"], 64, 64, start=start[:, :1], denoise=0.5)


def test_drafts_are_half_the_size_and_tiles_are_whole(pipeline):
    assert pipeline.draw(["a cat"], 96, 64, draft=True).shape == (1, 3, 32, 48)
    assert pipeline.draw(["a cat"], 96, 64, tiled=True).shape == (1, 3, 64, 96)


def test_a_merged_file_draws_what_base_and_adapter_draw(pipeline, adapter):
    merged = load_pipeline(
        adapter.with_name("merged.safetensors"),
        davae_path(),
        encode_text=pipeline.encode_text,
        dtype=torch.float32,
    )
    found = merged.draw(["a red cat"], 64, 64)
    torch.testing.assert_close(found, pipeline.draw(["a red cat"], 64, 64), atol=1e-4, rtol=0)


def test_bfloat16_stays_near_float32(pipeline, folder, adapter):
    half = load_pipeline(folder, davae_path(), adapter=adapter)
    assert next(half.transformer.parameters()).dtype == torch.bfloat16
    found, wanted = (each.draw(["a red cat"], 64, 64) for each in (half, pipeline))
    assert (found - wanted).abs().mean() < 0.05


def test_a_detail_adapter_draws_on_what_the_untouched_model_draws_at_half_the_size(detail_pipeline):
    noise = torch.randn(1, 16, 4, 6, generator=torch.Generator().manual_seed(5))
    with torch.inference_mode():
        context, pooled = detail_pipeline.encode_text(["a red cat"])

        def velocity(latents, sigma):
            return detail_pipeline.untouched(latents, context, pooled, sigma * 1000).sample

        base = sample_euler(velocity, noise, shifted_sigmas(4, 3.0))
    seen = []
    watch = detail_pipeline.transformer.register_forward_pre_hook(
        lambda _, __, given: seen.append(given["hidden_states"]), with_kwargs=True
    )
    how = Advice(shift=3.0, guidance=1.0, steps=4)
    picture = detail_pipeline.draw(["a red cat"], 96, 64, seed=5, base=how)
    watch.remove()
    assert picture.shape == (1, 3, 64, 96) and picture.isfinite().all()
    assert len(seen) == 3 and all(torch.equal(latents[:, :16], base) for latents in seen)
    assert seen[0][:, 16:].std() > 0.9 and not torch.equal(seen[0][:, 16:], noise)


def test_what_a_detail_adapter_leaves_of_the_base_is_its_draft_whatever_the_detail(detail_pipeline):
    how, told = Advice(shift=3.0, guidance=2.0, steps=2), []
    draw = partial(detail_pipeline.draw, ["a red cat", "a dog"], 96, 64, base=how)
    draft = draw(draft=True, progress=lambda *step: told.append(step))
    assert draft.shape == (2, 3, 32, 48)
    assert told == [(1, 5), (2, 5), (3, 5), (4, 5), (5, 5)]
    assert torch.equal(draw(draft=True, steps=1, guidance=3.0, shift=1.0), draft)
    assert not torch.allclose(draw(steps=1), draw(steps=3))
    other = detail_pipeline.draw(
        ["a red cat", "a dog"], 96, 64, base=replace(how, steps=3), draft=True
    )
    assert not torch.allclose(other, draft)


def test_the_untouched_model_is_the_base_and_shares_what_the_adapter_leaves(
    detail_pipeline, pipeline, folder
):
    assert pipeline.untouched is None
    original = SD3Transformer2DModel.from_pretrained(folder, subfolder="transformer").state_dict()
    untouched = detail_pipeline.untouched.state_dict()
    assert all(torch.equal(tensor, original[name]) for name, tensor in untouched.items())
    adapted = detail_pipeline.transformer.state_dict()
    shared = {n for n, tensor in untouched.items() if tensor.data_ptr() == adapted[n].data_ptr()}
    assert "context_embedder.weight" in shared and "proj_out.weight" not in shared
    assert "transformer_blocks.1.attn.to_q.weight" not in shared


def test_a_base_that_nothing_draws_is_refused(pipeline):
    with pytest.raises(ValueError, match="draws base and detail together"):
        pipeline.draw(["a cat"], 96, 64, base=STEPS)


def test_a_merged_detail_model_is_refused_for_want_of_a_base(detail_adapter, pipeline):
    merged = detail_adapter.with_name("merged.safetensors")
    with pytest.raises(CheckpointError, match="draws the detail alone, on what the model it was"):
        load_pipeline(merged, davae_path(), encode_text=pipeline.encode_text)


@pytest.mark.parametrize(("width", "height"), [(96, 40), (0, 64), (16, 16)])
def test_sizes_between_tokens_are_refused(pipeline, width, height):
    with pytest.raises(ValueError, match="multiples of 32"):
        pipeline.draw(["a cat"], width, height)


def test_files_that_do_not_belong_together_are_named(folder, adapter, tmp_path):
    merged = adapter.with_name("merged.safetensors")
    with pytest.raises(CheckpointError, match=r"leave the adapter .* out"):
        load_pipeline(merged, davae_path(), adapter=adapter)
    with pytest.raises(CheckpointError, match="holds no text encoders"):
        load_pipeline(merged, davae_path())
    (tmp_path / "model_index.json").write_text("[]")
    (tmp_path / "transformer").symlink_to(folder / "transformer")
    with pytest.raises(CheckpointError, match="no whole diffusers pipeline"):
        load_pipeline(tmp_path, davae_path(), adapter=adapter)
    other = {name: part + 1 for name, part in load_transformer(folder).items()}
    save_file(other, tmp_path / "other.safetensors")
    with pytest.raises(CheckpointError, match="was trained on another base than"):
        load_pipeline(tmp_path / "other.safetensors", davae_path(), adapter=adapter)
    with pytest.raises(CheckpointError, match="was trained for another DA-VAE than"):
        load_pipeline(folder, write_davae(tmp_path), adapter=adapter)


def test_an_untrained_model_is_widened_for_the_codec_that_it_is_given(folder, tmp_path):
    found = load_pipeline(folder, write_davae(tmp_path), dtype=torch.float32)
    assert found.description.layout == found.codec.layout != SD3.layout
    assert found.draw(["a"], 64, 64, steps=2).isfinite().all()
