"""How many floating-point operations something takes; it counts on the device meta too."""

from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry, sdpa_backward_flop_count, sdpa_flop_count


def _attention(q: Any, k: Any, v: Any, *_: Any, **__: Any) -> int:
    return int(sdpa_flop_count(q.shape, k.shape, v.shape))


def _attention_backward(gradient: Any, q: Any, k: Any, v: Any, *_: Any, **__: Any) -> int:
    return int(sdpa_backward_flop_count(gradient.shape, q.shape, k.shape, v.shape))


_FORMULAS = {
    **flop_registry,
    # A CPU's fused attention is not among PyTorch's own.
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward: _attention_backward,
}


class Operations(TorchDispatchMode):
    """Counts what runs while it is active, by PyTorch's formulas; `total` so far.

    PyTorch's own FlopCounterMode hooks itself into every module, which keeps their inputs alive, so that memory could
    not be counted beside it; and it takes a CPU's attention for nothing.
    """

    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        given = kwargs or {}
        out = function(*args, **given)
        formula = _FORMULAS.get(function._overloadpacket)
        if formula is not None:
            self.total += formula(*args, **given, out_val=out)
        return out
