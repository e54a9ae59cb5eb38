"""Small graphs in API format, and UI workflows turned into them."""

from typing import Any

from .server import Graph

FILE_BUNDLED = "miniature (bundled)"
RESERVED_WIDGETS = {"image": ["image"]}
"""Values that the browser saves after a widget's own: an upload button."""

AFTER_GENERATE = ("fixed", "increment", "decrement", "randomize")
"""What the browser saves after a seed: how it changes for the next run."""

NO_ADAPTER = "none (the base alone)"
DETAIL_BUNDLED = "miniature, detail pass (bundled)"
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


def load_model(
    base: str, adapter: str = NO_ADAPTER, weight_dtype: str = "default"
) -> dict[str, Any]:
    """Load DA-VAE SD3.5 Model."""
    return node("DAVAE_LoadModel", base_name=base, adapter_name=adapter, weight_dtype=weight_dtype)


def prompts() -> Graph:
    """Nodes "positive" and "negative", encoded by the bundled miniature CLIP."""
    return {
        "clip": node("DAVAE_LoadMiniCLIP", clip_name=FILE_BUNDLED),
        "positive": node("CLIPTextEncode", clip=["clip", 0], text="a red circle on the left"),
        "negative": node("CLIPTextEncode", clip=["clip", 0], text="blurred"),
    }


def empty_latent(width: int = 64, height: int = 96, batch_size: int = 1) -> dict[str, Any]:
    """Empty DA-VAE Latent."""
    return node("DAVAE_EmptyLatent", width=width, height=height, batch_size=batch_size)


SETTINGS: dict[str, Any] = {
    "seed": 7,
    "steps": 3,
    "cfg": 2.5,
    "sampler_name": "euler",
    "scheduler": "simple",
    "denoise": 1.0,
}
CONDITIONS = {"positive": ["positive", 0], "negative": ["negative", 0]}


def ksampler(model: str = "model", latent: str = "latent", **changed: object) -> dict[str, Any]:
    """ComfyUI's KSampler of those two nodes, with SETTINGS."""
    settings = {**CONDITIONS, **SETTINGS, "latent_image": [latent, 0], **changed}
    return node("KSampler", model=[model, 0], **settings)


def sampler(model: str = "model", latent: str = "latent", **changed: object) -> dict[str, Any]:
    """DA-VAE Sampler of those two nodes, with SETTINGS and the model's own shift."""
    settings = {**CONDITIONS, **SETTINGS, "latent_image": [latent, 0], "shift": 0.0, **changed}
    return node("DAVAE_Sampler", model=[model, 0], **settings)


def detail_sampler(
    model: str = "model", latent: str = "latent", **changed: object
) -> dict[str, Any]:
    """DA-VAE Detail Sampler of those two nodes, without a negative prompt."""
    settings = {"positive": ["positive", 0], "seed": 7, "steps": 3, "strength": 1.0, "cfg": 1.0}
    inputs = {**settings, **changed}
    return node("DAVAE_DetailSampler", model=[model, 0], latent_image=[latent, 0], **inputs)


def lock_base(model: str = "model", samples: str = "latent") -> dict[str, Any]:
    """Lock DA-VAE Base of those two nodes."""
    return node("DAVAE_LockBase", model=[model, 0], samples=[samples, 0])


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
    for name, options in widget_options(info).items():
        inputs[name] = values.pop(0)
        if name in RESERVED_WIDGETS and values[:1] == RESERVED_WIDGETS[name]:
            values.pop(0)
        if options.get("control_after_generate"):
            assert values.pop(0) in AFTER_GENERATE, f"{found['type']} does not say what {name} does"
    assert not values, f"{found['type']} has more widget values than widgets"
    return inputs


def widget_options(info: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Options of the inputs that are widgets in the browser, in their order."""
    required, optional = info["input"].get("required", {}), info["input"].get("optional", {})
    return {
        name: kind[1] if len(kind) > 1 else {}
        for name, kind in [*required.items(), *optional.items()]
        if not (isinstance(kind[0], str) and kind[0] in LINKED_TYPES)
    }
