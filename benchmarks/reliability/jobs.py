"""Small prompts of the miniature's workflows, each with a seed or a picture of its own."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from PIL import Image

from davae_core import PRESETS, DetailAlignedVAE, mini
from davae_core.codec.files import save_codec
from davae_core.files import read_safetensors
from davae_core.transformer.adapter import Adapter, read_adapter, widened_edges, write_adapter
from davae_core.transformer.description import Advice
from tests.comfyui.base_directory import TRUNCATED, make_base_directory
from tests.comfyui.graphs import DETAIL_BUNDLED, FILE_BUNDLED
from tests.comfyui.server import Graph
from tests.comfyui.workflows import read

from .comfyui import Killable

SIDE, STEPS = 64, 2
JOINT = "davae_soak.safetensors"
"""The bundled adapter without the size it was trained at, so that small pictures are drawn with it."""
DETAIL = "davae_soak_detail.safetensors"
CHANGING = "davae_soak_changing.safetensors"
"""A DA-VAE that is deleted and replaced while prompts use it."""
VERSIONS = ("first", "second")
DRAWN = ("davae_mini", "davae_mini_detail", "davae_mini_enlarge")
REBUILT = "davae_reconstruct"
ON_CHANGING, ON_BROKEN = "changing", "broken"
KINDS = (*DRAWN, REBUILT, *DRAWN, REBUILT, ON_CHANGING, ON_BROKEN)
"""What the jobs are in turn."""


@dataclass(frozen=True)
class Job:
    """One prompt: what it draws, and the number that its noise or its picture comes from."""

    number: int

    @property
    def kind(self) -> str:
        """One of KINDS."""
        return KINDS[self.number % len(KINDS)]

    def graph(self) -> Graph:
        """The prompt; pictures that it reads must be in the input folder (`write_picture`)."""
        name = self.kind if self.kind in (*DRAWN, REBUILT) else REBUILT
        graph = read(f"api/{name}.json")
        for node in graph.values():
            inputs = node["inputs"]
            match node["class_type"]:
                case "DAVAE_EmptyLatent" | "ImageScale":
                    inputs.update(width=SIDE, height=SIDE)
                case "DAVAE_Sampler" | "DAVAE_DetailSampler":
                    inputs.update(steps=STEPS, seed=self.number)
                case "KSampler":
                    # What two steps draw is no base that the detail sampler takes.
                    inputs.update(steps=4 * STEPS, cfg=1.0, seed=self.number)
                case "LoadImage":
                    inputs["image"] = self.picture
                case "DAVAE_LoadModel":
                    adapters = {DETAIL_BUNDLED: DETAIL, FILE_BUNDLED: JOINT}
                    name = inputs["adapter_name"]
                    inputs["adapter_name"] = adapters.get(name, name)
                case "DAVAE_LoadVAE" if self.kind == ON_CHANGING:
                    inputs["vae_name"] = CHANGING
                case "DAVAE_LoadVAE" if self.kind == ON_BROKEN:
                    inputs["vae_name"] = TRUNCATED
        return graph

    @property
    def picture(self) -> str:
        """Name of the picture that it reads."""
        return f"soak_{self.number}.png"

    def write_picture(self, base: Path) -> None:
        """Put its picture into the input folder."""
        random = torch.Generator().manual_seed(self.number)
        small = torch.randint(0, 256, (8, 8, 3), generator=random, dtype=torch.uint8)
        smooth = Image.fromarray(small.numpy()).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
        smooth.save(base / "input" / self.picture)


@contextmanager
def running_server() -> Iterator[Killable]:
    """A server in a folder of its own with the files that the jobs use."""
    with tempfile.TemporaryDirectory(prefix="davae-server-") as place:
        base = Path(place) / "comfyui"
        base.mkdir()
        make_folder(base)
        server = Killable(base)
        server.start()
        try:
            yield server
        finally:
            server.stop()


def make_folder(base: Path) -> None:
    """Fill a server's folder with the files that the jobs use."""
    make_base_directory(base)
    _write_adapters(base / "models" / "loras")
    for seed, version in enumerate(VERSIONS):
        torch.manual_seed(seed)
        save_codec(base / f"{version}.safetensors", DetailAlignedVAE(PRESETS["mini"]))
    change(base, VERSIONS[0])


def _write_adapters(folder: Path) -> None:
    """The bundled miniature's joint adapter, and a detail adapter that nobody trained, both for any size."""
    joint = read_adapter(mini.adapter_path())
    write_adapter(
        folder / JOINT, replace(joint, advice=replace(joint.advice, sizes=(), oblongs=()))
    )
    base, _ = read_safetensors(mini.transformer_path())
    torch.manual_seed(0)
    edges = {
        name: torch.randn_like(tensor) * 0.02
        for name, tensor in widened_edges(base, joint.layout).items()
    }
    advice = Advice(shift=3.0, guidance=1.0, steps=10)
    detail = Adapter(joint.layout, {}, edges, advice, joint.parents, mode="detail")
    write_adapter(folder / DETAIL, detail)


def change(base: Path, to: str) -> None:
    """Make CHANGING one of VERSIONS, "absent", or "truncated", as someone who copies a file there would."""
    target = base / "models" / "vae" / CHANGING
    if to == "absent":
        target.unlink(missing_ok=True)
        return
    beside = target.with_suffix(".copying")
    shutil.copyfile(base / f"{VERSIONS[0] if to == 'truncated' else to}.safetensors", beside)
    if to == "truncated":
        os.truncate(beside, beside.stat().st_size // 2)
    beside.replace(target)
