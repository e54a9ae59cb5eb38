"""Every kind of file that is read here: a whole one, small, how it is made hostile and what reads it."""

import io
import json
import random
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from shutil import copytree

import numpy as np
import torch
import yaml
from PIL import Image
from torch import nn

from davae_core.codec.autoencoder import CodecConfig, DetailAlignedVAE, KLAutoencoder
from davae_core.codec.blocks import KLConfig
from davae_core.codec.files import load_base_vae, load_codec, save_base_vae, save_codec
from davae_core.codec.latent_files import load_latents, save_latents
from davae_core.codec.preview_decoder import pad_preview_decoder
from davae_core.codec.small import SmallConfig
from davae_core.evaluation.report import Result, as_json
from davae_core.files import read_safetensors, write_safetensors
from davae_core.format import KIND_TEXT_ENCODER, write_described
from davae_core.images import read_image
from davae_core.inspection import inspect_file
from davae_core.latents import ChannelStatistics, LatentLayout
from davae_core.lightning.files import ClassModel, read_class_model, write_class_model
from davae_core.lightning.sizes import LightningSizes
from davae_core.mini.text_encoder import TextConfig
from davae_core.mini.text_encoder_files import read_text_encoder_file, stored_shapes
from davae_core.presets import SD3
from davae_core.published.adapter import convert_adapter
from davae_core.published.codec import convert_codec
from davae_core.published.lightning import load_lightning
from davae_core.published.vavae import load_vavae
from davae_core.reading.plain_text import LONGEST
from davae_core.release.evaluation_report import results_of
from davae_core.release.fetching import fetch
from davae_core.release.manifest import MANIFEST, published, write_manifest
from davae_core.release.sources import LocalFolder
from davae_core.transformer.adapter import read_adapter, write_adapter
from davae_core.transformer.merging import merge_files
from davae_core.transformer.pretrained import load_transformer
from tests.davae_core.lightning.tiny import random_weights
from tests.hostile import mutations
from tests.hostile.mutations import Mutation
from training.cache.caption_sources import scan_captioned
from training.cache.head import CacheHead, read_head, write_head
from training.cache.latent_cache import LatentCache, write_texts
from training.cache.parts import Part, begin_part, end_part
from training.cache.plan_file import PlanFile, write_plan
from training.cache.remote_cache import RemoteCache
from training.cache.shard_files import CachedPicture, shard_path, write_shard
from training.cache.table_file import TABLE, write_table
from training.cache.text_states import TextStates
from training.dit.config import DitModelConfig
from training.dit.transformer import read_base
from training.engine.checkpointing import (
    CheckpointFolder,
    RunState,
    Trained,
    collect,
    load_checkpoint,
)
from training.engine.ema import WeightAverage
from training.engine.processes import make_accelerator
from training.pictures import PictureStore
from training.settings.yaml_config import read_config
from training.vae.config import VaeTrainingConfig
from training.vae.tar_sets import find_pictures

GOLDEN = Path(__file__).parents[1] / "data" / "golden"
KL = KLConfig(widths=(4, 4), res_blocks=1, norm_groups=2)
SMALL = SmallConfig(width=4, levels=2, blocks=1, shift=0.25, scale=2.0)
LAYOUT = LatentLayout(4, 4, 2, 2, 0.25, 2.0)
LIGHTNING = LightningSizes(
    channels=8, patch=1, blocks=1, width=8, heads=1, side=2, classes=2, normed=True
)
SAFETENSORS = (
    mutations.described, mutations.described, mutations.retyped, mutations.emptied, mutations.damaged_bytes,
)  # fmt: skip


@dataclass(frozen=True)
class Kind:
    """A kind of file.

    `make` writes a whole one, with what belongs to it, into an empty folder and returns the file to make hostile;
    `read` reads it as users do, given that file, and returns what of it would be shown.
    """

    name: str
    make: Callable[[Path], Path]
    read: Callable[[Path], tuple[str, ...]]
    mutations: tuple[Mutation, ...]


def _inspected(path: Path) -> tuple[str, ...]:
    lines = inspect_file(path).lines
    assert all(len(line) < 6 * LONGEST for line in lines)
    return lines


def _codec(folder: Path, backbone: KLConfig | SmallConfig = KL) -> Path:
    save_codec(folder / "codec.safetensors", DetailAlignedVAE(CodecConfig(LAYOUT, backbone)))
    return folder / "codec.safetensors"


def _read_codec(path: Path) -> tuple[str, ...]:
    lines = _inspected(path)
    load_codec(path)
    return lines


def _base_vae(folder: Path, backbone: KLConfig | SmallConfig = KL) -> Path:
    save_base_vae(folder / "base.safetensors", KLAutoencoder(backbone, 4), 0.25, 2.0)
    return folder / "base.safetensors"


def _read_base_vae(path: Path) -> tuple[str, ...]:
    load_base_vae(path)
    return _inspected(path)


def _diffusers_config(folder: Path) -> Path:
    copytree(GOLDEN / "base_vae", folder / "vae")
    return folder / "vae" / "config.json"


def _latent(folder: Path) -> Path:
    save_latents(folder / "a.safetensors", torch.zeros(1, 8, 2, 2), LAYOUT, _codec(folder))
    return folder / "a.safetensors"


def _read_latent(path: Path) -> tuple[str, ...]:
    codec = path.with_name("codec.safetensors")
    lines = _inspected(path)
    load_latents(path, load_codec(codec), codec)
    return lines


def _golden_adapter(folder: Path) -> Path:
    base = load_transformer(GOLDEN / "transformer" / "base.safetensors")
    lora = GOLDEN / "transformer" / "pytorch_lora_weights.safetensors"
    parents = {"base_name": "base.safetensors", "vae": "0a" * 32}
    found = convert_adapter(GOLDEN / "transformer/step_4321.pt", base, "live", lora, None, parents)
    write_adapter(folder / "adapter.safetensors", found)
    return folder / "adapter.safetensors"


def _read_adapter(path: Path) -> tuple[str, ...]:
    lines = _inspected(path)
    read_adapter(path)
    merge_files(GOLDEN / "transformer" / "base.safetensors", path, path.with_name("out"))
    return lines


def _merged(folder: Path) -> Path:
    base = GOLDEN / "transformer" / "base.safetensors"
    merge_files(base, _golden_adapter(folder), folder / "merged.safetensors")
    return folder / "merged.safetensors"


def _merged_without_metadata(folder: Path) -> Path:
    tensors, _ = read_safetensors(_merged(folder))
    write_safetensors(folder / "plain.safetensors", tensors, {})
    return folder / "plain.safetensors"


def _transformer(folder: Path) -> Path:
    _golden_adapter(folder)
    tensors, _ = read_safetensors(GOLDEN / "transformer" / "base.safetensors")
    write_safetensors(folder / "base.safetensors", tensors, {})
    return folder / "base.safetensors"


def _read_transformer(path: Path) -> tuple[str, ...]:
    lines = _inspected(path)
    read_base(DitModelConfig(vae="v", base=str(path)), SD3.layout.base_channels)
    merge_files(path, path.with_name("adapter.safetensors"), path.with_name("out"))
    return lines


def _text_encoder(folder: Path) -> Path:
    config = TextConfig(1, 2, 1, 2)
    tensors = {n: torch.zeros(s, dtype=torch.half) for n, s in stored_shapes(config).items()}
    told = {"text_model": vars(config), "parents": {}}
    write_described(folder / "clip.safetensors", tensors, KIND_TEXT_ENCODER, told)
    return folder / "clip.safetensors"


def _read_text_encoder(path: Path) -> tuple[str, ...]:
    lines = _inspected(path)
    read_text_encoder_file(path)
    return lines


def _preview(folder: Path) -> Path:
    write_safetensors(folder / "tae.safetensors", {"1.weight": torch.zeros(4, 16, 3, 3)}, {})
    return folder / "tae.safetensors"


def _read_preview(path: Path) -> tuple[str, ...]:
    pad_preview_decoder(str(path), read_safetensors(path)[0], SD3.layout)
    return _inspected(path)


def _published(folder: Path) -> Path:
    trained, _ = read_safetensors(GOLDEN / "davae_without_base.safetensors")
    base, _ = read_safetensors(GOLDEN / "base_vae" / "diffusion_pytorch_model.safetensors")
    held = trained | {f"original_vae_model.vae.{name}": tensor for name, tensor in base.items()}
    torch.save(held, folder / "pytorch_model.bin")
    return folder / "pytorch_model.bin"


def _statistics(folder: Path) -> Path:
    _published(folder)
    path = folder / "latent_norm_stats.json"
    path.write_bytes((GOLDEN / "latent_norm_stats.json").read_bytes())
    return path


def _read_published(path: Path) -> tuple[str, ...]:
    convert_codec(path.with_name("pytorch_model.bin"))
    return ()


def _stage_two(folder: Path) -> Path:
    path = folder / "step.pt"
    path.write_bytes((GOLDEN / "transformer" / "step_4321.pt").read_bytes())
    return path


def _read_stage_two(path: Path) -> tuple[str, ...]:
    base = load_transformer(GOLDEN / "transformer" / "base.safetensors")
    convert_adapter(path, base, "ema")
    return ()


def _class_model(folder: Path) -> Path:
    statistics = ChannelStatistics(torch.zeros(8), torch.ones(8))
    model = ClassModel(LAYOUT, LIGHTNING, statistics, random_weights(LIGHTNING))
    write_class_model(folder / "class_model.safetensors", model)
    return folder / "class_model.safetensors"


def _read_class_model(path: Path) -> tuple[str, ...]:
    lines = _inspected(path)
    read_class_model(path)
    return lines


def _lightning(folder: Path) -> Path:
    torch.save({"model": random_weights(LIGHTNING)}, folder / "lightning.pt")
    return folder / "lightning.pt"


def _read_lightning(path: Path) -> tuple[str, ...]:
    load_lightning(path)
    return ()


def _vavae(folder: Path) -> Path:
    kl = KLConfig(widths=(32,), res_blocks=1, norm_groups=32, quant_conv=True)
    torch.save({"state_dict": KLAutoencoder(kl, 2).state_dict()}, folder / "vavae.pt")
    return folder / "vavae.pt"


def _read_vavae(path: Path) -> tuple[str, ...]:
    load_vavae(path)
    return ()


def _cache(folder: Path) -> Path:
    settings = {"text.kind": "mini"}
    head = CacheHead(LAYOUT, "vae", "0a", settings, ("a",), shards=1, pictures="0a")
    write_head(folder, head)
    text = TextStates(torch.zeros(1, 5, 8), None, torch.zeros(1, 6))
    write_texts(folder, text, [text])
    picture, latent = CachedPicture("0/a.png", ("a",), 2, 2, 1), torch.zeros(1, 8, 2, 2)
    write_shard(shard_path(folder, 0), [picture], [latent], [text], {"0/b.png": "damaged"})
    return folder / "cache.json"


def _cache_with_index(folder: Path) -> Path:
    head = read_head(_cache(folder).parent)
    assert head is not None
    write_table(folder, head)
    return folder / TABLE


def _read_cache_with_index(path: Path) -> tuple[str, ...]:
    for picture in LatentCache(path.parent, in_memory=False).pictures:
        assert picture.captions
    return _read_cache(path)


def _read_cache_from_afar(path: Path) -> tuple[str, ...]:
    """As one at an address, whose shards are here already."""
    remote = RemoteCache("memory://cache", "data.caches", path.parent, "")
    LatentCache(path.parent, False, remote).read(0)
    return ()


def _part(folder: Path) -> Path:
    head = read_head(_cache(folder).parent)
    assert head is not None
    begin_part(folder, Part(2, 2), head)
    end_part(folder, Part(2, 2), head)
    begin_part(folder, Part(1, 2), head)
    return Part(2, 2).file(folder)


def _read_part(path: Path) -> tuple[str, ...]:
    head = read_head(path.parent)
    assert head is not None
    end_part(path.parent, Part(1, 2), head)
    return ()


def _cache_file(name: str) -> Callable[[Path], Path]:
    return lambda folder: _cache(folder).with_name(name)


def _read_cache(path: Path) -> tuple[str, ...]:
    cache = LatentCache(path.parent, in_memory=False)
    cache.read(0)
    cache.empty_text()
    cache.prompts()
    return ()


def _captioned(folder: Path) -> Path:
    Image.fromarray(np.zeros((4, 4, 3), dtype=np.uint8)).save(folder / "a.png")
    (folder / "a.json").write_text('{"caption": "a circle", "width": 1}')
    return folder / "a.json"


def _tar(folder: Path) -> Path:
    inside = folder / "inside"
    inside.mkdir()
    _captioned(inside)
    with tarfile.open(folder / "set.tar", "w") as tar:
        for path in sorted(inside.iterdir()):
            tar.add(path, arcname=path.name)
    return folder / "set.tar"


def _plan(folder: Path) -> Path:
    _captioned(folder)
    write_plan(folder / "plan", [scan_captioned([str(folder)], []).pictures], folder)
    return folder / "plan"


def _read_plan(path: Path) -> tuple[str, ...]:
    for shard in PlanFile(path, path.parent):
        for picture in shard:
            picture.read_captions("caption")
            picture.read_picture()
    return ()


def _noted_tar(folder: Path) -> Path:
    _read_packed(_tar(folder))
    return next((folder / "sources").iterdir())


def _read_packed(path: Path) -> tuple[str, ...]:
    """A tar file, or what was noted of it, as stage 1 reads it."""
    folder = path.parent if path.suffix == ".tar" else path.parent.parent
    tar = folder / "set.tar"
    sets, _ = find_pictures([str(tar)], folder, folder, make_accelerator("cpu", "fp32"))
    for picture in sets[0].pictures:
        PictureStore(0).read(picture)
    return ()


def _read_captioned(path: Path) -> tuple[str, ...]:
    folders, shards = ([], [str(path)]) if path.suffix == ".tar" else ([str(path.parent)], [])
    for picture in scan_captioned(folders, shards).pictures:
        picture.read_captions("caption")
        picture.read_picture()
    return ()


def _trained() -> tuple[WeightAverage, dict[str, Trained]]:
    module = nn.Linear(2, 2)
    optimizer = torch.optim.AdamW(module.parameters())
    module(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    return WeightAverage(module, 0.9), {"model": Trained(module, optimizer)}


def _checkpoint(name: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        average, parts = _trained()
        state = RunState(step=1, config={"a.b": [1, 2]}, latents=[{"vae": "0a"}])
        return CheckpointFolder(folder, 1).save(state, collect(average, parts)) / name

    return make


def _read_checkpoint(path: Path) -> tuple[str, ...]:
    load_checkpoint(path.parent, *_trained())
    return ()


def _configuration(folder: Path) -> Path:
    settings = {
        "model": {"base_vae": "vae.safetensors"},
        "data": {"train": ["pictures"], "crop": 64},
        "train": {"steps": 10, "batch_size": 2},
        "optimizer": {"learning_rate": 0.1, "betas": [0.9, 0.99]},
        "output": {"folder": "run"},
    }
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(settings), encoding="utf-8")
    return path


def _read_configuration(path: Path) -> tuple[str, ...]:
    read_config(VaeTrainingConfig, path)
    return ()


def _manifest(folder: Path) -> Path:
    (folder / "models").mkdir()
    write_manifest(folder, [published(_codec(folder))])
    return folder / MANIFEST


def _read_manifest(path: Path) -> tuple[str, ...]:
    placed = fetch(LocalFolder(path.parent), path.parent, replace=False)
    return tuple(file.path.name for file in placed)


def _evaluation(folder: Path) -> Path:
    result = Result("codec", "vae", "0" * 64, 2, {"tiled": False}, {"psnr": 20.0}, {"clip": "none"})
    told = as_json(
        [result], {"folder": "real", "pictures": 2}, {"lpips": {"file": "a"}}, ("psnr", "codec")
    )
    path = folder / "evaluation.json"
    path.write_text(json.dumps(told), encoding="utf-8")
    return path


def _read_evaluation(path: Path) -> tuple[str, ...]:
    found = results_of(path, ["0" * 64])
    return tuple(result["name"] for result in found["results"])


def _picture(suffix: str, mode: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        values = np.arange(16 * 12 * 3, dtype=np.uint8).reshape(16, 12, 3)
        exif = Image.Exif()
        exif[0x0112] = 6
        path = folder / f"a.{suffix}"
        picture = Image.fromarray(values).convert(mode)
        if mode == "F":
            picture = picture.point(lambda value: value * (1 / 255) + 0)
        picture.save(path, exif=exif)
        return path

    return make


def _another_format(whole: bytes, chance: random.Random) -> bytes:
    """The same picture in a format that is not read, whatever its name says."""
    packed = io.BytesIO()
    with Image.open(io.BytesIO(whole)) as picture:
        picture.convert("RGB").save(
            packed, format=chance.choice(("PPM", "EPS", "TGA", "PCX", "ICNS"))
        )
    return packed.getvalue()


def _read_picture(path: Path) -> tuple[str, ...]:
    image = read_image(path)
    assert image.ndim == 4 and bool(torch.isfinite(image).all())
    return ()


def _json(name: str, make: Callable[[Path], Path], read: Callable[[Path], tuple[str, ...]]) -> Kind:
    return Kind(name, make, read, (mutations.json_text,))


def _tensors(
    name: str, make: Callable[[Path], Path], read: Callable[[Path], tuple[str, ...]]
) -> Kind:
    return Kind(name, make, read, SAFETENSORS)


KINDS = (
    _tensors("codec", _codec, _read_codec),
    _tensors("small codec", lambda folder: _codec(folder, SMALL), _read_codec),
    _tensors("base VAE", _base_vae, _read_base_vae),
    _tensors("small base VAE", lambda folder: _base_vae(folder, SMALL), _read_base_vae),
    _json("config.json", _diffusers_config, lambda path: _read_base_vae_folder(path)),
    _tensors("latent", _latent, _read_latent),
    _tensors("adapter", _golden_adapter, _read_adapter),
    _tensors("merged model", _merged, _inspected),
    _tensors("merged model without metadata", _merged_without_metadata, _inspected),
    _tensors("transformer", _transformer, _read_transformer),
    _tensors("text encoder", _text_encoder, _read_text_encoder),
    _tensors("preview decoder", _preview, _read_preview),
    Kind("stage 1", _published, _read_published, (mutations.damaged_bytes,)),
    _json("statistics", _statistics, _read_published),
    Kind("stage 2", _stage_two, _read_stage_two, (mutations.damaged_bytes,)),
    _tensors("class model", _class_model, _read_class_model),
    Kind("LightningDiT", _lightning, _read_lightning, (mutations.damaged_bytes,)),
    Kind("VA-VAE", _vavae, _read_vavae, (mutations.damaged_bytes,)),
    _json("cache.json", _cache, _read_cache),
    _json("shard index", _cache_file("shard_00000.json"), _read_cache),
    _tensors("shard", _cache_file("shard_00000.safetensors"), _read_cache),
    _tensors("texts", _cache_file("texts.safetensors"), _read_cache),
    _tensors("cache index", _cache_with_index, _read_cache_with_index),
    _tensors("index at an address", _cache_with_index, _read_cache_from_afar),
    _json("cache part", _part, _read_part),
    _tensors("plan", _plan, _read_plan),
    _json("caption", _captioned, _read_captioned),
    Kind("tar", _tar, _read_captioned, (mutations.damaged_bytes,)),
    Kind("tar of stage 1", _tar, _read_packed, (mutations.damaged_bytes,)),
    _json("noted tar", _noted_tar, _read_packed),
    _json("state.json", _checkpoint("state.json"), _read_checkpoint),
    _tensors("checkpoint", _checkpoint("model.safetensors"), _read_checkpoint),
    _tensors("optimizer", _checkpoint("model_optimizer.safetensors"), _read_checkpoint),
    _json("manifest", _manifest, _read_manifest),
    _json("evaluation report", _evaluation, _read_evaluation),
    Kind("configuration", _configuration, _read_configuration, (mutations.yaml_text,)),
    *(
        Kind(f"{mode} {suffix}", _picture(suffix, mode), _read_picture, (mutations.damaged_bytes, _another_format))
        for suffix, mode in (
            ("png", "RGB"), ("png", "P"), ("jpg", "RGB"), ("webp", "RGBA"), ("tif", "F"), ("tif", "I"),
            ("gif", "P"), ("bmp", "L"),
        )
    ),
)  # fmt: skip


def _read_base_vae_folder(path: Path) -> tuple[str, ...]:
    load_base_vae(path.parent)
    return ()
