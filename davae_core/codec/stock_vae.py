"""Names of pretrained VAEs: diffusers' AutoencoderKL to the LDM/Stability names used here, and sizes from shapes."""

import re
from collections.abc import Mapping

from torch import Tensor

from ..format import numbers_in
from .level_counts import level_blocks
from .sizes import KLConfig

_RENAMES = (
    (r"\.mid_block\.resnets\.0\.", ".mid.block_1."),
    (r"\.mid_block\.resnets\.1\.", ".mid.block_2."),
    (r"\.mid_block\.attentions\.0\.", ".mid.attn_1."),
    (r"\.down_blocks\.", ".down."),
    (r"\.resnets\.", ".block."),
    (r"\.attentions\.", ".attn."),
    (r"\.(down|up)samplers\.0\.", r".\1sample."),
    (r"\.conv_norm_out\.", ".norm_out."),
    (r"\.conv_shortcut\.", ".nin_shortcut."),
    (r"\.group_norm\.", ".norm."),
    (r"\.(to_q|query)\.", ".q."),
    (r"\.(to_k|key)\.", ".k."),
    (r"\.(to_v|value)\.", ".v."),
    (r"\.(to_out\.0|proj_attn)\.", ".proj_out."),
)
_UP = r"^decoder\.up_blocks\.(\d+)\."
_ATTENTION = re.compile(r"\.(q|k|v|proj_out)\.weight$")


def to_ldm_names(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights of a VAE under LDM names, from diffusers' or from these.

    Levels of the decoder are counted from full resolution, attention is 1x1 convolutions.
    """
    last = max(numbers_in(tensors, _UP), default=0)
    renamed = {}
    for name, tensor in tensors.items():
        name = re.sub(_UP, lambda found: f"decoder.up.{last - int(found[1])}.", name)
        for pattern, replacement in _RENAMES:
            name = re.sub(pattern, replacement, name)
        if _ATTENTION.search(name) and tensor.ndim == 2:
            tensor = tensor[:, :, None, None]
        renamed[name] = tensor
    return renamed


def kl_config_of(tensors: Mapping[str, Tensor], norm_groups: int = 32) -> KLConfig:
    """Sizes of a VAE under LDM names, read off its encoder's shapes; the group count cannot be seen there.

    Raises LookupError or ValueError when the tensors are no such encoder.
    """
    levels, blocks = level_blocks(tensors)
    firsts = (f"encoder.down.{level}.block.0.conv1.weight" for level in range(levels))
    return KLConfig(
        widths=tuple(tensors[name].shape[0] for name in firsts),
        res_blocks=blocks,
        norm_groups=norm_groups,
        attention_levels=tuple(sorted(numbers_in(tensors, r"encoder\.down\.(\d+)\.attn\."))),
        quant_conv="quant_conv.weight" in tensors,
    )
