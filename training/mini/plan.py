"""The stages that make the miniature from nothing, as data: what runs each, on whose results, into which file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from davae_core import mini

Kind = Literal["pictures", "scenes", "vae", "text", "cache", "dit"]


@dataclass(frozen=True)
class Stage:
    """One stage.

    `config` names its file in training/configs, `joints` are the keys that join it to the other stages and to the
    folder everything is made in, and `result` is the file or folder it leaves.
    """

    name: str
    kind: Kind
    config: str
    joints: Mapping[str, Any]
    result: Path


@dataclass(frozen=True)
class Plan:
    """All stages in order, and for each bundled file's name the file that they make it as."""

    stages: tuple[Stage, ...]
    files: Mapping[str, Path]


@dataclass(frozen=True)
class Codec:
    """What the generator is trained on top of."""

    base_vae: Path
    davae: Path
    clip: Path


BUNDLED = Codec(mini.base_vae_path(), mini.davae_path(), mini.clip_path())


def miniature_plan(out: Path, from_bundled_codec: bool) -> Plan:
    """The plan for a folder: everything, or only transformer and adapter on the bundled VAE, DA-VAE and CLIP."""
    before: tuple[Stage, ...] = ()
    if from_bundled_codec:
        codec = BUNDLED
    else:
        before, codec = _codec_stages(out)
    after = _generator_stages(out, codec)
    files = {
        mini.base_vae_path().name: codec.base_vae,
        mini.davae_path().name: codec.davae,
        mini.clip_path().name: codec.clip,
        mini.transformer_path().name: after[-2].result,
        mini.adapter_path().name: after[-1].result,
    }
    return Plan((*before, *after), files)


def _codec_stages(out: Path) -> tuple[tuple[Stage, ...], Codec]:
    pictures = out / "pictures"
    clip = out / "text" / mini.clip_path().name
    base = _vae_stage(out, "base_vae", "mini_base", mini.base_vae_path().stem, None)
    finish = _vae_stage(
        out, "base_vae_finish", "mini_base_finish", mini.base_vae_path().stem, base.result
    )
    davae = _vae_stage(out, "davae", "mini_davae", mini.davae_path().stem, finish.result)
    stages = (
        Stage("pictures", "pictures", "mini_pictures", {"folder": str(pictures)}, pictures),
        base,
        finish,
        davae,
        Stage("text", "text", "mini_clip_l", {"output.file": str(clip)}, clip),
    )
    return stages, Codec(finish.result, davae.result, clip)


def _vae_stage(out: Path, stage: str, config: str, name: str, parent: Path | None) -> Stage:
    pictures, folder = out / "pictures", out / stage
    joints = {
        "model.base_vae": None if parent is None else str(parent),
        "data.train": [str(pictures / "train" / part) for part in ("scenes", "photographs")],
        "validation.folders": [str(pictures / "val")],
        "output.folder": str(folder),
        "output.name": name,
    }
    return Stage(stage, "vae", config, joints, folder / f"{name}.safetensors")


def _generator_stages(out: Path, codec: Codec) -> tuple[Stage, ...]:
    scenes = out / "scenes"
    caches = tuple(
        _cache_stage(out, f"cache_{part}{suffix}", f"mini_cache_{part}", vae, codec.clip, folder)
        for part, vae in (("base", codec.base_vae), ("davae", codec.davae))
        for suffix, folder in (("", scenes / "train"), ("_val", scenes / "val"))
    )
    transformer = _dit_stage(
        out, "transformer", "mini_base_transformer", mini.transformer_path().stem, codec.base_vae,
        "cache_base", {},
    )  # fmt: skip
    adapter = _dit_stage(
        out, "adapter", "mini_adapter", mini.adapter_path().stem, codec.davae,
        "cache_davae", {"model.base": str(transformer.result)},
    )  # fmt: skip
    drawn = Stage("scenes", "scenes", "mini_scenes", {"folder": str(scenes)}, scenes)
    return (drawn, *caches, transformer, adapter)


def _cache_stage(out: Path, stage: str, config: str, vae: Path, clip: Path, folder: Path) -> Stage:
    joints = {
        "source.folders": [str(folder)],
        "vae.file": str(vae),
        "text.source": str(clip),
        "output.folder": str(out / stage),
    }
    return Stage(stage, "cache", config, joints, out / stage / "cache.json")


def _dit_stage(
    out: Path,
    stage: str,
    config: str,
    name: str,
    vae: Path,
    cache: str,
    parent: Mapping[str, str],
) -> Stage:
    folder = out / stage
    joints = {
        "model.vae": str(vae),
        "data.caches": [str(out / cache)],
        "validation.cache": str(out / f"{cache}_val"),
        "output.folder": str(folder),
        "output.name": name,
        **parent,
    }
    return Stage(stage, "dit", config, joints, folder / f"{name}.safetensors")
