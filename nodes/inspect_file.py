"""DA-VAE File Info: what a file is and what it needs."""

from typing import Any

from comfy_api.latest import io, ui

from ..davae_core.inspection import inspect_file
from . import files
from .node import Node
from .schema import schema


class InspectFile(Node):
    """One of our files -> text, shown on the node and given on."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            "DAVAE_Inspect",
            "DA-VAE File Info",
            "Says what a file is, what it holds and what it needs, without loading its weights.",
            inputs=[
                io.Combo.Input(
                    "file",
                    options=files.inspected_names(),
                    default=files.BUNDLED,
                    tooltip="A safetensors file in ComfyUI's vae, loras, diffusion_models, checkpoints or "
                    "text_encoders folder, or the bundled miniature.",
                ),
            ],
            outputs=[
                io.String.Output(display_name="text", tooltip="The same text as shown on the node.")
            ],
            hidden=[io.Hidden.unique_id],
            is_output_node=True,
            aliases=["inspect", "metadata", "file info", "da-vae"],
        )

    @classmethod
    def fingerprint_inputs(cls, file: str) -> str:
        return files.fingerprint(files.inspected_path(file))

    @classmethod
    def validate_inputs(cls, file: Any = None) -> bool | str:
        return cls.judge(file=file)

    @classmethod
    def execute(cls, file: str) -> io.NodeOutput:
        text = "\n".join(inspect_file(files.inspected_path(file)).lines)
        cls.tell(text)
        return io.NodeOutput(text, ui=ui.PreviewText(text))
