"""Every way to train takes two steps, is stopped in between, and ends in the bits of an unbroken run."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.training.cache_fixtures import pack_captioned
from tests.training.dit_fixtures import copy_of, write_cache
from training.cache.config import CacheConfig
from training.cache.make import make_cache
from training.cache.shard_files import shard_path
from training.dit.train import train_dit
from training.mini.text_config import TextTrainingConfig
from training.mini.text_encoder import train_text_encoder
from training.settings.yaml_config import read_config
from training.vae.train import train_vae

QUIET: dict[str, Any] = {"train__steps": 2, "output__checkpoint_every": 2}
CODECS: dict[str, dict[str, Any]] = {
    "a base VAE": {"model__kind": "base_vae", "model__base_vae": None},
    "frozen trunk": {},
    "trained trunk": {"model__trunk": "trained"},
    "no detail": {"model__detail": "zero"},
    "adaptive alignment": {"loss__alignment__mode": "adaptive"},
    "a GAN": {"loss__gan__weight": 0.1, "loss__gan__adaptive": False},
    "AdamW": {"optimizer__kind": "adamw"},
    "the base's pictures": {"loss__target": "base_reconstruction"},
    "bf16": {"train__precision": "bf16"},
}
TRANSFORMERS: dict[str, dict[str, Any]] = {
    "an adapter": {},
    "Muon": {"optimizer__kind": "muon"},
    "the published loss": {"loss__weighting": "published", "loss__levels": "published"},
    "edges in the detail only": {"model__train_edges": False},
    "no zero start": {"model__zero_init": False, "loss__ramp_steps": 0},
    "wide targets": {"model__lora": {"rank": 4, "alpha": 8, "targets": ["wide"]}},
    "bf16": {"train__precision": "bf16"},
    "recomputed blocks": {"train__recomputed_blocks": 1},
    "from files": {"data__in_memory": False},
    "the error of x0": {"loss__weighting": "x0"},
    "a level of its own for the base": {"loss__base_levels": "own"},
    "a detail pass": {"train__mode": "detail", "loss__ramp_steps": 0, "loss__base_noise": 0.05},
    "a whole widened model": {"model__train": "full"},
    "from nothing": {"model__train": "full", "model__base": None},
}
CACHES: dict[str, dict[str, int]] = {"T5": {"t5_tokens": 3}, "crops and flips": {"variants": 4}}


def contents(folder: Path) -> dict[str, bytes]:
    """Every weight that a run left: its last checkpoint's and its results'."""
    older = sorted((folder / "checkpoints").glob("*"))[:-1]
    found = [p for p in sorted(folder.rglob("*.safetensors")) if p.parent not in older]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


def assert_resumed(train: Callable[..., Path | None], whole: Any, parted: Any) -> None:
    """Train two like configurations, the second stopped after a step; both leave the same bits."""
    assert train(whole) is not None
    assert train(parted, stop_at=1) is None
    assert train(parted) is not None
    expected = contents(Path(whole.output.folder))
    assert "result.safetensors" in expected and len(expected) >= 3
    assert contents(Path(parted.output.folder)) == expected


@pytest.mark.parametrize("changes", CODECS.values(), ids=CODECS.keys())
def test_every_codec_is_resumed_bit_for_bit(make_config: Any, changes: dict[str, Any]) -> None:
    # Without the fit that a new codec begins with: it takes seconds, and test_vae.py resumes a fitted one.
    usual = {"model__init": "torch", "validation__folders": [], "output__keep": 1}
    changes = {**QUIET, **usual, **changes}
    whole, parted = (make_config(name, **changes) for name in ("whole", "parted"))
    assert_resumed(train_vae, whole, parted)


@pytest.mark.parametrize("changes", TRANSFORMERS.values(), ids=TRANSFORMERS.keys())
def test_every_transformer_is_resumed_bit_for_bit(dit_config: Any, changes: dict[str, Any]) -> None:
    off = {"validation__cache": None, "validation__samples_every": 0, "output__keep": 1}
    whole, parted = (dit_config(name, **QUIET, **off, **changes) for name in ("whole", "parted"))
    assert_resumed(train_dit, whole, parted)


@pytest.mark.parametrize("holding", CACHES.values(), ids=CACHES.keys())
def test_every_kind_of_cache_is_trained_on_and_resumed_bit_for_bit(
    dit_config: Any, tmp_path: Path, davae: Path, holding: dict[str, int]
) -> None:
    cache = str(write_cache(tmp_path / "other", davae, True, [(4, 4)] * 4, **holding))
    changes = {**QUIET, "data__caches": [cache], "data__caption_dropout": 0.5}
    changes |= {
        "validation__cache": copy_of(Path(cache)),
        "validation__samples_every": 2,
        "output__keep": 1,
    }
    whole, parted = (dit_config(name, **changes) for name in ("whole", "parted"))
    assert_resumed(train_dit, whole, parted)


def test_workers_that_read_ahead_change_no_bit_of_a_run_or_of_a_resumed_one(
    dit_config: Any, tmp_path: Path, davae: Path
) -> None:
    sizes = [(4, 4)] * 4 + [(4, 6)] * 3
    cache = str(write_cache(tmp_path / "rich", davae, True, sizes, t5_tokens=3, variants=2))
    changes = {"data__caches": [cache], "data__caption_dropout": 0.5, "data__in_memory": False}
    changes |= {"train__accumulate": 2, "validation__cache": None, "validation__samples_every": 0}
    alone = dit_config("alone", **changes)
    ahead, parted = (dit_config(n, data__workers=2, **changes) for n in ("ahead", "parted"))
    assert train_dit(alone) is not None
    assert train_dit(ahead) is not None
    assert train_dit(parted, stop_at=2) is None
    assert train_dit(parted) is not None
    expected = contents(Path(alone.output.folder))
    assert "result.safetensors" in expected and len(expected) >= 3
    assert contents(Path(ahead.output.folder)) == expected
    assert contents(Path(parted.output.folder)) == expected


def test_a_transformer_on_a_plain_vae_is_resumed_bit_for_bit(
    dit_config: Any, tmp_path: Path, base_vae: Path
) -> None:
    cache = write_cache(tmp_path / "plain", base_vae, False, [(4, 4)] * 4)
    changes = {
        "model__train": "full", "model__base": None, "model__vae": str(base_vae),
        "data__caches": [str(cache)], "validation__cache": None, "validation__samples_every": 0,
    }  # fmt: skip
    whole, parted = (dit_config(name, **QUIET, **changes) for name in ("whole", "parted"))
    train_dit(whole)
    train_dit(parted, stop_at=1)
    train_dit(parted)
    last = "checkpoints/step_00000002/model.safetensors"
    found, expected = (contents(Path(run.output.folder)) for run in (parted, whole))
    assert found["result.safetensors"] == expected["result.safetensors"]
    assert found[last] == expected[last]


@pytest.mark.slow
def test_the_text_encoder_is_resumed_bit_for_bit(tmp_path: Path) -> None:
    def config(name: str) -> Any:
        path = tmp_path / f"{name}.yaml"
        path.write_text(
            "model: {hidden_size: 16, layers: 2, heads: 2}\n"
            "data: {families: [prompt_scenes], pictures: 8, held_out: 4, size: 32}\n"
            "train: {steps: 3, batch_size: 4, warmup_steps: 1}\n"
            f"output: {{file: {tmp_path / name / 'clip.safetensors'}, checkpoint_every: 2}}\n",
            encoding="utf-8",
        )
        return read_config(TextTrainingConfig, path)

    assert train_text_encoder(config("whole")) is not None
    assert train_text_encoder(config("parted"), stop_at=1) is None
    assert train_text_encoder(config("parted")) is not None
    expected = contents(tmp_path / "whole")
    assert len(expected) == 4
    assert contents(tmp_path / "parted") == expected


@pytest.mark.parametrize("source", ["folder", "tar"])
def test_a_cache_is_resumed_byte_for_byte(cache_config: Any, tmp_path: Path, source: str) -> None:
    changes: dict[str, Any] = {}
    if source == "tar":
        cache_config()
        shard = pack_captioned(tmp_path / "captioned", tmp_path / "set.tar")
        changes = {"source__folders": [], "source__shards": [str(shard)]}
    config = read_config(CacheConfig, cache_config(**changes))
    make_cache(config)
    out = tmp_path / "out"
    expected = contents(out)
    # Three shards, the texts that belong to no picture, the index of the whole.
    assert len(expected) == 5
    shard_path(out, 1).unlink()
    shard_path(out, 2).with_suffix(".json").unlink()
    assert make_cache(config).pictures == 5
    assert contents(out) == expected
