"""How many floating-point operations something takes; it counts on the device meta too."""

from typing import Any

from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry


class Operations(TorchDispatchMode):
    """Counts what runs while it is active, by PyTorch's own formulas; `total` so far.

    PyTorch's FlopCounterMode hooks itself into every module, which keeps their inputs alive: memory could not be
    counted beside it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        given = kwargs or {}
        out = function(*args, **given)
        formula = flop_registry.get(function._overloadpacket)
        if formula is not None:
            self.total += formula(*args, **given, out_val=out)
        return out
