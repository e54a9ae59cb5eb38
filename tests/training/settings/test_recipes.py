"""The recipes in training/configs: one per command explains every key, the others say what differs from it."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from training.cache.config import CacheConfig
from training.dit.config import DitTrainingConfig
from training.mini.pictures_config import CodecPicturesConfig, PromptScenesConfig
from training.mini.text_config import TextTrainingConfig
from training.sample.config import SampleConfig
from training.settings.yaml_config import flatten, read_config
from training.vae.config import VaeTrainingConfig

CONFIGS = Path(__file__).parents[3] / "training" / "configs"
REFERENCES: dict[str, type[Any]] = {
    "paper": VaeTrainingConfig,
    "sd35_cache": CacheConfig,
    "sd35_paper": DitTrainingConfig,
    "mini_clip_l": TextTrainingConfig,
    "mini_pictures": CodecPicturesConfig,
    "mini_scenes": PromptScenesConfig,
    "imagenet_samples": SampleConfig,
}
RECIPES = sorted({path.stem for path in CONFIGS.glob("*.yaml")} - set(REFERENCES))


def text(name: str) -> str:
    return (CONFIGS / f"{name}.yaml").read_text(encoding="utf-8")


def reference(name: str) -> str:
    """The recipe at the end of a recipe's bases."""
    while name not in REFERENCES:
        name = Path(yaml.safe_load(text(name))["base"]).stem
    return name


def settings(name: str) -> dict[str, Any]:
    """Every setting of a recipe, as its command reads it."""
    return flatten(read_config(REFERENCES[reference(name)], CONFIGS / f"{name}.yaml"))


def leaves(mapping: dict[str, Any], prefix: str = "") -> set[str]:
    found: set[str] = set()
    for key, value in mapping.items():
        found |= leaves(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key}
    return found


@pytest.mark.parametrize("name", REFERENCES)
def test_a_reference_names_every_key_and_explains_it(name: str) -> None:
    assert leaves(yaml.safe_load(text(name))) == set(settings(name))
    lines = text(name).splitlines()
    for line, following in zip(lines, [*lines[1:], ""], strict=True):
        if re.match(r"^ *\w+:", line):
            assert "#" in line or following.strip().startswith("#"), line


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_says_what_it_is_names_its_base_and_holds_only_what_differs(name: str) -> None:
    assert re.match(r"(#.+\n)+base: \w+\.yaml\n", text(name))
    written = yaml.safe_load(text(name))
    base = settings(Path(written.pop("base")).stem)
    differing = {key for key, value in settings(name).items() if value != base[key]}
    assert leaves(written) == differing


def test_the_published_sd3_recipe_holds_the_published_numbers() -> None:
    config = read_config(VaeTrainingConfig, CONFIGS / "published_sd3.yaml")
    assert (config.model.trunk, config.loss.target) == ("frozen", "base_reconstruction")
    assert (config.loss.kl.weight, config.loss.kl.per) == (1e-7, "picture")
    assert (config.loss.alignment.weight, config.loss.alignment.mode) == (0.2, "fixed")
    # Published for pictures in [0, 1], with LPIPS divided by 1.1 and a crop's share of the area.
    assert (config.loss.l1, config.loss.mse) == (2.0 / 2, 0.0)
    assert config.loss.perceptual.weight == pytest.approx(1 / 1.1, abs=1e-3)
    assert config.data.scale == pytest.approx((0.8**0.5, 1.0), abs=1e-3)
    assert (config.optimizer.learning_rate, config.optimizer.betas) == (1e-4, (0.9, 0.99))
    assert config.train.steps == 650_000


def test_the_published_imagenet_recipe_holds_the_published_numbers() -> None:
    config = read_config(VaeTrainingConfig, CONFIGS / "published_imagenet.yaml")
    loss, optimizer = config.loss, config.optimizer
    assert (config.model.trunk, config.model.detail_dropout) == ("trained", 0.1)
    assert (loss.l1, loss.mse, loss.perceptual.kind) == (1.0, 0.0, "lpips")
    assert (loss.perceptual.weight, loss.target) == (1.0, "picture")
    # Published without the divergence's factor 1/2, and in optimizer calls of two alternating ones.
    assert (loss.kl.weight, loss.kl.per) == (1e-6 * 2, "value")
    assert (loss.gan.weight, loss.gan.start_step) == (0.1, 5001 // 2)
    assert (loss.alignment.weight, loss.alignment.mode) == (0.5, "adaptive")
    assert (optimizer.learning_rate, optimizer.betas) == (1e-4, (0.5, 0.9))
    assert (config.train.steps, config.train.batch_size) == (1_000_000, 64 // 8)


def test_the_published_sd35_recipe_holds_the_published_numbers() -> None:
    config = read_config(DitTrainingConfig, CONFIGS / "sd35_published.yaml")
    model, loss, optimizer, train = config.model, config.loss, config.optimizer, config.train
    assert (model.train, model.zero_init, model.train_edges) == ("adapter", True, True)
    assert (model.lora.rank, model.lora.alpha, model.lora.targets) == (256, 256, ("published",))
    assert (loss.weighting, loss.levels) == ("published", "published")
    assert (loss.shift, loss.ramp_steps) == (4.0, 10_000)
    assert (optimizer.kind, optimizer.learning_rate) == ("adamw", 1e-4)
    assert (optimizer.betas, optimizer.weight_decay) == ((0.9, 0.999), 0.0)
    assert (optimizer.warmup_steps, optimizer.final_ratio) == (0, 1.0)
    assert (optimizer.clip_norm, optimizer.ema) == (0.5, 0.999)
    assert config.data.caption_dropout == 0.1
    assert (train.batch_size, train.accumulate, train.precision) == (6, 2, "bf16")
    assert (config.validation.guidance, config.validation.sampling_steps) == (2.5, 30)


def test_the_papers_sd35_recipe_is_the_published_one_but_for_its_loss() -> None:
    paper, published = (
        flatten(read_config(DitTrainingConfig, CONFIGS / f"{name}.yaml"))
        for name in ("sd35_paper", "sd35_published")
    )
    assert (paper["loss.weighting"], paper["loss.levels"]) == ("none", "continuous")
    names = {"loss.weighting", "loss.levels", "output.folder", "output.name"}
    # For smaller GPUs; it changes no gradient.
    names.add("train.recomputed_blocks")
    assert {name for name in published if paper[name] != published[name]} == names


def test_the_sd35_cache_is_of_the_published_text_length_and_sides() -> None:
    config = read_config(CacheConfig, CONFIGS / "sd35_cache.yaml")
    assert (config.text.kind, config.text.t5_tokens) == ("sd3", 512)
    assert config.images.multiple == 32
