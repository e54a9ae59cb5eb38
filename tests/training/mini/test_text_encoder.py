"""Training the miniature's text encoder."""

import contextlib
import io
from pathlib import Path

import pytest
import torch

from davae_core import mini
from davae_core.mini.clip_tokenizer import ClipTokenizer
from davae_core.mini.text_encoder import TextConfig, clip_text_model, initialise
from davae_core.mini.text_encoder_files import read_text_encoder, read_text_encoder_file
from training.__main__ import main
from training.errors import TrainingError
from training.mini import caption_pairs, prompt_scenes, scenes
from training.mini.text_config import HELD_OUT_SEED, TextTrainingConfig
from training.mini.text_encoder import contrastive_loss
from training.settings.yaml_config import read_config

SCALE = torch.tensor(3.0)
EVERY = torch.eye(4)
NONE_SAME = torch.eye(4, dtype=torch.bool)


def test_the_loss_is_small_for_matching_pairs_and_large_for_swapped_ones() -> None:
    matching = contrastive_loss(EVERY, EVERY * 5, SCALE, NONE_SAME)
    swapped = contrastive_loss(EVERY, EVERY.roll(1, 0), SCALE, NONE_SAME)
    assert matching < 1e-6 < 5 < swapped


def test_the_loss_looks_at_both_directions() -> None:
    texts = torch.stack([EVERY[0], EVERY[0], EVERY[2], EVERY[3]])
    one_way, other_way = (
        contrastive_loss(a, b, SCALE, NONE_SAME) for a, b in ((texts, EVERY), (EVERY, texts))
    )
    torch.testing.assert_close(one_way, other_way)


def test_pairs_with_the_same_caption_are_not_held_against_each_other() -> None:
    texts = torch.stack([EVERY[0], EVERY[0], EVERY[2], EVERY[3]])
    same = NONE_SAME.clone()
    same[0, 1] = same[1, 0] = True
    assert contrastive_loss(texts, texts, SCALE, same) < 1e-6
    assert contrastive_loss(texts, texts, SCALE, NONE_SAME) > 0.3


def test_pictures_and_captions_are_those_of_the_scenes() -> None:
    pairs = caption_pairs.draw(["scenes", "prompt_scenes"], 5, 2, 32)
    assert pairs.pictures.shape == (4, 3, 32, 32)
    picture, scene = scenes.render(6, 32)
    assert pairs.captions[1] == scenes.caption(scene)
    assert torch.equal(pairs.pictures[1], torch.from_numpy(picture).movedim(-1, 0))
    assert pairs.captions[2] == prompt_scenes.caption(prompt_scenes.compose(5))
    images = pairs.images(slice(None))
    assert images.min() >= -1 and images.max() <= 1 and images.std() > 0.2


def write(tmp_path: Path, **changed: object) -> Path:
    settings = {
        "model": "{hidden_size: 16, layers: 2, heads: 2}",
        "data": "{families: [prompt_scenes], pictures: 96, held_out: 32, size: 32}",
        "train": "{steps: 60, batch_size: 32, learning_rate: 3e-3, warmup_steps: 5}",
        "output": f"{{file: {tmp_path / 'new' / 'clip.safetensors'}}}",
        **changed,
    }
    path = tmp_path / "text.yaml"
    path.write_text("\n".join(f"{name}: {value}" for name, value in settings.items()))
    return path


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The file that a run of a few seconds wrote, and what the run said of it."""
    config = write(tmp_path_factory.mktemp("text"))
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        assert main(["text", str(config)]) == 0
    file, sentence = printed.getvalue().splitlines()
    return Path(file), sentence


def test_a_run_prints_its_file_and_a_retrieval_far_above_chance(trained: tuple[Path, str]) -> None:
    file, sentence = trained
    assert read_text_encoder_file(file)[0] == TextConfig(16, 2, 2, 64)
    assert sentence.startswith("Of 32 scenes that training never saw, the caption finds")
    shares = [float(word.rstrip("%.")) for word in sentence.split() if "%" in word]
    # Chance is 1 in 32.
    assert len(shares) == 2 and min(shares) > 12


def test_a_word_that_no_caption_has_keeps_the_vector_it_started_with(
    trained: tuple[Path, str],
) -> None:
    torch.manual_seed(0)
    start = clip_text_model(TextConfig(16, 2, 2, 64))
    initialise(start)
    before = start.text_model.embeddings.token_embedding.weight.half().float()
    after = read_text_encoder(trained[0]).text_model.embeddings.token_embedding.weight
    (unseen,), (seen,) = ClipTokenizer().words("elephant"), ClipTokenizer().words("purple")
    assert torch.equal(before[unseen], after[unseen])
    assert not torch.equal(before[seen], after[seen])


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        ({"model": "{layers: 1}"}, "model.layers is 1"),
        ({"model": "{hidden_size: 10, heads: 4}"}, "model.hidden_size is 10"),
        ({"data": "{families: []}"}, "data.families is missing"),
        ({"data": "{families: [photos]}"}, "data.families is 'photos'"),
        ({"data": f"{{pictures: {HELD_OUT_SEED + 1}}}"}, "data.pictures is 2000001"),
        ({"data": "{size: 40}"}, "data.size is 40"),
        ({"train": "{batch_size: 1}"}, "train.batch_size is 1"),
        ({"train": "{step: 1}"}, "nearest valid key is train.steps"),
    ],
)
def test_a_wrong_setting_is_named(tmp_path: Path, changes: dict[str, str], wanted: str) -> None:
    with pytest.raises(TrainingError, match=wanted):
        read_config(TextTrainingConfig, write(tmp_path, **changes))


def test_the_bundled_file_has_the_sizes_of_its_configuration() -> None:
    config = read_config(
        TextTrainingConfig, Path(__file__).parents[3] / "training" / "configs" / "mini_clip_l.yaml"
    )
    sizes = config.model
    assert read_text_encoder_file(mini.clip_path())[0] == TextConfig(
        sizes.hidden_size, sizes.layers, sizes.heads, 4 * sizes.hidden_size
    )


@torch.no_grad()
def test_the_bundled_encoder_knows_the_words_it_learned() -> None:
    """Sentences that mean the same lie nearer than sentences that differ in one learned word."""
    model, tokenizer = read_text_encoder(mini.clip_path()), ClipTokenizer()

    def vector(prompt: str) -> torch.Tensor:
        projected = model(torch.tensor([tokenizer(prompt)])).text_embeds
        return torch.nn.functional.normalize(projected, dim=-1)[0]

    red = vector("a red circle on the left, on a white background")
    for other in (
        "a blue circle on the left, on a white background",
        "a red star on the left, on a white background",
        "a red circle on the right, on a white background",
        "a red circle on the left, on a wooden background",
    ):
        assert red @ vector(other) < 0.9, other
