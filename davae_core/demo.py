"""`davae demo`: six photographs through the bundled miniature codec; a contact sheet and a report."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from . import mini
from .autoencoder import DetailAlignedVAE
from .checkpoints import load_base_vae
from .comparison import BASE_FULL, DAVAE, PictureScores, compare
from .comparison_report import report, table, write_report
from .contact_sheet import write_contact_sheet
from .demo_photographs import held_out_photographs
from .latents import crop_to_multiple

Pictures = Iterable[tuple[str, Tensor]]
SHEET, REPORT = "contact_sheet.png", "report.json"
TITLE = "DA-VAE miniature: six photographs it has never seen"


def run(folder: Path, progress: Callable[[Sequence[tuple[str, Tensor]]], Pictures]) -> str:
    """Rebuild the photographs, write SHEET and REPORT into `folder`, return the table of scores.

    `progress` wraps the photographs while they are worked on. Raises MissingPhotographs, or CheckpointError when a
    file cannot be read or written.
    """
    codec = DetailAlignedVAE.from_file(mini.davae_path(), dtype=torch.float32)
    base = load_base_vae(mini.base_vae_path()).vae.float()
    comparisons = [
        compare(name, crop_to_multiple(picture, codec.layout.factor), codec, base)
        for name, picture in progress(list(held_out_photographs()))
    ]
    scores = [comparison.scores for comparison in comparisons]
    files = {"davae": mini.davae_path().name, "base_vae": mini.base_vae_path().name}
    write_contact_sheet(folder / SHEET, comparisons, TITLE, _subtitle(scores[0]))
    write_report(folder / REPORT, report(scores, files))
    return table(scores)


def _subtitle(picture: PictureScores) -> str:
    davae, plain = picture.ways[DAVAE], picture.ways[BASE_FULL]
    return (
        f"{picture.width} x {picture.height} pixels are a latent of {_shape(davae.latent_shape)} and {davae.tokens} "
        f"tokens, where the plain VAE needs {_shape(plain.latent_shape)} and {plain.tokens}. A scale model: "
        "it shows the method, not the picture quality of Stable Diffusion 3.5."
    )


def _shape(shape: tuple[int, ...]) -> str:
    return " x ".join(str(side) for side in shape)
