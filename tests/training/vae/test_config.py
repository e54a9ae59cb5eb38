import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from training.cache.config import read_cache_config
from training.dit.config import read_dit_config
from training.errors import TrainingError
from training.mini.pictures_config import read_codec_pictures_config, read_prompt_scenes_config
from training.mini.text_config import read_text_config
from training.settings.yaml_config import flatten
from training.vae.config import read_vae_config

CONFIGS = Path(__file__).parents[3] / "training" / "configs"
PRESETS = sorted(path.stem for path in CONFIGS.glob("*.yaml"))
OTHER_READERS = {
    "mini_pictures": read_codec_pictures_config,
    "mini_scenes": read_prompt_scenes_config,
    "mini_clip_l": read_text_config,
    "mini_cache_base": read_cache_config,
    "mini_cache_davae": read_cache_config,
    "sd35_cache": read_cache_config,
    "mini_base_transformer": read_dit_config,
    "mini_adapter": read_dit_config,
    "sd35_published": read_dit_config,
    "sd35_paper": read_dit_config,
}


def leaves(mapping: dict[str, Any], prefix: str = "") -> set[str]:
    found: set[str] = set()
    for key, value in mapping.items():
        found |= leaves(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key}
    return found


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_reads_and_names_every_key(name: str) -> None:
    path = CONFIGS / f"{name}.yaml"
    config: Any = OTHER_READERS.get(name, read_vae_config)(path)
    assert leaves(yaml.safe_load(path.read_text(encoding="utf-8"))) == set(flatten(config))


@pytest.mark.parametrize("name", PRESETS)
def test_every_key_of_a_preset_has_a_comment(name: str) -> None:
    lines = (CONFIGS / f"{name}.yaml").read_text(encoding="utf-8").splitlines()
    for line, following in zip(lines, [*lines[1:], ""], strict=True):
        if re.match(r"^ *\w+:", line):
            assert "#" in line or following.strip().startswith("#"), line


def test_the_published_sd3_preset_holds_the_published_numbers() -> None:
    config = read_vae_config(CONFIGS / "published_sd3.yaml")
    assert (config.model.trunk, config.loss.target) == ("frozen", "base_reconstruction")
    assert (config.loss.kl.weight, config.loss.kl.per) == (1e-7, "picture")
    assert (config.loss.alignment.weight, config.loss.alignment.mode) == (0.2, "fixed")
    # Published for pictures in [0, 1], with LPIPS divided by 1.1 and a crop's share of the area.
    assert (config.loss.l1, config.loss.mse) == (2.0 / 2, 0.0)
    assert config.loss.perceptual.weight == pytest.approx(1 / 1.1, abs=1e-3)
    assert config.data.scale == pytest.approx((0.8**0.5, 1.0), abs=1e-3)
    assert (config.optimizer.learning_rate, config.optimizer.betas) == (1e-4, (0.9, 0.99))
    assert config.train.steps == 650_000


def test_the_published_sd35_preset_holds_the_published_numbers() -> None:
    config = read_dit_config(CONFIGS / "sd35_published.yaml")
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


def test_the_papers_sd35_preset_is_the_published_one_but_for_its_loss() -> None:
    paper, published = (
        flatten(read_dit_config(CONFIGS / f"{name}.yaml"))
        for name in ("sd35_paper", "sd35_published")
    )
    assert (paper["loss.weighting"], paper["loss.levels"]) == ("none", "continuous")
    names = {"loss.weighting", "loss.levels", "output.folder", "output.name"}
    assert {name for name in published if paper[name] != published[name]} == names


def test_the_sd35_cache_is_of_the_published_text_length_and_sides() -> None:
    config = read_cache_config(CONFIGS / "sd35_cache.yaml")
    assert (config.text.kind, config.text.t5_tokens) == ("sd3", 512)
    assert config.images.multiple == 32


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        ({"model__base_vae": None}, "model.base_vae is missing"),
        ({"model__detail": "zero", "model__trunk": "trained"}, "model.trunk is trained while"),
        ({"model__detail_dropout": 1.0}, "model.detail_dropout is 1.0"),
        ({"data__train": []}, "data.train is missing"),
        ({"data__shares": [1.0, 2.0]}, "data.shares has 2 numbers for 1 folders"),
        ({"data__scale": [1.0]}, "data.scale is [1.0]"),
        ({"data__scale": [1.0, 0.5]}, "data.scale is [1.0, 0.5]"),
        ({"data__window": "fraction", "data__scale": [0.5, 2]}, "data.scale reaches 2.0"),
        ({"data__cache_mb": 10, "data__workers": 2}, "data.cache_mb and data.workers"),
        ({"optimizer__betas": [0.9]}, "optimizer.betas has 1 numbers"),
        ({"optimizer__ema": 1.0}, "optimizer.ema is 1.0"),
        ({"train__steps": 0}, "train.steps is 0"),
        ({"output__folder": ""}, "output.folder is missing"),
        ({"output__keep": 0}, "output.keep is 0"),
        ({"train__compile": True, "loss__gan__weight": 0.1}, "train.compile cannot be combined"),
        ({"train__precision": "fp16", "loss__gan__weight": 0.1}, "train.precision is fp16, whose"),
        ({"loss__l1": 0, "loss__mse": 0}, "nothing would be learned"),
        (
            {
                "model__kind": "base_vae",
                "model__base_vae": None,
                "loss__target": "base_reconstruction",
            },
            "loss.target is base_reconstruction",
        ),
    ],
)
def test_settings_that_contradict_each_other_are_refused_by_name(
    write_config: Any, changes: dict[str, Any], wanted: str
) -> None:
    with pytest.raises(TrainingError) as error:
        read_vae_config(write_config(**changes))
    assert wanted in str(error.value)
    assert "config.yaml" in str(error.value)
