"""Linear regression over more samples than fit in memory, on latents and their surroundings."""

from __future__ import annotations

from functools import partial
from typing import Literal

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

_RIDGE = 1e-4


class LeastSquares:
    """Sums over samples of inputs [N, i] (a constant 1 first) and outputs [N, o], float64."""

    def __init__(self, inputs: int, outputs: int, device: torch.device) -> None:
        """No samples yet; `inputs` without the constant."""
        zeros = partial(torch.zeros, dtype=torch.float64, device=device)
        self.inputs, self.cross = zeros(inputs + 1, inputs + 1), zeros(inputs + 1, outputs)
        self.outputs, self.count = zeros(outputs, outputs), 0

    def add(self, inputs: Tensor, outputs: Tensor) -> None:
        """Take in samples [N, i] and [N, o]."""
        rows = F.pad(inputs.double(), (1, 0), value=1.0)
        wanted = outputs.double()
        self.inputs += rows.T @ rows
        self.cross += rows.T @ wanted
        self.outputs += wanted.T @ wanted
        self.count += len(rows)

    def solution(self) -> Tensor:
        """Coefficients [1 + i, o], the constant first, with a slight ridge."""
        ridge = _RIDGE * self.inputs.diagonal().mean()
        eye = torch.eye(len(self.inputs), dtype=torch.float64, device=self.inputs.device)
        found: Tensor = torch.linalg.solve(self.inputs + ridge * eye, self.cross)
        return found

    def weakened(self, share: float) -> Tensor:
        """The solution's slopes times `share`, with the constant that lets nothing be left over on average."""
        slopes = share * self.solution()[1:]
        constant = (self.cross[0] - self.inputs[0, 1:] @ slopes) / self.count
        return torch.cat([constant[None], slopes])

    def residual_covariance(self, coefficients: Tensor) -> Tensor:
        """Second moments [o, o] of what is left of the outputs once `coefficients` [1 + i, o] are applied."""
        explained = self.cross.T @ coefficients
        left = self.outputs - explained - explained.T + coefficients.T @ self.inputs @ coefficients
        return left / self.count


def neighbourhoods(latents: Tensor, outside: Literal["zero", "edge"]) -> Tensor:
    """[B, c, h, w] -> [B * h * w, c * 9]: each cell's 3 x 3 surroundings; zeros outside, or the edge repeated."""
    padded = F.pad(latents, (1, 1, 1, 1), mode="constant" if outside == "zero" else "replicate")
    return rearrange(F.unfold(padded, kernel_size=3), "b k n -> (b n) k")


def rows(latents: Tensor) -> Tensor:
    """[B, c, h, w] -> [B * h * w, c]."""
    return rearrange(latents, "b c h w -> (b h w) c")
