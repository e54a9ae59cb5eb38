"""SD3's text encoders, tiny and random, against diffusers' own pipeline on the same folder."""

import json
import shutil
import string
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import StableDiffusion3Pipeline
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModelWithProjection, T5Config, T5EncoderModel

from davae_core.files import read_safetensors, write_safetensors
from tests.training.dit_fixtures import SIZES, copy_of
from training.cache.config import CacheConfig, TextConfig
from training.cache.encoding import load_caption_encoder
from training.cache.latent_cache import LatentCache
from training.cache.make import make_cache
from training.cache.sd3_text import Sd3TextEncoders
from training.dit.config import DitTextConfig
from training.dit.inputs import check_alike
from training.dit.texts import texts_on
from training.dit.train import train_dit
from training.engine.tracking import read_log
from training.errors import TrainingError
from training.settings.yaml_config import read_config

CPU = torch.device("cpu")
START, END = "<|startoftext|>", "<|endoftext|>"
MERGES = ["r e", "re d</w>", "c a", "ca t</w>"]
WIDTHS = {"text_encoder": 8, "text_encoder_2": 12}
T5_WIDTH, T5_TOKENS = 24, 16
CAPTIONS = ["a red cat", "", "Two  CATS, on a mat!", "a red cat and a dog by the sea " * 12]
PARTS = {
    "text_encoder": ("transformers", "CLIPTextModelWithProjection"),
    "text_encoder_2": ("transformers", "CLIPTextModelWithProjection"),
    "text_encoder_3": ("transformers", "T5EncoderModel"),
    "tokenizer": ("transformers", "CLIPTokenizer"),
    "tokenizer_2": ("transformers", "CLIPTokenizer"),
    "tokenizer_3": ("transformers", "T5TokenizerFast"),
}
REST = ("transformer", "vae", "scheduler", "image_encoder", "feature_extractor")


def write_json(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")


def clip_vocabulary() -> dict[str, int]:
    letters = "!" + "," + string.ascii_lowercase
    words = [*letters, *(letter + "</w>" for letter in letters)]
    merged = ["".join(merge.split()) for merge in MERGES]
    # The end token is the last: CLIP pools where the number is the highest.
    return {token: number for number, token in enumerate([*words, *merged, START, END])}


def write_clip_tokenizer(folder: Path, pad: str) -> None:
    special = {"bos_token": START, "eos_token": END, "unk_token": END, "pad_token": pad}
    write_json(folder / "vocab.json", clip_vocabulary())
    folder.joinpath("merges.txt").write_text("\n".join(["#version: 0.2", *MERGES, ""]), "utf-8")
    write_json(folder / "special_tokens_map.json", special)
    settings = {"tokenizer_class": "CLIPTokenizer", "model_max_length": 77, **special}
    write_json(folder / "tokenizer_config.json", settings)


def write_t5_tokenizer(folder: Path) -> int:
    """SentencePiece's unigrams, with T5's special tokens; its size."""
    special = {"eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"}
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -3.0)]
    pieces += [(letter, -4.0) for letter in string.ascii_lowercase]
    pieces += [("▁red", -2.0), ("▁cat", -2.0), ("▁a", -2.0)]
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=2))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>", special_tokens=[("</s>", 1)]
    )
    tokenizer.add_special_tokens(list(special.values()))
    folder.mkdir(parents=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    write_json(folder / "special_tokens_map.json", special)
    settings = {"tokenizer_class": "T5Tokenizer", "model_max_length": 512, "extra_ids": 0}
    write_json(folder / "tokenizer_config.json", {**settings, **special})
    return tokenizer.get_vocab_size()


def clip_config(width: int) -> CLIPTextConfig:
    return CLIPTextConfig(
        vocab_size=len(clip_vocabulary()),
        hidden_size=width,
        intermediate_size=2 * width,
        projection_dim=width,
        num_hidden_layers=3,
        num_attention_heads=2,
        hidden_act="quick_gelu" if width == 8 else "gelu",
        eos_token_id=2,  # as in SD3's own files
        initializer_factor=10.0,
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place: Path = tmp_path_factory.mktemp("sd3")
    write_clip_tokenizer(place / "tokenizer", END)
    write_clip_tokenizer(place / "tokenizer_2", "!")
    t5_words = write_t5_tokenizer(place / "tokenizer_3")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for name, width in WIDTHS.items():
            CLIPTextModelWithProjection(clip_config(width)).save_pretrained(place / name)
        t5 = T5Config(
            vocab_size=t5_words,
            d_model=T5_WIDTH,
            d_kv=8,
            d_ff=32,
            num_layers=2,
            num_heads=2,
            feed_forward_proj="gated-gelu",
        )
        T5EncoderModel(t5).save_pretrained(place / "text_encoder_3")
    absent = dict.fromkeys(REST, (None, None))
    index = {"_class_name": "StableDiffusion3Pipeline", **PARTS, **absent}
    write_json(place / "model_index.json", index)
    return place


@pytest.fixture(scope="module")
def expected(folder: Path) -> tuple[Tensor, Tensor]:
    """The context [B, 77 + T, T5's width] and the pooled vectors that diffusers gives for CAPTIONS."""
    nothing: dict[str, Any] = dict.fromkeys(REST)
    pipeline = StableDiffusion3Pipeline.from_pretrained(folder, **nothing)
    with torch.no_grad():
        context, _, pooled, _ = pipeline.encode_prompt(
            CAPTIONS,
            None,
            None,
            device=CPU,
            do_classifier_free_guidance=False,
            max_sequence_length=T5_TOKENS,
        )
    return context, pooled


def close(found: Tensor, wanted: Tensor) -> None:
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-5)


def test_the_expected_states_tell_the_captions_apart(expected: tuple[Tensor, Tensor]) -> None:
    context, pooled = expected
    clip, t5 = context.split([77, T5_TOKENS], dim=1)
    for one in range(len(CAPTIONS)):
        for other in range(one):
            for states in (clip, t5, pooled):
                assert (states[one] - states[other]).abs().max() > 0.05


def test_states_are_those_of_diffusers_pipeline(
    folder: Path, expected: tuple[Tensor, Tensor]
) -> None:
    states = Sd3TextEncoders(str(folder), T5_TOKENS, CPU).encode(CAPTIONS)
    assert states.t5 is not None
    assert states.clip.shape == (4, 77, 8 + 12)
    assert states.t5.shape == (4, T5_TOKENS, T5_WIDTH)
    close(states.context(T5_WIDTH), expected[0])
    close(states.pooled, expected[1])


def test_captions_encoded_one_by_one_give_the_same_states(
    folder: Path, expected: tuple[Tensor, Tensor]
) -> None:
    encoders = Sd3TextEncoders(str(folder), T5_TOKENS, CPU)
    for row, caption in enumerate(CAPTIONS):
        states = encoders.encode([caption])
        close(states.context(T5_WIDTH)[0], expected[0][row])
        close(states.pooled[0], expected[1][row])


def test_without_t5_tokens_t5_is_neither_needed_nor_given(
    folder: Path, tmp_path: Path, expected: tuple[Tensor, Tensor]
) -> None:
    copy = tmp_path / "sd3"
    shutil.copytree(folder, copy, ignore=shutil.ignore_patterns("*_3"))
    states = load_caption_encoder(TextConfig("sd3", str(copy), 0), CPU)(CAPTIONS)
    assert states.t5 is None
    close(states.context(T5_WIDTH), expected[0][:, :77])
    close(states.pooled, expected[1])
    with pytest.raises(TrainingError, match=r"\(it has no folder tokenizer_3\)"):
        Sd3TextEncoders(str(copy), T5_TOKENS, CPU)


def test_a_tilde_stands_for_the_home_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(folder.parent))
    monkeypatch.setenv("USERPROFILE", str(folder.parent))
    assert Sd3TextEncoders(f"~/{folder.name}", 0, CPU).encode(["a cat"]).pooled.shape == (1, 20)


def test_a_cache_with_all_three_encoders_is_made_and_trained_on(
    folder: Path, cache_config: Any, dit_config: Any, tmp_path: Path
) -> None:
    text = {"kind": "sd3", "source": str(folder), "t5_tokens": T5_TOKENS}
    config = cache_config(**{f"text__{key}": value for key, value in text.items()})
    assert make_cache(read_config(CacheConfig, config)).pictures == 5
    cache = LatentCache(tmp_path / "out", in_memory=False)
    found = {picture.captions[0]: cache.read(n)[1] for n, picture in enumerate(cache.pictures)}
    found |= {"": cache.empty_text(), **dict(cache.prompts())}
    assert len(found) == 7
    encoders = Sd3TextEncoders(str(folder), T5_TOKENS, CPU)
    for caption, states in found.items():
        states, expected = states.to("cpu"), encoders.encode([caption])
        for ours, theirs in (
            (states.context(T5_WIDTH), expected.context(T5_WIDTH)),
            (states.pooled, expected.pooled),
        ):
            torch.testing.assert_close(ours, theirs, rtol=2e-3, atol=2e-3)
    sizes = {**SIZES, "context_width": T5_WIDTH, "pooled_width": sum(WIDTHS.values())}
    written = train_dit(
        dit_config(
            model__base=None, model__train="full", model__sizes=sizes, train__steps=2,
            data__caches=[str(cache.folder)], validation__cache=copy_of(cache.folder),
            validation__samples_every=2,
        )
    )  # fmt: skip
    assert written is not None
    (error,) = read_log(written.parent, "validation")
    assert error["velocity"] > 0 and (written.parent / "pictures").is_dir()


@pytest.fixture
def trained_on(folder: Path, cache_config: Any, dit_config: Any, tmp_path: Path) -> Any:
    """Trains two steps on a cache made with changed settings of `text`; the velocity error, and the cache."""

    def train(name: str, **text: Any) -> tuple[float, Path]:
        text = {"kind": "sd3", "source": str(folder), "t5_tokens": T5_TOKENS, **text}
        changes = {f"text__{key}": value for key, value in text.items()}
        out = tmp_path / f"cache_{name}"
        make_cache(read_config(CacheConfig, cache_config(**changes, output__folder=str(out))))
        sizes = {**SIZES, "context_width": T5_WIDTH, "pooled_width": sum(WIDTHS.values())}
        written = train_dit(
            dit_config(
                name, model__base=None, model__train="full", model__sizes=sizes, train__steps=2,
                data__caches=[str(out)], validation__cache=copy_of(out), data__caption_dropout=0.5,
                validation__samples_every=2, data__in_memory=False,
            )
        )  # fmt: skip
        assert written is not None
        return read_log(written.parent, "validation")[-1]["velocity"], out

    return train


def test_captions_encoded_while_training_train_as_cached_ones_do(
    trained_on: Any, tmp_path: Path
) -> None:
    cached, stored = trained_on("cached")
    live, without = trained_on("live", states="live")
    # Apart by what float16 rounds.
    assert live == pytest.approx(cached, rel=1e-3)
    assert live != cached
    room = [
        sum(path.stat().st_size for path in out.glob("shard_*0.s*")) for out in (stored, without)
    ]
    assert room[1] < room[0] / 2
    assert LatentCache(without, in_memory=False).read(0)[1] is None


def test_t5_states_in_8_bits_train_nearly_as_those_in_16(trained_on: Any) -> None:
    whole, one = trained_on("whole")
    eight, other = trained_on("eight", t5_storage="int8")
    assert eight == pytest.approx(whole, rel=1e-2)
    ours, theirs = (LatentCache(out, in_memory=False) for out in (other, one))
    for number in range(5):
        stored = ours.read(number)[1]
        assert stored.t5.dtype == torch.int8
        found, wanted = (cache.read(number)[1].to("cpu").t5 for cache in (ours, theirs))
        assert (found - wanted).norm() / wanted.norm() < 0.01
    with pytest.raises(TrainingError, match=r"text\.t5_storage = 'fp16' and 'int8'"):
        check_alike(theirs, ours)


def test_other_text_encoders_than_the_caches_are_refused_while_training(
    folder: Path, trained_on: Any, tmp_path: Path
) -> None:
    _, out = trained_on("live", states="live")
    cache = LatentCache(out, in_memory=False)
    other = tmp_path / "other"
    shutil.copytree(folder, other)
    weights = other / "text_encoder_3" / "model.safetensors"
    tensors, told = read_safetensors(weights)
    write_safetensors(weights, {name: part.flip(0) for name, part in tensors.items()}, told)
    with pytest.raises(
        TrainingError, match=r"text\.source .*other reads the empty caption otherwise"
    ):
        texts_on(CPU, DitTextConfig(source=str(other)), cache)
    states = texts_on(CPU, DitTextConfig(precision="bf16"), cache)(["a red cat"])
    exact = texts_on(CPU, DitTextConfig(), cache)(["a red cat"])
    assert states.t5.dtype == torch.float32 and not torch.equal(states.t5, exact.t5)
    assert (states.t5 - exact.t5).norm() / exact.t5.norm() < 0.05


def refusal(source: Path) -> str:
    with pytest.raises(TrainingError) as caught:
        Sd3TextEncoders(str(source), T5_TOKENS, CPU)
    message = str(caught.value)
    assert message.startswith(f"text.source {source} does not give SD3's text encoders (")
    assert message.endswith("Stable Diffusion 3 that you have access to.") and "\n" not in message
    assert message.count(". ") == 0
    return message


def test_a_folder_without_text_encoders_is_refused_in_one_sentence(tmp_path: Path) -> None:
    assert "(it has no folder tokenizer)" in refusal(tmp_path)
    (tmp_path / "tokenizer").mkdir()
    (tmp_path / "text_encoder").mkdir()
    refusal(tmp_path)


def test_a_damaged_or_other_text_encoder_is_refused(folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "sd3"
    shutil.copytree(folder, copy)
    weights = copy / "text_encoder_2" / "model.safetensors"
    shutil.copy(copy / "text_encoder" / "model.safetensors", weights)
    assert "(the file of its text_encoder_2 has no text_model.embeddings." in refusal(copy)
    whole = (folder / "text_encoder_2" / "model.safetensors").read_bytes()
    weights.write_bytes(whole[: len(whole) // 2])
    refusal(copy)


def test_weights_in_a_pickle_are_not_read(folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "sd3"
    shutil.copytree(folder, copy)
    model = CLIPTextModelWithProjection.from_pretrained(copy / "text_encoder")
    torch.save(model.state_dict(), copy / "text_encoder" / "pytorch_model.bin")
    (copy / "text_encoder" / "model.safetensors").unlink()
    refusal(copy)


def test_weights_are_never_drawn_at_random(folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "sd3"
    shutil.copytree(folder, copy)
    model = CLIPTextModelWithProjection.from_pretrained(copy / "text_encoder")
    kept = {name: value for name, value in model.state_dict().items() if "projection" not in name}
    model.save_pretrained(copy / "text_encoder", state_dict=kept)
    assert "(the file of its text_encoder has no text_projection.weight" in refusal(copy)
