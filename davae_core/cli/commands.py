"""The command line, one function a command (`davae --help` lists them, `davae COMMAND --help` explains one).

Exit codes: 0 done, 1 failed with one sentence on stderr, 2 wrong usage. Everything is computed in float32.
"""

import argparse
import json
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from .. import mini
from ..codec.autoencoder import Codec
from ..codec.files import load_base_vae, load_codec, read_codec_file, save_codec, weights_file
from ..codec.latent_files import encoding_hash, load_latents, save_latents
from ..codec.preview_decoder import pad_preview_decoder
from ..files import read_safetensors, write_safetensors
from ..images import ImageError, read_image, write_image, write_png
from ..inspection import inspect_file
from ..latents import crop_to_multiple, token_count
from ..presets import PATCH, SD3
from ..published.adapter import convert_adapter, holds_stage_two
from ..published.codec import convert_codec, statistics_file
from ..reading.console import take_any_character
from ..reading.plain_text import SentenceError, plain, printable
from ..reading.unforeseen import (
    UNFORESEEN,
    gpu_is_full,
    is_sentence,
    memory_is_full,
    unforeseen_sentence,
)
from ..transformer.adapter import write_adapter
from ..transformer.description import Advice
from ..transformer.merging import merge_files
from ..transformer.pretrained import load_transformer, transformer_weights
from . import card, demo, evaluate, fetch, pack
from .arguments import STORAGE_TYPES, parser
from .choices import MINIATURE, chosen_device, codec_path, output_folder
from .comparison import DAVAE, compare
from .comparison_report import report, table, write_report
from .contact_sheet import contact_sheet
from .terminal import bar, counting, note, say

DONE, FAILED, INTERRUPTED = 0, 1, 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; wrong usage leaves through argparse with code 2."""
    take_any_character((sys.stdout, sys.stderr))
    options = parser().parse_args(arguments)
    try:
        with warnings.catch_warnings():
            # Libraries warn their developers; what users need to know is said in sentences.
            warnings.simplefilter("ignore")
            COMMANDS[options.command](options)
    except UNFORESEEN as error:
        return _fail(sentence_of(error, options))
    except KeyboardInterrupt:
        note("interrupted")
        return INTERRUPTED
    return DONE


def sentence_of(error: Exception, options: argparse.Namespace) -> str:
    """What a user of a command with these options is told of an error."""
    if gpu_is_full(error):
        return "The GPU has too little free memory: add --tiled, or --device cpu."
    if memory_is_full(error):
        could_tile = "tiled" in options and not options.tiled
        return "This computer has too little free memory: " + (
            "add --tiled." if could_tile else "close other programs or give less."
        )
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename or 'A file'} cannot be used ({error.strerror}): check the path."
    if is_sentence(error):
        return str(error)
    return unforeseen_sentence(error, _files(options))


def _files(options: argparse.Namespace) -> list[Path]:
    """Every file that the command was given to read."""
    read = [value for name, value in vars(options).items() if name != "output"]
    given = [part for value in read for part in (value if isinstance(value, list) else [value])]
    vae = [codec_path(options.vae)] if isinstance(vars(options).get("vae"), str) else []
    return [path for path in given if isinstance(path, Path)] + vae


def run_demo(options: argparse.Namespace) -> None:
    """`davae demo`."""
    folder = output_folder(options.output)
    sys.stdout.write(demo.run(folder, bar))
    note(f"{folder / demo.SHEET}, {demo.GRID} and {demo.REPORT} are written.")


def run_inspect(options: argparse.Namespace) -> None:
    """`davae inspect`."""
    found = inspect_file(options.file)
    if options.json:
        # json writes what is no ASCII, and so all that a terminal obeys, as escapes.
        sys.stdout.write(json.dumps(found.data, indent=2) + "\n")
    else:
        say(*found.lines)


@torch.inference_mode()
def run_encode(options: argparse.Namespace) -> None:
    """`davae encode`."""
    _refuse_overwriting(options.output, options.image, codec_path(options.vae))
    codec = _codec(options)
    picture = _picture(options.image, codec)
    with counting("tile") as progress:
        latents = (
            codec.encode_tiled(picture, progress=progress)
            if options.tiled
            else codec.encode(picture)
        )
    save_latents(options.output, latents, codec.layout, codec_path(options.vae))
    height, width = picture.shape[-2:]
    say(
        f"{options.output}: latent {list(latents.shape[1:])} of {width}x{height} pixels, "
        f"{token_count(width, height, codec.layout, PATCH)} tokens at patch size {PATCH}."
    )


@torch.inference_mode()
def run_decode(options: argparse.Namespace) -> None:
    """`davae decode`."""
    _refuse_overwriting(options.output, options.latent, codec_path(options.vae))
    codec = _codec(options)
    latents = load_latents(options.latent, codec, codec_path(options.vae))
    if latents.shape[0] != 1:
        raise SentenceError(
            f"{options.latent} holds {latents.shape[0]} latents: give a file with one."
        )
    if options.draft:
        picture = codec.decode_base(latents)
    else:
        with counting("tile") as progress:
            picture = (
                codec.decode_tiled(latents, progress=progress)
                if options.tiled
                else codec.decode(latents)
            )
    write_image(options.output, picture)
    say(f"{options.output}: {picture.shape[-1]}x{picture.shape[-2]} pixels.")


def run_reconstruct(options: argparse.Namespace) -> None:
    """`davae reconstruct`."""
    _refuse_same_stems(options.images)
    for path in options.images:
        for output in _reconstructions(options.output, path):
            _refuse_overwriting(output, *options.images)
    codec = _codec(options)
    folder = output_folder(options.output)
    found = []
    for path in bar(options.images):
        comparison = compare(path.stem, _picture(path, codec), codec, tiled=options.tiled)
        picture, sheet = _reconstructions(folder, path)
        write_image(picture, comparison.rebuilt[DAVAE])
        write_png(sheet, contact_sheet([comparison], path.name, f"codec: {options.vae}"))
        found.append(comparison.scores)
    write_report(folder / "report.json", report(found, {"davae": str(options.vae)}))
    sys.stdout.write(table(found))


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
    _refuse_overwriting(options.output, options.source, stats)
    base = None
    if options.base is not None:
        _refuse_overwriting(options.output, weights_file(options.base))
        base = load_base_vae(options.base, SD3.layout.base_channels, SD3.layout)
    codec = convert_codec(options.source, stats, base, options.compact)
    save_codec(options.output, codec, options.compact)


def _convert_adapter(options: argparse.Namespace) -> None:
    _check_stage_two(options)
    vae = options.vae
    weights = transformer_weights(options.base)
    _refuse_overwriting(options.output, options.source, options.lora, vae, *weights)
    parents = {"base_name": plain(options.base.name)}
    if vae is not None:
        if read_codec_file(vae)[0].layout != SD3.layout:
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
    _refuse_overwriting(options.output, weights_file(source), *options.photographs)
    choices = pack.PackingChoices(
        options.ratio, options.detail_channels, options.alignment, options.phases
    )
    device = chosen_device(options.device)
    pack.run(source, options.photographs, options.output, choices, device, bar)
    sys.stdout.write("\n".join(inspect_file(options.output).lines) + "\n")


def run_merge(options: argparse.Namespace) -> None:
    """`davae merge`."""
    _refuse_overwriting(options.output, options.adapter, *transformer_weights(options.base))
    with counting("B") as progress:
        dtype = None if options.dtype is None else STORAGE_TYPES[options.dtype]
        merge_files(options.base, options.adapter, options.output, dtype, progress)
    say(*inspect_file(options.output).lines)


def run_preview_decoder(options: argparse.Namespace) -> None:
    """`davae preview-decoder`."""
    _refuse_overwriting(options.output, options.source)
    tensors, metadata = read_safetensors(options.source)
    padded = pad_preview_decoder(str(options.source), tensors, SD3.layout)
    write_safetensors(options.output, padded, metadata)
    say(f"{options.output}: put it in ComfyUI's models/vae_approx.")


COMMANDS: dict[str, Callable[[argparse.Namespace], None]] = {
    "demo": run_demo,
    "inspect": run_inspect,
    "encode": run_encode,
    "decode": run_decode,
    "reconstruct": run_reconstruct,
    "convert": run_convert,
    "pack": run_pack,
    "merge": run_merge,
    "evaluate": evaluate.run,
    "card": card.run,
    "fetch": fetch.run,
    "preview-decoder": run_preview_decoder,
}


def _codec(options: argparse.Namespace) -> Codec:
    return load_codec(codec_path(options.vae), chosen_device(options.device), torch.float32)


def _picture(path: Path, codec: Codec) -> Tensor:
    """The picture at `path`, cropped centrally to what the codec takes, as ComfyUI does; says so when it cuts."""
    picture = read_image(path)
    try:
        cropped = crop_to_multiple(picture, codec.layout.factor)
    except ValueError as error:
        raise ImageError(f"{path} is too small for this DA-VAE: {error}") from error
    if cropped.shape != picture.shape:
        height, width = picture.shape[-2:]
        note(
            f"{path}: cropped from {width}x{height} to {cropped.shape[-1]}x{cropped.shape[-2]} pixels."
        )
    weight: Tensor = next(codec.parameters())
    return cropped.to(weight.device)


def _refuse_overwriting(output: Path, *sources: Path | None) -> None:
    for source in filter(None, sources):
        if source.exists() and output.exists() and source.samefile(output):
            raise SentenceError(
                f"{output} is a file that this command reads: name another one with -o."
            )


def _reconstructions(folder: Path, image: Path) -> tuple[Path, Path]:
    return folder / f"{image.stem}_davae.png", folder / f"{image.stem}_comparison.png"


def _refuse_same_stems(paths: Sequence[Path]) -> None:
    seen: dict[str, Path] = {}
    for path in paths:
        if path.stem in seen:
            raise SentenceError(
                f"{seen[path.stem]} and {path} would be written under one name: rename one, or use two calls."
            )
        seen[path.stem] = path


def _fail(sentence: str) -> int:
    sys.stderr.write(f"davae: {printable(sentence)}\n")
    return FAILED
