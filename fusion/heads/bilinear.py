"""Factorized bilinear pooling of two vectors (zhou2019 eq. 8-9, zhou2021 eq. 12-19)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .dropout import Dropout


class _Pooling(nn.Module):
    """Base class of both poolings: two projections, dropout on their product, sum pooling, scaling."""

    def __init__(
        self,
        audio: nn.Module,
        visual: nn.Module,
        shape: tuple[int, int],
        dropout: float,
        normalise: bool,
        signed_sqrt: bool,
    ) -> None:
        super().__init__()
        self.shape = shape
        self.normalise = normalise
        self.signed_sqrt = signed_sqrt
        self.audio = audio
        self.visual = visual
        self.dropout = Dropout(dropout)

    def product(self, audio: Tensor, visual: Tensor) -> Tensor:
        """Return dropout(Uᵀa ∘ Vᵀv), O × K values."""
        product: Tensor = self.dropout(self.audio(audio) * self.visual(visual))
        return product

    def pooled(self, product: Tensor) -> Tensor:
        """Return z ``[N, O]``: sums over K, scaled."""
        return scaled(torch.unflatten(product, -1, self.shape).sum(dim=-1), self.signed_sqrt, self.normalise)


class FactorizedBilinearPooling(_Pooling):
    """z = SumPooling(dropout(Uᵀa ∘ Vᵀv), K), then z / ‖z‖ (zhou2019 eq. 9 and fig. 2).

    Without bias, this is z_i = aᵀ W_i v (eq. 8), where W_i = Σ u vᵀ over K columns of U and V has rank K.
    With bias, as in the published code of this pooling, one stream still affects the output if the other is
    all zeros.

    Args:
        audio, visual: lengths of a and v.
        outputs: O, length of z.
        factors: K, the rank of each W_i.
        dropout: dropout rate on the products before pooling, in training.
        bias: whether the two projections have biases.
        normalise: whether to divide z by its Euclidean norm.
        signed_sqrt: whether to replace z by sign(z) √|z| first, as in the published code of this pooling but
            in neither paper.
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
        signed_sqrt: bool = False,
    ) -> None:
        a, v = (nn.Linear(size, outputs * factors, bias) for size in (audio, visual))
        super().__init__(a, v, (outputs, factors), dropout, normalise, signed_sqrt)

    def forward(self, audio: Tensor, visual: Tensor) -> Tensor:
        """Return z ``[N, O]`` of a ``[N, audio]`` and v ``[N, visual]``; of norm 1 (or 0) if normalised."""
        return self.pooled(self.product(audio, visual))


class TrunkBilinearPooling(_Pooling):
    """z = Σ_h SumPooling(dropout(P_hᵀa_h ∘ Q_hᵀv_h), K), then z / ‖z‖ (zhou2021 eq. 19).

    With one trunk this is :class:`FactorizedBilinearPooling`.

    Args:
        audio, visual: lengths of a_h and v_h.
        trunks: H; each trunk has its own projections.
        outputs, factors, dropout, bias, normalise, signed_sqrt: as in :class:`FactorizedBilinearPooling`.
    """

    def __init__(
        self,
        audio: int,
        visual: int,
        trunks: int = 6,
        outputs: int = 192,
        factors: int = 2,
        dropout: float = 0.3,
        bias: bool = True,
        normalise: bool = True,
        signed_sqrt: bool = False,
    ) -> None:
        a, v = (TrunkLinear(trunks, size, outputs * factors, bias) for size in (audio, visual))
        super().__init__(a, v, (outputs, factors), dropout, normalise, signed_sqrt)

    def forward(self, audio: Tensor, visual: Tensor, present: Tensor) -> Tensor:
        """Return z ``[N, O]`` of ``[N, H, audio]`` and ``[N, H, visual]`` over ``present`` trunks ``[N, H]``.

        Absent trunks add nothing. Without biases, neither do trunks in which one of the vectors is all zeros.
        """
        product = self.product(audio, visual) * present.unsqueeze(-1)
        return self.pooled(product.sum(dim=1))


class TrunkLinear(nn.Module):
    """:class:`torch.nn.Linear` with a weight ``[H, out, in]`` and bias ``[H, out]`` for each of H trunks."""

    def __init__(self, trunks: int, inputs: int, outputs: int, bias: bool = True) -> None:
        super().__init__()
        bound = inputs**-0.5  # initialised like nn.Linear
        self.weight = nn.Parameter(torch.empty(trunks, outputs, inputs).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(trunks, outputs).uniform_(-bound, bound)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[N, H, in]`` to ``[N, H, out]``."""
        out = torch.einsum("nhi,hoi->nho", x, self.weight)
        return out if self.bias is None else out + self.bias


def adapted(audio: Tensor, visual: Tensor) -> tuple[Tensor, Tensor]:
    """Return μ a and η v, both vectors times their :func:`adaption_factors` (zhou2021 eq. 17)."""
    mu, eta = adaption_factors(audio, visual)
    return mu * audio, eta * visual


def adaption_factors(audio: Tensor, visual: Tensor) -> tuple[Tensor, Tensor]:
    """Return μ = ‖a‖ / (‖a‖ + ‖v‖) and η = 1 - μ, ``[N, 1]`` (zhou2021 eq. 15-16); both 0 if a = v = 0."""
    lengths = [torch.linalg.vector_norm(vector, dim=-1, keepdim=True) for vector in (audio, visual)]
    total = lengths[0] + lengths[1]
    total = total + (total == 0)
    return lengths[0] / total, lengths[1] / total


def scaled(z: Tensor, signed_sqrt: bool, normalise: bool) -> Tensor:
    """Apply the signed square root to ``z`` and normalise its length, each if requested."""
    if signed_sqrt:
        z = z / (z.abs() + (z == 0)).sqrt()  # zeros stay zeros, with finite gradients
    return unit_length(z) if normalise else z


def unit_length(z: Tensor) -> Tensor:
    """Divide ``z`` ``[N, O]`` by its Euclidean norm; zeros stay zeros, with finite gradients."""
    norm = torch.linalg.vector_norm(z, dim=-1, keepdim=True)
    return z / (norm + (norm == 0))
