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
    """What the generator is trained on top of; the base VAE is in the DA-VAE's file."""

    davae: Path
    clip: Path


BUNDLED = Codec(mini.davae_path(), mini.clip_path())


def miniature_plan(out: Path, from_bundled_codec: bool) -> Plan:
    """The plan for a folder: everything, or only transformer and adapters on the bundled VAE, DA-VAE and CLIP."""
    scenes = _scenes(out, "scenes")
    before, codec = ((), BUNDLED) if from_bundled_codec else _codec_stages(out)
    after = _generator_stages(out, codec)
    lora = _lora_stages(out, codec, after[-3].result)
    results = (codec.davae, codec.clip, *(stage.result for stage in (*after[-3:], lora[-1])))
    # Every stage names its result as the bundled file is named.
    return Plan((scenes, *before, *after, *lora), {result.name: result for result in results})


def _codec_stages(out: Path) -> tuple[tuple[Stage, ...], Codec]:
    pictures = out / "pictures"
    clip = out / "text" / mini.clip_path().name
    base = _training(
        out, "base_vae", "vae", "mini_base", Path("mini_base_vae.safetensors"),
        _pictures(pictures, pictures / "train" / "scenes", pictures / "val"),
    )  # fmt: skip
    grown = {"model.base_vae": str(base.result)}
    crops = _pictures(pictures, out / "scenes" / "train", out / "scenes" / "val")
    davae = _training(out, "davae", "vae", "mini_davae", mini.davae_path(), grown | crops)
    begun = {"model.start_from": str(davae.result)}
    decoder = _training(out, "decoder", "vae", "mini_decoder", mini.davae_path(), begun | crops)
    stages = (
        Stage("pictures", "pictures", "mini_pictures", {"folder": str(pictures)}, pictures),
        base,
        davae,
        decoder,
        Stage("text", "text", "mini_clip_l", {"output.file": str(clip)}, clip),
    )
    return stages, Codec(decoder.result, clip)


def _pictures(pictures: Path, scenes: Path, held_out: Path) -> dict[str, Any]:
    """What a codec is trained on, scenes and photographs, and the pictures that settings are chosen by."""
    return {
        "data.train": [str(scenes), str(pictures / "train" / "photographs")],
        "validation.folders": [str(held_out)],
    }


def _generator_stages(out: Path, codec: Codec) -> tuple[Stage, ...]:
    fewer = _scenes(out, "adapter_scenes")
    stages = (
        *_caches(out, codec, "cache_base", "mini_cache_base", out / "scenes"),
        fewer,
        *_caches(out, codec, "cache_davae", "mini_cache_davae", fewer.result),
    )
    latents = {part: _latents(out, codec.davae, f"cache_{part}") for part in ("base", "davae")}
    transformer = _training(
        out, "transformer", "dit", "mini_base_transformer", mini.transformer_path(), latents["base"]
    )
    adapted = {**latents["davae"], "model.base": str(transformer.result)}
    adapters = (
        _training(out, "adapter", "dit", "mini_adapter", mini.adapter_path(), adapted),
        _training(out, "detail", "dit", "mini_detail", mini.detail_adapter_path(), adapted),
    )
    return (*stages, transformer, *adapters)


def _lora_stages(out: Path, codec: Codec, transformer: Path) -> tuple[Stage, ...]:
    scenes = _scenes(out, "style_scenes")
    caches = _caches(out, codec, "cache_style", "mini_cache_base", scenes.result)
    joints = {**_latents(out, codec.davae, "cache_style"), "model.base": str(transformer)}
    lora = _training(out, "lora", "dit", "mini_lora", mini.lora_path(), joints)
    return (scenes, *caches, lora)


def _scenes(out: Path, name: str) -> Stage:
    return Stage(name, "scenes", f"mini_{name}", {"folder": str(out / name)}, out / name)


def _caches(out: Path, codec: Codec, name: str, config: str, scenes: Path) -> tuple[Stage, ...]:
    """The caches of a folder's training and held-out scenes."""
    stages = []
    for suffix, drawn in (("", "train"), ("_val", "val")):
        folder = out / f"{name}{suffix}"
        joints = {
            "source.folders": [str(scenes / drawn)],
            "vae.file": str(codec.davae),
            "text.source": str(codec.clip),
            "output.folder": str(folder),
        }
        stages.append(Stage(folder.name, "cache", config, joints, folder / "cache.json"))
    return tuple(stages)


def _latents(out: Path, vae: Path, cache: str) -> dict[str, Any]:
    return {
        "model.vae": str(vae),
        "data.caches": [str(out / cache)],
        "validation.cache": str(out / f"{cache}_val"),
    }


def _training(
    out: Path, stage: str, kind: Kind, config: str, bundled: Path, joints: Mapping[str, Any]
) -> Stage:
    """A stage whose result is named as the bundled file."""
    folder = out / stage
    output = {"output.folder": str(folder), "output.name": bundled.stem}
    return Stage(stage, kind, config, {**joints, **output}, folder / bundled.name)
