"""Attention over the frames of one stream: reduces any number of vectors to one.

zhou2019 eq. 1-7, zhou2021 eq. 3-11.

Every module takes ``f`` ``[N, T, D]`` and ``mask`` ``[N, T]``, true for frames and false for padding. Padding
does not affect the result. A clip without frames gives zeros with finite gradients.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..errors import FusionError
from .dropout import Dropout, optional, places


class Attention(nn.Module):
    """Base class of attentions.

    Args:
        features: D.
        dropout: dropout rate on the inputs of the attention scores, in training; the summed values are not
            dropped.
        hidden: m, the reduced dimension of transformer attention.
        temperature: λ of ``tempered`` attentions: 0 weighs all frames equally, higher values are sharper.

    Attributes:
        tempered: whether the attention has a λ.
        uses: head settings that affect the attention, besides its name, λ and ``attention_dropout``.
        drops: whether to use the head's dropout if ``attention_dropout`` is not set.
        out_features: D', length of the result for one clip.
        packed: compute scores only for frames, since padding can be more than half of a batch. The number of
            frames depends on the mask, which differs between the members of a stack; see :mod:`.stack`.

    Raises:
        FusionError: a temperature is given, but the attention has no λ.
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
        # A buffer, so that members with different λ can be stacked; a setting, so it is not saved.
        self.register_buffer("temperature", torch.tensor(float(temperature)), persistent=False)

    def weigh(self, f: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Return vectors ``[N, T, D']`` to sum, and their weights ``[N, T]``, which add up to 1 (or 0)."""
        raise NotImplementedError

    def forward(self, f: Tensor, mask: Tensor) -> Tensor:
        """Return the weighted sum, ``[N, D']``."""
        return weighted_sum(*self.weigh(f, mask))

    def frames(self, x: Tensor, mask: Tensor) -> Tensor:
        """Arrange ``[N, T, …]`` for computing scores: ``[Σ mask, …]`` if ``packed``, else unchanged."""
        return x[mask] if self.packed else x

    def spread(self, scores: Tensor, mask: Tensor) -> Tensor:
        """Put one score for each of :meth:`frames`, ``[…, 1]``, back into ``[N, T]``; zero for padding."""
        if self.packed:
            return scores.new_zeros(mask.shape).masked_scatter(mask, scores.flatten())
        return scores.squeeze(-1) * mask


class SelfAttention(Attention):
    """α_i = σ(W⁰ f_i + b), f_s = Σ α_i f_i / Σ α_i (zhou2019 eq. 1-2).

    Dropout applies to the f_i in the computation of α_i, not to the f_i in the sum.
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
        """Return α ``[N, T]``, zero for padding."""
        frames = self.dropout(self.frames(f, mask), self.frames(places(f), mask))
        return self.spread(self.score(frames), mask)

    def weigh(self, f: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        return f, shares(self.weights(f, mask))

    def forward(self, f: Tensor, mask: Tensor) -> Tensor:
        """Return f_s ``[N, D]``."""
        return weighted_mean(f, self.weights(f, mask))


class RelationAttention(Attention):
    """β_i = σ(W¹ [f_i : f_s] + b), f_r = Σ α_i β_i [f_i : f_s] / Σ α_i β_i (zhou2019 eq. 3-4).

    The weights of f_s cancel in the sum, so the second half of f_r is f_s itself.
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
        """Return αβ ``[N, T]``, zero for padding, and f_s ``[N, D]``."""
        alpha = self.own.weights(f, mask)
        f_s = weighted_mean(f, alpha)
        pairs = torch.cat([self.frames(f, mask), self.frames(f_s.unsqueeze(1).expand_as(f), mask)], dim=-1)
        beta = self.spread(self.score(self.dropout(pairs, self.frames(places(f), mask))), mask)
        return alpha * beta, f_s

    def weigh(self, f: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        weights, f_s = self.weights(f, mask)
        return torch.cat([f, f_s.unsqueeze(1).expand_as(f)], dim=-1), shares(weights)

    def forward(self, f: Tensor, mask: Tensor) -> Tensor:
        """Return f_r ``[N, 2D]``."""
        weights, f_s = self.weights(f, mask)
        return torch.cat([weighted_mean(f, weights), f_s], dim=-1)


class TransformerAttention(Attention):
    """γ_i = uᵀ tanh(W f_i + b), f_t = Σ exp(λ γ_i) f_i / Σ exp(λ γ_i) (zhou2021 eq. 3-6).

    With λ = 1 this is zhou2019 eq. 5-7, where γ_i denotes the exponential; with λ = 0 it is the mean. The
    weights are computed as a softmax.
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

    Conv is one filter with k weights, a bias and stride k along the D values of a frame: each output is
    computed from k neighbours. In the paper, D = 1024 and k = 4 (a 4 × 1 kernel of stride 4) give 256
    outputs. For other D, k = ⌈D / 256⌉, the smallest k with at most 256 outputs; there are ⌈D / k⌉, and the
    input of the last is padded with zeros. Up to 256 values are only scaled and shifted (k = 1).
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
    """Return the attention class called ``name``.

    Raises:
        FusionError: there is no such attention.
    """
    if name not in ATTENTIONS:
        raise FusionError(f"there is no attention {name!r}; there are {', '.join(ATTENTIONS)}")
    return ATTENTIONS[name]


def masked_softmax(scores: Tensor, mask: Tensor) -> Tensor:
    """Softmax over each row of ``[N, T]`` where ``mask`` is true; a row without true entries is all zeros."""
    lowest = torch.finfo(scores.dtype).min
    return torch.softmax(scores.masked_fill(~mask, lowest), dim=-1) * mask


def weighted_sum(f: Tensor, weights: Tensor) -> Tensor:
    """Return Σ w_i f_i: ``[N, T, D]`` and ``[N, T]`` to ``[N, D]``."""
    return torch.bmm(weights.unsqueeze(1), f).squeeze(1)


def weighted_mean(f: Tensor, weights: Tensor) -> Tensor:
    """Return Σ w_i f_i / Σ w_i, ``[N, D]``; zeros if all weights are zero."""
    return weighted_sum(f, weights) / _total(weights)


def shares(weights: Tensor) -> Tensor:
    """Return w_i / Σ w_i, ``[N, T]``; zeros if all weights are zero."""
    return weights / _total(weights)


def _total(weights: Tensor) -> Tensor:
    """Return Σ w_i ``[N, 1]``, with 0 replaced by 1."""
    total = weights.sum(dim=1, keepdim=True)
    return total + (total == 0)
