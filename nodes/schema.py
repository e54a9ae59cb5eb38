"""What every node of the pack says of itself in the same way, whatever this ComfyUI knows of it."""

from collections.abc import Iterable
from typing import Any

from comfy_api.latest import io

from .compat.features import supported


def schema(
    node_id: str,
    name: str,
    description: str,
    *,
    inputs: list[io.Input],
    outputs: list[io.Output],
    aliases: list[str],
    hidden: Iterable[io.Hidden] = (),
    is_output_node: bool = False,
    is_experimental: bool = False,
) -> io.Schema:
    """A node of this pack; `aliases` are further words to find it by, which older ComfyUI does not know."""
    return io.Schema(
        node_id=node_id,
        display_name=name,
        category="DA-VAE",
        description=description,
        inputs=inputs,
        outputs=outputs,
        hidden=list(hidden),
        is_output_node=is_output_node,
        is_experimental=is_experimental,
        **supported(io.Schema, {"search_aliases": aliases}),
    )


def advanced(kind: type[io.Input]) -> dict[str, Any]:
    """The option that folds an input of this kind away in the browser; older ComfyUI shows it like any other."""
    return supported(kind, {"advanced": True})


def check_choice(node: str, what: str, choice: str, choices: Iterable[str]) -> None:
    """Raise ValueError for a choice that is not offered; ComfyUI 0.3 lets any through to the node."""
    if choice not in choices:
        raise ValueError(f"{node} has no {what} {choice!r}: pick one of {', '.join(choices)}.")
