"""ComfyUI's front door. Outside ComfyUI importing it does nothing."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .nodes.extension import DetailAlignedExtension

WEB_DIRECTORY = "./web"


async def comfy_entrypoint() -> "DetailAlignedExtension":
    """Called once by ComfyUI (0.3.47 and newer) to get the nodes."""
    from .nodes.extension import DetailAlignedExtension

    return DetailAlignedExtension()
