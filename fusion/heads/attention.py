"""Attention over the frames of one stream: any number of vectors to one.

zhou2019 eq. 1-7, zhou2021 eq. 3-11.

Every module takes ``f`` ``[N, T, D]`` and ``mask`` ``[N, T]``, true where a frame is; frames beyond
the mask leave no trace, and a clip with no frame at all gives zeros with finite gradients.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..errors import FusionError
from .dropout import Dropout, optional, places


class Attention(nn.Module):
    """The base class of attentions.

    Args:
        features: D.
        dropout: share of the values that a weight is computed from that are dropped in training; the values
            that are summed are whole.
        hidden: m, the reduced dimension of transformer attention.
        temperature: λ of those that are ``tempered``: 0 weighs all frames alike, more sets them apart.

    Attributes:
        uses: the settings of a head that act in it, beside its own name, λ and ``attention_dropout``.
        drops: whether its dropout is the head's where none is given for attentions.
        out_features: D', values a clip.
        packed: compute scores of frames alone, since padding can be more than half of a batch. How many these
            are depends on the values of the mask, which the members of a stack do not share: see
            :mod:`.stack`.

    Raises:
        FusionError: a temperature for one that has none.
    """

    name: ClassVar[str]
    tempered: ClassVar[bool] = False
    uses: ClassVar[frozenset[str]] = frozenset()
    drops: ClassVar[bool] = False
    packed: bool = True
    temperature: Tensor

    def __init__(
        self, features: int, dropout: float = 0.3, hidden: int = 128, temperature: float = 1.0
    ) -> None:
        super().__init__()
        self.out_features = features
        if temperature != 1 and not self.tempered:
            others = " and ".join(kind.name for kind in ATTENTIONS.values() if kind.tempered)
            raise FusionError(f"{self.name} attention has no λ, so it cannot be {temperature}; {others} have")
        # a buffer, so that members of different λ can be stacked; a setting, so it is not in the state
        self.register_buffer("temperature", torch.tensor(float(temperature)), persistent=False)

    def weigh(self, f: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """The vectors ``[N, T, D']`` that are summed, and their weights ``[N, T]``, of sum 1 (or 0)."""
        raise NotImplementedError

    def forward(self, f: Tensor, mask: Tensor) -> Tensor:
        """The weighted sum, ``[N, D']``."""
        return weighted_sum(*self.weigh(f, mask))

    def frames(self, x: Tensor, mask: Tensor) -> Tensor:
        """``[N, T, …]`` as scores are computed of it: ``[Σ mask, …]`` if ``packed``."""
        return x[mask] if self.packed else x

    def spread(self, scores: Tensor, mask: Tensor) -> Tensor:
        """One score for each of :meth:`frames`, ``[…, 1]``, in its place in ``[N, T]``; zeros elsewhere."""
        if self.packed:
            return scores.new_zeros(mask.shape).masked_scatter(mask, scores.flatten())
        return scores.squeeze(-1) * mask


class SelfAttention(Attention):
    """α_i = σ(W⁰ f_i + b), f_s = Σ α_i f_i / Σ α_i (zhou2019 eq. 1-2).

    Dropout touches the f_i that α_i is computed from, not those that are summed.
    """

    name = "self"
    uses = frozenset({"dropout"})
    drops = True

    def __init__(
        self, features: int, dropout: float = 0.3, hidden: int = 128, temperature: float = 1.0
    ) -> None:
        super().__init__(features, dropout, hidden, temperature)
        self.dropout = Dropout(dropout)
        self.score = nn.Sequential(nn.Linear(features, 1), nn.Sigmoid())

    def weights(self, f: Tensor, mask: Tensor) -> Tensor:
        """α ``[N, T]``, zero beyond the mask."""
        frames = self.dropout(self.frames(f, mask), self.frames(places(f), mask))
        return self.spread(self.score(frames), mask)

    def weigh(self, f: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        return f, shares(self.weights(f, mask))

    def forward(self, f: Tensor, mask: Tensor) -> Tensor:
        """f_s ``[N, D]``."""
        return weighted_mean(f, self.weights(f, mask))


class RelationAttention(Attention):
    """β_i = σ(W¹ [f_i : f_s] + b), f_r = Σ α_i β_i [f_i : f_s] / Σ α_i β_i (zhou2019 eq. 3-4).

    The weights of f_s in the sum cancel, so the second half of f_r is f_s itself.
    """

    name = "relation"
    uses = frozenset({"dropout"})
    drops = True

    def __init__(
        self, features: int, dropout: float = 0.3, hidden: int = 128, temperature: float = 1.0
    ) -> None:
        super().__init__(features, dropout, hidden, temperature)
        self.out_features = 2 * features
        self.own = SelfAttention(features, dropout)
        self.dropout = Dropout(dropout)
        self.score = nn.Sequential(nn.Linear(2 * features, 1), nn.Sigmoid())

    def weights(self, f: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """αβ ``[N, T]``, zero beyond the mask, and f_s ``[N, D]``."""
        alpha = self.own.weights(f, mask)
        f_s = weighted_mean(f, alpha)
        pairs = torch.cat([self.frames(f, mask), self.frames(f_s.unsqueeze(1).expand_as(f), mask)], dim=-1)
        beta = self.spread(self.score(self.dropout(pairs, self.frames(places(f), mask))), mask)
        return alpha * beta, f_s

    def weigh(self, f: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        weights, f_s = self.weights(f, mask)
        return torch.cat([f, f_s.unsqueeze(1).expand_as(f)], dim=-1), shares(weights)

    def forward(self, f: Tensor, mask: Tensor) -> Tensor:
        """f_r ``[N, 2D]``."""
        weights, f_s = self.weights(f, mask)
        return torch.cat([weighted_mean(f, weights), f_s], dim=-1)


class TransformerAttention(Attention):
    """γ_i = uᵀ tanh(W f_i + b), f_t = Σ exp(λ γ_i) f_i / Σ exp(λ γ_i) (zhou2021 eq. 3-6).

    With λ = 1 it is zhou2019 eq. 5-7, whose γ_i is the exponential; with λ = 0 the mean. The weights are a
    softmax, and computed as one.
    """

    name = "transformer"
    tempered = True
    uses = frozenset({"hidden"})

    def __init__(
        self, features: int, dropout: float = 0.3, hidden: int = 128, temperature: float = 1.0
    ) -> None:
        super().__init__(features, dropout, hidden, temperature)
        self.score = nn.Sequential(nn.Linear(features, hidden), nn.Tanh(), nn.Linear(hidden, 1, bias=False))
        self.dropout = optional(dropout)

    def weigh(self, f: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        frames = self.frames(f, mask)
        if self.dropout is not None:
            frames = self.dropout(frames, self.frames(places(f), mask))
        return f, masked_softmax(self.temperature * self.spread(self.score(frames), mask), mask)


class ConvolutionAttention(Attention):
    """γ_i = uᵀ tanh(Conv(v_i)), e = Σ exp(λ γ_i) Conv(v_i) / Σ exp(λ γ_i) (zhou2021 eq. 8-11).

    Conv is one filter of k weights and a bias that steps along the D values of a frame by k: each output is
    made of k neighbours. The paper's 1024 values give 256 with k = 4, its 4 × 1 kernel of stride 4. For any
    other D, k = ⌈D / 256⌉, the least that leaves at most 256 outputs: ⌈D / k⌉ of them, zeros standing in
    where the last has no neighbours left. Up to 256 values are scaled and shifted (k = 1).
    """

    name = "conv"
    tempered = True
    most = 256

    def __init__(
        self, features: int, dropout: float = 0.3, hidden: int = 128, temperature: float = 1.0
    ) -> None:
        super().__init__(features, dropout, hidden, temperature)
        self.kernel = -(-features // self.most)
        self.out_features = -(-features // self.kernel)
        self.reduce = nn.Linear(self.kernel, 1)
        self.score = nn.Sequential(nn.Tanh(), nn.Linear(self.out_features, 1, bias=False))
        self.dropout = optional(dropout)

    def weigh(self, f: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        padded = functional.pad(f, (0, self.kernel * self.out_features - f.shape[-1]))
        reduced = self.reduce(padded.reshape(*f.shape[:-1], self.out_features, self.kernel)).squeeze(-1)
        seen = reduced if self.dropout is None else self.dropout(reduced)
        return reduced, masked_softmax(self.temperature * self.score(seen).squeeze(-1), mask)


ATTENTIONS: dict[str, type[Attention]] = {
    kind.name: kind for kind in (SelfAttention, RelationAttention, TransformerAttention, ConvolutionAttention)
}


def attention_class(name: str) -> type[Attention]:
    """The attention called ``name``.

    Raises:
        FusionError: there is none.
    """
    if name not in ATTENTIONS:
        raise FusionError(f"there is no attention {name!r}; there are {', '.join(ATTENTIONS)}")
    return ATTENTIONS[name]


def masked_softmax(scores: Tensor, mask: Tensor) -> Tensor:
    """Softmax over each row's unmasked entries, ``[N, T]``; a row with none is all zeros."""
    lowest = torch.finfo(scores.dtype).min
    return torch.softmax(scores.masked_fill(~mask, lowest), dim=-1) * mask


def weighted_sum(f: Tensor, weights: Tensor) -> Tensor:
    """Σ w_i f_i: ``[N, T, D]`` and ``[N, T]`` to ``[N, D]``."""
    return torch.bmm(weights.unsqueeze(1), f).squeeze(1)


def weighted_mean(f: Tensor, weights: Tensor) -> Tensor:
    """Σ w_i f_i / Σ w_i, ``[N, D]``; zeros where all weights are zero."""
    return weighted_sum(f, weights) / _total(weights)


def shares(weights: Tensor) -> Tensor:
    """w_i / Σ w_i, ``[N, T]``; zeros where all weights are zero."""
    return weights / _total(weights)


def _total(weights: Tensor) -> Tensor:
    """Σ w_i ``[N, 1]``, 1 where that is 0."""
    total = weights.sum(dim=1, keepdim=True)
    return total + (total == 0)
