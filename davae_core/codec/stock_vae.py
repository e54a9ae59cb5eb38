"""Names of pretrained VAEs: diffusers' AutoencoderKL to the LDM/Stability names used here, and sizes from shapes."""

import re
from collections.abc import Mapping

from torch import Tensor

from .blocks import KLConfig

_RENAMES = (
    (r"^encoder\.down_blocks\.(\d+)\.resnets\.", r"encoder.down.\1.block."),
    (r"^encoder\.down_blocks\.(\d+)\.attentions\.", r"encoder.down.\1.attn."),
    (r"^encoder\.down_blocks\.(\d+)\.downsamplers\.0\.", r"encoder.down.\1.downsample."),
    (r"^decoder\.up_blocks\.(\d+)\.resnets\.", r"decoder.up.\1.block."),
    (r"^decoder\.up_blocks\.(\d+)\.attentions\.", r"decoder.up.\1.attn."),
    (r"^decoder\.up_blocks\.(\d+)\.upsamplers\.0\.", r"decoder.up.\1.upsample."),
    (r"\.mid_block\.resnets\.0\.", r".mid.block_1."),
    (r"\.mid_block\.resnets\.1\.", r".mid.block_2."),
    (r"\.mid_block\.attentions\.0\.", r".mid.attn_1."),
    (r"\.conv_norm_out\.", r".norm_out."),
    (r"\.conv_shortcut\.", r".nin_shortcut."),
    (r"\.group_norm\.", r".norm."),
    (r"\.(to_q|query)\.", r".q."),
    (r"\.(to_k|key)\.", r".k."),
    (r"\.(to_v|value)\.", r".v."),
    (r"\.(to_out\.0|proj_attn)\.", r".proj_out."),
)
_ATTENTION = re.compile(r"\.(q|k|v|proj_out)\.weight$")


def looks_like_diffusers_vae(names: Mapping[str, object]) -> bool:
    """True when the names are diffusers' (`down_blocks`), False for the LDM/Stability ones."""
    return any(name.startswith(("encoder.down_blocks.", "decoder.up_blocks.")) for name in names)


def diffusers_vae_to_ldm(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same weights under LDM names: levels of the decoder counted from full resolution, attention as 1x1 convs."""
    levels = 1 + max(
        (int(m[1]) for name in tensors if (m := re.match(r"decoder\.up_blocks\.(\d+)\.", name))),
        default=-1,
    )
    renamed = {}
    for name, tensor in tensors.items():
        for pattern, replacement in _RENAMES:
            name = re.sub(pattern, replacement, name)
        name = re.sub(
            r"^decoder\.up\.(\d+)\.", lambda m: f"decoder.up.{levels - 1 - int(m[1])}.", name
        )
        if _ATTENTION.search(name) and tensor.ndim == 2:
            tensor = tensor[:, :, None, None]
        renamed[name] = tensor
    return renamed


def kl_config_of(tensors: Mapping[str, Tensor], norm_groups: int = 32) -> KLConfig:
    """Sizes of a VAE under LDM names, read off its encoder's shapes; the group count cannot be seen there.

    Raises KeyError or ValueError when the tensors are no such encoder.
    """
    widths: list[int] = []
    while (name := f"encoder.down.{len(widths)}.block.0.conv1.weight") in tensors:
        widths.append(tensors[name].shape[0])
    blocks = sum(
        bool(re.match(r"encoder\.down\.0\.block\.\d+\.conv1\.weight$", name)) for name in tensors
    )
    attention = {
        int(m[1]) for name in tensors if (m := re.match(r"encoder\.down\.(\d+)\.attn\.", name))
    }
    return KLConfig(
        widths=tuple(widths),
        res_blocks=blocks,
        norm_groups=norm_groups,
        attention_levels=tuple(sorted(attention)),
        quant_conv="quant_conv.weight" in tensors,
    )
