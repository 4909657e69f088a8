"""Attention over the frames of one stream: any number of vectors to one (zhou2019 eq. 1-7).

Every module takes ``f`` ``[N, T, D]`` and ``mask`` ``[N, T]``, true where a frame is; frames beyond
the mask leave no trace, and a clip with no frame at all gives zeros with finite gradients.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from .errors import FusionError


class Attention(nn.Module):
    """What all kinds have in common.

    Args:
        features: D.
        dropout: share of the values that a weight is computed from that are dropped in training.
        hidden: m, the reduced dimension of transformer attention.

    Attributes:
        out_features: values a clip.
    """

    name: ClassVar[str]

    def __init__(self, features: int, dropout: float = 0.3, hidden: int = 128) -> None:
        super().__init__()
        self.out_features = features


class SelfAttention(Attention):
    """α_i = σ(W⁰ f_i + b), f_s = Σ α_i f_i / Σ α_i (zhou2019 eq. 1-2).

    Dropout touches the f_i that α_i is computed from, not those that are summed.
    """

    name = "self"

    def __init__(self, features: int, dropout: float = 0.3, hidden: int = 128) -> None:
        super().__init__(features, dropout, hidden)
        self.score = nn.Sequential(nn.Dropout(dropout), nn.Linear(features, 1), nn.Sigmoid())

    def weights(self, f: Tensor, mask: Tensor) -> Tensor:
        """α ``[N, T]``, zero beyond the mask."""
        return spread(self.score(f[mask]), mask)

    def forward(self, f: Tensor, mask: Tensor) -> Tensor:
        """f_s ``[N, D]``."""
        return weighted_mean(f, self.weights(f, mask))


class RelationAttention(Attention):
    """β_i = σ(W¹ [f_i : f_s] + b), f_r = Σ α_i β_i [f_i : f_s] / Σ α_i β_i (zhou2019 eq. 3-4).

    The weights of f_s in the sum cancel, so the second half of f_r is f_s itself.
    """

    name = "relation"

    def __init__(self, features: int, dropout: float = 0.3, hidden: int = 128) -> None:
        super().__init__(features, dropout, hidden)
        self.out_features = 2 * features
        self.own = SelfAttention(features, dropout)
        self.score = nn.Sequential(nn.Dropout(dropout), nn.Linear(2 * features, 1), nn.Sigmoid())

    def forward(self, f: Tensor, mask: Tensor) -> Tensor:
        """f_r ``[N, 2D]``."""
        alpha = self.own.weights(f, mask)
        f_s = weighted_mean(f, alpha)
        clip = mask.nonzero()[:, 0]
        beta = spread(self.score(torch.cat([f[mask], f_s[clip]], dim=-1)), mask)
        return torch.cat([weighted_mean(f, alpha * beta), f_s], dim=-1)


class TransformerAttention(Attention):
    """γ_i = exp(uᵀ tanh(W² f_i + b)), f_t = Σ γ_i f_i / Σ γ_i (zhou2019 eq. 5-7).

    The γ over their sum are a softmax, and computed as one.
    """

    name = "transformer"

    def __init__(self, features: int, dropout: float = 0.3, hidden: int = 128) -> None:
        super().__init__(features, dropout, hidden)
        self.score = nn.Sequential(nn.Linear(features, hidden), nn.Tanh(), nn.Linear(hidden, 1, bias=False))

    def forward(self, f: Tensor, mask: Tensor) -> Tensor:
        """f_t ``[N, D]``."""
        gamma = masked_softmax(spread(self.score(f[mask]), mask), mask)
        return weighted_sum(f, gamma)


ATTENTIONS: dict[str, type[Attention]] = {
    kind.name: kind for kind in (SelfAttention, RelationAttention, TransformerAttention)
}


def attention_class(name: str) -> type[Attention]:
    """The attention called ``name``.

    Raises:
        FusionError: there is none.
    """
    if name not in ATTENTIONS:
        raise FusionError(f"there is no attention {name!r}; there are {', '.join(ATTENTIONS)}")
    return ATTENTIONS[name]


def spread(scores: Tensor, mask: Tensor) -> Tensor:
    """One score for each frame, ``[Σ mask, 1]``, back to its place in ``[N, T]``; zeros elsewhere.

    Scores are computed of frames alone: padding can be more than half of a batch.
    """
    return scores.new_zeros(mask.shape).masked_scatter(mask, scores.flatten())


def masked_softmax(scores: Tensor, mask: Tensor) -> Tensor:
    """Softmax over each row's unmasked entries, ``[N, T]``; a row with none is all zeros."""
    lowest = torch.finfo(scores.dtype).min
    return torch.softmax(scores.masked_fill(~mask, lowest), dim=-1) * mask


def weighted_sum(f: Tensor, weights: Tensor) -> Tensor:
    """Σ w_i f_i: ``[N, T, D]`` and ``[N, T]`` to ``[N, D]``."""
    return torch.bmm(weights.unsqueeze(1), f).squeeze(1)


def weighted_mean(f: Tensor, weights: Tensor) -> Tensor:
    """Σ w_i f_i / Σ w_i, ``[N, D]``; zeros where all weights are zero."""
    total = weights.sum(dim=1, keepdim=True)
    return weighted_sum(f, weights) / (total + (total == 0))
