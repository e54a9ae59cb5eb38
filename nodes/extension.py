"""All nodes, as ComfyUI asks for them."""

from comfy_api.latest import ComfyExtension, io

from .adapt_controlnet import AdaptControlNet
from .compat.features import log_self_test
from .compat.model import register
from .decode import Decode
from .detail_sampler import DetailSampler
from .empty_latent import EmptyLatent
from .encode import Encode
from .example_lora import ExampleLoRA
from .example_picture import ExamplePicture
from .inspect_file import InspectFile
from .join_latent import JoinLatent
from .load_model import LoadModel
from .load_text_encoder import LoadTextEncoder
from .load_vae import LoadVAE
from .lock_base import LockBase
from .sampler import Sampler
from .split_latent import SplitLatent


class DetailAlignedExtension(ComfyExtension):  # type: ignore[misc]
    """The pack as ComfyUI sees it."""

    def __init__(self) -> None:
        # Not in on_load, which ComfyUI before 0.14 never calls.
        register()
        log_self_test()

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        return [
            LoadModel,
            LoadVAE,
            LoadTextEncoder,
            Encode,
            Decode,
            EmptyLatent,
            Sampler,
            DetailSampler,
            LockBase,
            SplitLatent,
            JoinLatent,
            AdaptControlNet,
            InspectFile,
            ExamplePicture,
            ExampleLoRA,
        ]
