"""`davae demo`: six photographs through the bundled miniature codec, eight prompts drawn in three ways, a report."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from .. import mini
from ..codec.files import load_base_vae, load_codec
from ..images import write_png
from ..latents import crop_to_multiple, token_count
from ..mini.text_encoder_files import load_text_encoder
from ..pipeline import TextToImage, load_pipeline
from ..presets import PATCH
from ..transformer.description import Advice
from ..transformer.presets import UNTRAINED
from .comparison import BASE_FULL, DAVAE, PictureScores, compare
from .comparison_report import report, table, write_report
from .contact_sheet import contact_sheet
from .demo_photographs import held_out_photographs
from .prompt_grid import prompt_grid

Pictures = Iterable[tuple[str, Tensor]]
SHEET, GRID, REPORT = "contact_sheet.png", "from_prompts.png", "report.json"
PROMPTS = (
    "a red circle on the left and a blue square on the right, on a grey background",
    "a hatched yellow star at the top and a purple letter K at the bottom, on a black background",
    "an outlined green triangle in the centre, on a wooden background",
    "a hatched blue circle on the right, on a striped background",
    "a purple letter R on the left and a yellow circle on the right, on a white background",
    "a green star at the top and an outlined red square at the bottom, on a hatched background",
    "a red letter A in the centre, on a striped background",
    "a hatched blue triangle on the left, on a grey background",
)
"""What the miniature draws; it knows nothing but one or two forms or letters on a background."""
SIDE = 256
TITLE = "DA-VAE miniature: six photographs it has never seen"


def run(folder: Path, progress: Callable[[Sequence[tuple[str, Tensor]]], Pictures]) -> str:
    """Rebuild the photographs and draw PROMPTS; write SHEET, GRID and REPORT into `folder`, return the table of scores.

    `progress` wraps the photographs while they are worked on. Raises CheckpointError when a file cannot be read
    or written, and ImportError without the photographs, diffusers or transformers.
    """
    # First, because it needs the packages that are most often missing.
    drawn = draw_prompts(folder / GRID)
    codec = load_codec(mini.davae_path(), dtype=torch.float32)
    base = load_base_vae(mini.davae_path()).vae.float()
    comparisons = [
        compare(name, crop_to_multiple(picture, codec.layout.factor), codec, base)
        for name, picture in progress(list(held_out_photographs()))
    ]
    scores = [comparison.scores for comparison in comparisons]
    files = {"davae": mini.davae_path().name, "base_vae": mini.davae_path().name}
    write_png(folder / SHEET, contact_sheet(comparisons, TITLE, _subtitle(scores[0])))
    found = report(scores, files)
    found["from_prompts"] = drawn
    write_report(folder / REPORT, found)
    return table(scores)


@torch.no_grad()
def draw_prompts(path: Path) -> dict[str, object]:
    """Draw PROMPTS in the three ways of GRID, write them to `path`; what the report says of them.

    The untouched model's base alone, enlarged; base and detail together; the detail on that base. Raises
    CheckpointError when a file cannot be read or written, ImportError without diffusers or transformers.
    """
    joint, apart = (
        bundled_pipeline(path) for path in (mini.adapter_path(), mini.detail_adapter_path())
    )
    latents = apart.draw_latents(PROMPTS, SIDE, SIDE)
    draft = apart.codec.decode_base(latents)
    ways = {
        "base alone, enlarged": F.interpolate(draft, size=(SIDE, SIDE), mode="bicubic"),
        "joint: base and detail together": joint.draw(PROMPTS, SIDE, SIDE),
        "detail pass: the detail on that base": apart.codec.decode(latents),
    }
    write_png(path, prompt_grid(PROMPTS, ways))
    return {
        "prompts": list(PROMPTS),
        "side": SIDE,
        "tokens": token_count(SIDE, SIDE, joint.codec.layout, PATCH),
        "joint": _sampling(joint.description.advice),
        "detail": _sampling(apart.description.advice),
        "base": _sampling(UNTRAINED),
    }


def bundled_pipeline(adapter: Path) -> TextToImage:
    """The bundled miniature with one of its adapters, float32. Raises CheckpointError when a file is missing."""
    return load_pipeline(
        mini.transformer_path(),
        mini.davae_path(),
        adapter=adapter,
        encode_text=load_text_encoder(mini.clip_path()).encode,
        dtype=torch.float32,
    )


def _sampling(advice: Advice) -> dict[str, float]:
    return {"steps": advice.steps, "guidance": advice.guidance, "shift": advice.shift}


def _subtitle(picture: PictureScores) -> str:
    davae, plain = picture.ways[DAVAE], picture.ways[BASE_FULL]
    return (
        f"{picture.width} x {picture.height} pixels are a latent of {_shape(davae.latent_shape)} and {davae.tokens} "
        f"tokens, where the plain VAE needs {_shape(plain.latent_shape)} and {plain.tokens}. A scale model: "
        "it shows the method, not the picture quality of Stable Diffusion 3.5."
    )


def _shape(shape: tuple[int, ...]) -> str:
    return " x ".join(str(side) for side in shape)
