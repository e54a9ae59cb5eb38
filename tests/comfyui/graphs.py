"""Small graphs in API format, and UI workflows turned into them."""

from typing import Any

from .server import Graph

FILE_BUNDLED = "miniature (bundled)"
RESERVED_WIDGETS = {"image": ["image"]}
"""Values that the browser saves after a widget's own: an upload button."""

LINKED_TYPES = {"IMAGE", "LATENT", "VAE", "MASK", "MODEL", "CLIP", "CONDITIONING"}


def node(class_type: str, **inputs: object) -> dict[str, Any]:
    """One node of an API graph; a link is [node id, output index]."""
    return {"class_type": class_type, "inputs": inputs}


def decode(mode: str = "full", samples: object = None, tile_size: int = 512) -> dict[str, Any]:
    """DA-VAE Decode of node "latent" (or `samples`) with the VAE of node "vae"."""
    return node(
        "DAVAE_Decode",
        samples=samples or ["latent", 0],
        vae=["vae", 0],
        mode=mode,
        tile_size=tile_size,
        overlap=64,
    )


def load(name: str) -> dict[str, Any]:
    """Load DA-VAE."""
    return node("DAVAE_LoadVAE", vae_name=name)


def save(images: str) -> dict[str, Any]:
    """Save Image of that node's first output."""
    return node("SaveImage", images=[images, 0], filename_prefix="test")


def ui_to_api(workflow: dict[str, Any], object_info: dict[str, Any]) -> Graph:
    """A UI workflow (version 0.4) as the browser would send it: widgets by position, links by slot."""
    links = {link[0]: [str(link[1]), link[2]] for link in workflow["links"]}
    graph: Graph = {}
    for found in workflow["nodes"]:
        if found["type"] in object_info:
            inputs = widgets(found, object_info[found["type"]])
            for slot in found.get("inputs", []):
                if slot.get("link") is not None:
                    inputs[slot["name"]] = links[slot["link"]]
            graph[str(found["id"])] = {"class_type": found["type"], "inputs": inputs}
    return graph


def widgets(found: dict[str, Any], info: dict[str, Any]) -> dict[str, Any]:
    """The widget values of a UI node by input name; fails when there are too few or too many."""
    values = list(found.get("widgets_values", []))
    inputs = {}
    for name in widget_names(info):
        inputs[name] = values.pop(0)
        if name in RESERVED_WIDGETS and values[:1] == RESERVED_WIDGETS[name]:
            values.pop(0)
    assert not values, f"{found['type']} has more widget values than widgets"
    return inputs


def widget_names(info: dict[str, Any]) -> list[str]:
    """Inputs that are widgets in the browser, in their order."""
    required, optional = info["input"].get("required", {}), info["input"].get("optional", {})
    return [
        name
        for name, kind in [*required.items(), *optional.items()]
        if not (isinstance(kind[0], str) and kind[0] in LINKED_TYPES)
    ]
