"""The server the nodes run in, and where it keeps what passes between nodes."""

import logging
import sys
from typing import Any

import comfy.model_management
import torch
from comfy_execution.graph_utils import ExecutionBlocker

from ...davae_core.reading.plain_text import without_markup

_LOG = logging.getLogger(__name__)
WARNING = "davae.warning"
"""The event that web/davae.js shows."""


def show_text(text: str, node_id: str) -> None:
    """Show text on a node in every browser; there is none when ComfyUI's modules are used without its server.

    Some versions of ComfyUI's page take it for HTML, so nothing is shown that HTML has a meaning for. Other clients get
    none: it is a binary frame, which simple ones take for a picture.
    """
    # Not imported here: only a running server has it, and importing it elsewhere has side effects.
    server = getattr(sys.modules.get("server"), "PromptServer", None)
    running = getattr(server, "instance", None)
    if running is not None:
        for browser in _browsers(running):
            running.send_progress_text(without_markup(text), node_id, browser)


def warn(sentence: str) -> None:
    """Say something in the log, and in every browser's page."""
    _LOG.warning("DA-VAE: %s", sentence)
    server = getattr(sys.modules.get("server"), "PromptServer", None)
    running = getattr(server, "instance", None)
    if running is not None:
        for browser in _browsers(running):
            running.send_sync(WARNING, {"text": without_markup(sentence)}, browser)


def blocked(sentence: str) -> Any:
    """What an output gives when there is nothing at it: nodes that it leads to end in this sentence, others run."""
    return ExecutionBlocker(sentence)


def _browsers(server: Any) -> list[str]:
    """Ids of the clients that told their features when they connected, as ComfyUI's page does."""
    # A copy: clients come and go in the server's thread, while nodes run in another.
    return [sid for sid, told in list(server.sockets_metadata.items()) if told.get("feature_flags")]


def intermediate_device() -> torch.device:
    """Where ComfyUI keeps pictures and latents between nodes."""
    return comfy.model_management.intermediate_device()  # type: ignore[no-any-return]


def intermediate_dtype() -> torch.dtype:
    """In what type ComfyUI keeps pictures and latents between nodes (float32 before 0.18)."""
    asked = getattr(comfy.model_management, "intermediate_dtype", None)
    return torch.float32 if asked is None else asked()


def without_scale(latent: dict[str, Any]) -> dict[str, Any]:
    """A LATENT without an empty one's pixels per cell, by which ComfyUI >= 0.11 would resize what was made of it."""
    return {name: value for name, value in latent.items() if not name.startswith("downscale_ratio")}
