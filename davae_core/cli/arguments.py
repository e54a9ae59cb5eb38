"""What can be typed after `davae`."""

import argparse
from pathlib import Path

from . import card_arguments, evaluate_arguments, fetch_arguments
from .choices import MINIATURE, add_device

STORAGE_TYPES = {
    "float32": "float32",
    "float16": "float16",
    "bfloat16": "bfloat16",
    "fp8_e4m3fn": "float8_e4m3fn",
}
"""What --dtype may say, and PyTorch's names for it."""


def parser() -> argparse.ArgumentParser:
    """The parser; its result has the command's name under `command`."""
    found = argparse.ArgumentParser(
        prog="davae", description="The detail-aligned VAE on the command line, without ComfyUI."
    )
    commands = found.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, add, purpose in (
        ("demo", _add_demo, "photographs and prompts through the bundled miniature"),
        ("inspect", _add_inspect, "what a file is and what it needs"),
        ("encode", _add_encode, "a picture to a latent file"),
        ("decode", _add_decode, "a latent file to a picture"),
        ("reconstruct", _add_reconstruct, "pictures through the codec and back, with scores"),
        ("convert", _add_convert, "a published DA-VAE checkpoint to a file of ours"),
        ("pack", _add_pack, "a DA-VAE of a plain VAE in closed form, without training"),
        ("merge", _add_merge, "a base and an adapter to one widened model"),
        (
            "evaluate",
            evaluate_arguments.add_arguments,
            "pictures, codecs and adapters judged by FID, CLIP and others",
        ),
        (
            "card",
            card_arguments.add_arguments,
            "a folder for upload: files, hashes and a model card",
        ),
        ("fetch", fetch_arguments.add_arguments, "published files into ComfyUI's folders"),
        ("preview-decoder", _add_preview, "SD3's small preview decoder made to read our latents"),
    ):
        add(commands.add_parser(name, help=purpose))
    return found


def _add_demo(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "-o",
        "--output",
        type=Path,
        default=Path("davae-demo"),
        metavar="DIR",
        help="folder for contact_sheet.png, from_prompts.png and report.json (default: davae-demo)",
    )


def _add_inspect(command: argparse.ArgumentParser) -> None:
    command.add_argument("file", type=Path, metavar="FILE")
    command.add_argument("--json", action="store_true", help="the same as JSON")


def _add_encode(command: argparse.ArgumentParser) -> None:
    command.add_argument("image", type=Path, metavar="IMAGE")
    _add_output(command, "LATENT.safetensors")
    _add_codec_options(command)


def _add_decode(command: argparse.ArgumentParser) -> None:
    command.add_argument("latent", type=Path, metavar="LATENT.safetensors")
    _add_output(command, "IMAGE.png")
    command.add_argument(
        "--draft", action="store_true", help="only the base channels, at half the size"
    )
    _add_codec_options(command)


def _add_reconstruct(command: argparse.ArgumentParser) -> None:
    command.add_argument("images", type=Path, nargs="+", metavar="IMAGE")
    command.add_argument("-o", "--output", type=Path, required=True, metavar="DIR")
    _add_codec_options(command)


def _add_convert(command: argparse.ArgumentParser) -> None:
    command.description = (
        "Makes a DA-VAE file of stage 1's pytorch_model.bin, or an adapter of stage 2's step_N.pt; SRC itself tells "
        "which it is."
    )
    command.add_argument(
        "source",
        type=Path,
        metavar="SRC",
        help="pytorch_model.bin of the published stage 1, or step_N.pt of stage 2",
    )
    _add_output(command, "DST.safetensors")
    command.add_argument(
        "--base",
        type=Path,
        metavar="FILE",
        help="stage 1: the pretrained VAE, if SRC does not hold it; stage 2: the pretrained transformer, which the "
        "adapter is a difference from (a single file, a full checkpoint or a diffusers folder)",
    )
    one = command.add_argument_group("stage 1")
    one.add_argument(
        "--stats",
        type=Path,
        metavar="JSON",
        help="the detail's mean and std (default: latent_norm_stats.json beside SRC, else 0 and 1)",
    )
    one.add_argument(
        "--compact", action="store_true", help="without the base decoder; drafts need the stock VAE"
    )
    two = command.add_argument_group("stage 2")
    two.add_argument(
        "--weights",
        choices=("live", "ema"),
        help="live: SRC's heads as trained, with the LoRA file; ema: averaged heads and LoRA, both from SRC",
    )
    two.add_argument(
        "--lora",
        type=Path,
        metavar="FILE",
        help="the pytorch_lora_weights.safetensors of the same step, for live weights",
    )
    two.add_argument(
        "--vae",
        type=Path,
        metavar="FILE",
        help="the DA-VAE it was trained with, so that others are refused (default: any is taken)",
    )
    two.add_argument(
        "--sizes",
        type=_side,
        nargs="+",
        default=[],
        metavar="PX",
        help="sides of the square pictures it was trained at, such as 2048 (default: unknown)",
    )


def _add_pack(command: argparse.ArgumentParser) -> None:
    command.description = (
        "Packs the VAE's own full-size latent behind its latent of the reduced picture. Some hundred photographs fit "
        "the packing; of each the middle is read. With all channels, the default, pictures come back as the VAE itself "
        "gives them back."
    )
    command.add_argument(
        "source",
        type=Path,
        metavar="VAE",
        help="a plain VAE: a single file, a full checkpoint or a diffusers folder, or mini, the bundled one; where it "
        "does not say its shift and scale, they are Stable Diffusion 3's",
    )
    command.add_argument("photographs", type=Path, nargs="+", metavar="PHOTO")
    _add_output(command, "FILE.safetensors")
    command.add_argument(
        "--ratio",
        type=int,
        choices=(2, 4),
        default=2,
        help="how many times larger the picture becomes on the same tokens (default: 2)",
    )
    command.add_argument(
        "--detail-channels",
        type=_count,
        metavar="D",
        help="how many detail channels to keep, the most telling first (default: all, ratio * ratio * the VAE's)",
    )
    command.add_argument(
        "--alignment",
        type=_share,
        default=1.0,
        metavar="SHARE",
        help="how much of what the base tells is taken off the detail, from 0 to 1 (default: 1)",
    )
    command.add_argument(
        "--phases",
        action="store_true",
        help="keep the latent's own channels instead of their principal axes (with all channels only)",
    )
    add_device(command)


def _add_merge(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "base",
        type=Path,
        metavar="BASE",
        help="the pretrained transformer: a single file, a full checkpoint or a diffusers file or folder",
    )
    command.add_argument("adapter", type=Path, metavar="ADAPTER", help="a DA-VAE adapter for it")
    _add_output(command, "FILE.safetensors")
    command.add_argument(
        "--dtype",
        choices=tuple(STORAGE_TYPES),
        help="how to store it (default: as BASE is); fp8_e4m3fn for the blocks' matrices, the rest in bfloat16",
    )


def _side(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is no number of pixels")
    return int(text)


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is no number of channels")
    return int(text)


def _share(text: str) -> float:
    try:
        share = float(text)
    except ValueError:
        share = -1.0
    if not 0 <= share <= 1:
        raise argparse.ArgumentTypeError(f"{text} is no share between 0 and 1")
    return share


def _add_preview(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "source", type=Path, metavar="SRC", help="taesd3_decoder.safetensors, for SD3 and SD3.5"
    )
    _add_output(command, "davae_taesd3_decoder.safetensors")


def _add_output(command: argparse.ArgumentParser, example: str) -> None:
    suffix = Path(example).suffix

    def path(text: str) -> Path:
        if Path(text).suffix.lower() != suffix:
            raise argparse.ArgumentTypeError(f"{text} must end in {suffix}")
        return Path(text)

    command.add_argument("-o", "--output", type=path, required=True, metavar=example)


def _add_codec_options(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--vae",
        required=True,
        metavar="FILE",
        help=f"a DA-VAE file, or {MINIATURE}, the bundled one",
    )
    add_device(command)
    command.add_argument(
        "--tiled", action="store_true", help="work in overlapping tiles: less memory"
    )
