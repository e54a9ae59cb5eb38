"""The commands that make one file of weights of others: convert, pack, merge, preview-decoder."""

import argparse
import sys

import torch

from .. import mini
from ..codec.description import read_codec_config
from ..codec.files import load_base_vae, save_codec, weights_file
from ..codec.latent_files import encoding_hash
from ..codec.preview_decoder import pad_preview_decoder
from ..files import read_safetensors, write_safetensors
from ..inspection import inspect_file
from ..presets import SD3
from ..published.adapter import convert_adapter, holds_stage_two
from ..published.codec import convert_codec, statistics_file
from ..reading.plain_text import SentenceError, plain
from ..transformer.adapter import write_adapter
from ..transformer.description import Advice
from ..transformer.merging import merge_files
from ..transformer.pretrained import load_transformer, transformer_weights
from . import pack
from .arguments import STORAGE_TYPES
from .choices import MINIATURE
from .options import device_of, refuse_overwriting
from .terminal import counting, picture_bar, say


def run_convert(options: argparse.Namespace) -> None:
    """`davae convert`."""
    if holds_stage_two(options.source):
        _convert_adapter(options)
    else:
        _convert_codec(options)
    say(*inspect_file(options.output).lines)


def _convert_codec(options: argparse.Namespace) -> None:
    foreign = [f"--{name}" for name in ("weights", "lora", "vae", "sizes") if vars(options)[name]]
    if foreign:
        raise SentenceError(
            f"{foreign[0]} belongs to stage 2, but {options.source} is no step_N.pt: "
            f"leave {foreign[0]} out, or give stage 2's file."
        )
    stats = statistics_file(options.source, options.stats)
    refuse_overwriting(options.output, options.source, stats)
    base = None
    if options.base is not None:
        refuse_overwriting(options.output, weights_file(options.base))
        base = load_base_vae(options.base, SD3.layout.base_channels, SD3.layout)
    codec = convert_codec(options.source, stats, base, options.compact)
    save_codec(options.output, codec, options.compact)


def _convert_adapter(options: argparse.Namespace) -> None:
    _check_stage_two(options)
    vae = options.vae
    weights = transformer_weights(options.base)
    refuse_overwriting(options.output, options.source, options.lora, vae, *weights)
    parents = {"base_name": plain(options.base.name)}
    if vae is not None:
        if read_codec_config(vae).layout != SD3.layout:
            raise SentenceError(
                f"{vae} is a DA-VAE of another base than SD3's, which the published stage 2 is for: "
                "give the one it was trained with."
            )
        parents["vae"] = encoding_hash(vae)
    adapter = convert_adapter(
        options.source,
        load_transformer(options.base),
        options.weights,
        options.lora,
        Advice(sizes=tuple(options.sizes)),
        parents,
    )
    write_adapter(options.output, adapter)


def _check_stage_two(options: argparse.Namespace) -> None:
    source = f"{options.source} is a stage-2 file"
    if options.stats or options.compact:
        raise SentenceError(f"{source}, which --stats and --compact are not for: leave them out.")
    if options.weights is None:
        raise SentenceError(f"{source} with live and averaged weights: add --weights live or ema.")
    if options.base is None:
        raise SentenceError(
            f"{source}, and an adapter is its difference from the pretrained transformer: name that with --base."
        )
    if options.weights == "ema" and options.lora is not None:
        raise SentenceError(
            f"{source} whose averaged weights hold their own LoRA: leave --lora out, or use --weights live."
        )


def run_pack(options: argparse.Namespace) -> None:
    """`davae pack`."""
    source = mini.davae_path() if str(options.source) == MINIATURE else options.source
    refuse_overwriting(options.output, weights_file(source), *options.photographs)
    choices = pack.PackingChoices(
        options.ratio, options.detail_channels, options.alignment, options.phases
    )
    device = device_of(options.device)
    pack.run(source, options.photographs, options.output, choices, device, picture_bar)
    sys.stdout.write("\n".join(inspect_file(options.output).lines) + "\n")


def run_merge(options: argparse.Namespace) -> None:
    """`davae merge`."""
    refuse_overwriting(options.output, options.adapter, *transformer_weights(options.base))
    with counting("B") as progress:
        dtype = None if options.dtype is None else getattr(torch, STORAGE_TYPES[options.dtype])
        merge_files(options.base, options.adapter, options.output, dtype, progress)
    say(*inspect_file(options.output).lines)


def run_preview_decoder(options: argparse.Namespace) -> None:
    """`davae preview-decoder`."""
    refuse_overwriting(options.output, options.source)
    tensors, metadata = read_safetensors(options.source)
    padded = pad_preview_decoder(str(options.source), tensors, SD3.layout)
    write_safetensors(options.output, padded, metadata)
    say(f"{options.output}: put it in ComfyUI's models/vae_approx.")
