"""Factorized bilinear pooling of two vectors (zhou2019 eq. 8-9, zhou2021 eq. 12-14)."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class FactorizedBilinearPooling(nn.Module):
    """z = SumPooling(dropout(Uᵀa ∘ Vᵀv), K), then z / ‖z‖ (zhou2019 eq. 9 and fig. 2).

    Without bias this is z_i = aᵀ W_i v (eq. 8) with W_i of rank K: the sum over its K columns of
    U and V of u vᵀ. With bias, as the published code of this pooling has it, one stream alone still
    reaches the output when the other is all zeros.

    Args:
        audio, visual: lengths of a and v.
        outputs: O, length of z.
        factors: K, the rank of each W_i.
        dropout: share of the products dropped in training, before the pooling.
        bias: whether the two projections have one.
        normalise: whether z is divided by its length.
    """

    def __init__(
        self,
        audio: int,
        visual: int,
        outputs: int = 128,
        factors: int = 4,
        dropout: float = 0.3,
        bias: bool = True,
        normalise: bool = True,
    ) -> None:
        super().__init__()
        self.shape = (outputs, factors)
        self.normalise = normalise
        self.audio = nn.Linear(audio, outputs * factors, bias)
        self.visual = nn.Linear(visual, outputs * factors, bias)
        self.dropout = nn.Dropout(dropout)

    def forward(self, audio: Tensor, visual: Tensor) -> Tensor:
        """z ``[N, O]`` of a ``[N, audio]`` and v ``[N, visual]``; length 1 (or 0) if normalised."""
        product = self.dropout(self.audio(audio) * self.visual(visual))
        pooled = product.unflatten(-1, self.shape).sum(dim=-1)
        return unit_length(pooled) if self.normalise else pooled


def unit_length(z: Tensor) -> Tensor:
    """``z`` ``[N, O]`` over its Euclidean length; zeros stay zeros, with finite gradients."""
    norm = torch.linalg.vector_norm(z, dim=-1, keepdim=True)
    return z / (norm + (norm == 0))
