"""The pack's workflows in API format, with tiny files in the place of Stable Diffusion 3.5's."""

import json
from typing import Any

from scripts.workflows.__main__ import workflows

from . import base_directory, tiny_models
from .graphs import FILE_BUNDLED, node, ui_to_api
from .server import ROOT, Graph, Server

WORKFLOWS = ROOT / "workflows"
API_NAMES = {found.name: found.prefix for found in workflows() if found.app is None}
"""What the API form of each workflow is called."""
TINY_ADAPTERS = {
    "davae_sd35m_1024.safetensors": tiny_models.ADAPTER_1024,
    "davae_sd35m_2048.safetensors": tiny_models.ADAPTER_2048,
    "davae_sd35m_1024_detail.safetensors": tiny_models.DETAIL_1024,
}
"""Adapters of the tiny model for the sizes of the real ones."""


def read(path: str) -> Any:
    """A JSON file in workflows/."""
    return json.loads((WORKFLOWS / path).read_text(encoding="utf-8"))


def read_api(name: str) -> Any:
    """The API form of the workflow of that name."""
    return read(f"api/{API_NAMES[name]}.json")


def as_the_browser_sends_it(server: Server, name: str) -> Graph:
    """The whole workflow; its API form is the same without what is only shown."""
    return ui_to_api(read(f"{name}.json"), server.get_json("/object_info"))


def without_what_is_only_shown(graph: Graph) -> Graph:
    """A graph without previews and whatever leads to nothing else."""
    kept = {n: found for n, found in graph.items() if found["class_type"] != "PreviewImage"}
    while True:
        read_by_others = {
            value[0]
            for one in kept.values()
            for value in one["inputs"].values()
            if isinstance(value, list)
        }
        used = {
            name: found
            for name, found in kept.items()
            if name in read_by_others or found["class_type"] == "SaveImage"
        }
        if len(used) == len(kept):
            return kept
        kept = used


def with_tiny_files(server: Server, name: str, steps: int = 2) -> Graph:
    """A workflow whose loaders name files of the test server; the text encoders become the miniature's."""
    graph = as_the_browser_sends_it(server, name)
    for found in graph.values():
        match found["class_type"]:
            case "DAVAE_LoadModel":
                found["inputs"]["base_name"] = tiny_models.BASE
                found["inputs"]["adapter_name"] = TINY_ADAPTERS[found["inputs"]["adapter_name"]]
            case "DAVAE_LoadVAE":
                found["inputs"]["vae_name"] = base_directory.RANDOM
            case "CheckpointLoaderSimple":
                found["inputs"]["ckpt_name"] = tiny_models.FULL
            case "DAVAE_Sampler" | "DAVAE_DetailSampler" | "KSampler":
                found["inputs"]["steps"] = steps
            case "TripleCLIPLoader":
                found.update(node("DAVAE_LoadMiniCLIP", clip_name=FILE_BUNDLED))
    return graph


def every(graph: Graph, class_type: str) -> list[str]:
    """Ids of the nodes of a type, in the file's order."""
    return [name for name, found in graph.items() if found["class_type"] == class_type]


def only(graph: Graph, class_type: str) -> str:
    """Id of the one node of a type."""
    (name,) = every(graph, class_type)
    return name


def resize(graph: Graph, side: int) -> None:
    """Draw and read pictures of `side` pixels; the adapter becomes the one for any size."""
    graph[only(graph, "DAVAE_LoadModel")]["inputs"]["adapter_name"] = tiny_models.ADAPTER
    for name in [*every(graph, "DAVAE_EmptyLatent"), *every(graph, "ImageScale")]:
        graph[name]["inputs"].update(width=side, height=side)
