"""Heads with factorized bilinear pooling: FBP of zhou2019 §3.3, and its extensions in zhou2021."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn

from ..features.recipes import AUDIO, VISUAL
from ..training.batches import Batch
from .base import EmbeddingHead, register
from .bilinear import FactorizedBilinearPooling, TrunkBilinearPooling, adapted
from .settings import HeadSettings, TrunkSettings
from .trunks import cut

POOLING = frozenset({"dropout", "bias", "signed_sqrt"})  # settings of every pooling
GLOBAL = POOLING | {"outputs", "factors"}  # settings of the pooling of the whole clip
AFEW = {"visual_attention": "conv", "lambda_audio": 0.3, "lambda_visual": 1.0}  # zhou2021 eq. 8-11, §IV


@register
class BilinearHead(EmbeddingHead):
    """Factorized bilinear pooling of both streams, then a linear classifier (zhou2019 eq. 8-9, fig. 2)."""

    name = "fbp"
    streams = (VISUAL, AUDIO)
    uses = GLOBAL
    options: ClassVar[Mapping[str, Any]] = {"classifier_dropout": 0.0}

    def __init__(self, settings: HeadSettings, features: Mapping[str, int], classes: int) -> None:
        super().__init__(settings, features, classes)
        self.pool = global_pooling(settings, self.sizes)
        self.classify = nn.Linear(settings.outputs, classes)

    def embed(self, batch: Batch) -> Tensor:
        """Return z ``[N, O]``."""
        return self.fuse(**self.attend(batch))

    def fuse(self, audio: Tensor, visual: Tensor) -> Tensor:
        """Return z ``[N, O]`` of the attended streams."""
        return cast(Tensor, self.pool(audio, visual))


@register
class GlobalHead(BilinearHead):
    """G-FBP (zhou2021 eq. 12-14): the same pooling, after the attention of that paper."""

    name = "g-fbp"
    preset = AFEW


@register
class AdaptiveHead(BilinearHead):
    """AG-FBP (zhou2021 eq. 15-18): G-FBP of the attended vectors times their adaption factors.

    The factors scale each product by μη > 0. Normalising the length afterwards (``ag_norm``) would undo this:
    the factors then act only through the biases, and without biases this head equals G-FBP. The paper
    mentions this normalisation for G-FBP and M-FBP but not for AG-FBP, so it is off by default.
    """

    name = "ag-fbp"
    preset = AFEW
    options: ClassVar[Mapping[str, Any]] = {"ag_norm": False, "classifier_dropout": 0.0}
    adaptive = True

    def fuse(self, audio: Tensor, visual: Tensor) -> Tensor:
        return super().fuse(*adapted(audio, visual))


class TrunkHead(EmbeddingHead):
    """Base class of trunk heads, which cut clips into H trunks with one vector for each stream and trunk.

    A trunk's vector is the attention's weighted sum restricted to its frames: e^h = Σ_{i in h} e^i with e^i
    from zhou2021 eq. 5 and 10, so the vectors of all trunks add up to that of the whole clip, e^g. The paper
    achieves this by the stride of its audio pooling and by reshaping and summing the faces; here, frames and
    sound are assigned to trunks by their times. If a trunk has frames of only one stream, the other is zeros,
    as for a clip without sound. Trunks without frames are left out.
    """

    streams = (VISUAL, AUDIO)

    def __init__(self, settings: HeadSettings, features: Mapping[str, int], classes: int) -> None:
        super().__init__(settings, features, classes)
        assert settings.trunks is not None
        self.trunks = settings.trunks
        self.trunk_pool = TrunkBilinearPooling(
            self.sizes[AUDIO],
            self.sizes[VISUAL],
            self.trunks.count,
            self.trunks.outputs,
            self.trunks.factors,
            settings.dropout,
            settings.bias,
            signed_sqrt=settings.signed_sqrt,
        )

    def attend_trunks(self, batch: Batch) -> tuple[dict[str, Tensor], Tensor]:
        """Return stream → e^h ``[N, H, D']``, and a mask ``[N, H]`` of trunks with a frame of any stream."""
        encoded = self.encode(batch)
        trunks = cut(encoded, self.trunks.count, self.trunks.seconds)
        vectors = {}
        for name, stream in encoded.items():
            values, weights = self.attention_over(name).weigh(stream.values, stream.mask)
            vectors[name] = (weights.unsqueeze(-1) * trunks[name]).transpose(1, 2) @ values
        present = torch.stack([trunk.any(dim=1) for trunk in trunks.values()]).any(dim=0)
        return vectors, present


@register
class MultiLevelHead(TrunkHead):
    """M-FBP: the sum of a separate pooling for each trunk, normalised to length 1 (zhou2021 eq. 19).

    The paper is ambiguous. Eq. 19 covers trunks alone, and AM-FBP "combines" it with the whole clip; but
    M-FBP is also "in addition to G-FBP" (§III-E) and has "both global-trunk and intra-trunk data" (§IV-D).
    Eq. 19 is the default; ``whole`` selects the second reading: z of G-FBP followed by z of the trunks, as in
    AM-FBP.
    """

    name = "m-fbp"
    preset = AFEW
    uses = POOLING
    options: ClassVar[Mapping[str, Any]] = {
        "trunks": TrunkSettings(),
        "whole": False,
        "classifier_dropout": 0.0,
    }

    def __init__(self, settings: HeadSettings, features: Mapping[str, int], classes: int) -> None:
        super().__init__(settings, features, classes)
        self.pool = global_pooling(settings, self.sizes) if settings.whole else None
        own = settings.outputs if settings.whole else 0
        self.classify = nn.Linear(own + self.trunks.outputs, classes)

    @classmethod
    def acting(cls, settings: HeadSettings) -> frozenset[str]:
        return super().acting(settings) | (GLOBAL if settings.whole else frozenset())

    def embed(self, batch: Batch) -> Tensor:
        """Return z of the trunks ``[N, O']``; with ``whole``, preceded by z of the clip, ``[N, O + O']``."""
        vectors, present = self.attend_trunks(batch)
        trunks = cast(Tensor, self.trunk_pool(vectors[AUDIO], vectors[VISUAL], present))
        if self.pool is None:
            return trunks
        whole = self.pool(vectors[AUDIO].sum(dim=1), vectors[VISUAL].sum(dim=1))
        return torch.cat([whole, trunks], dim=-1)


@register
class AdaptiveMultiLevelHead(TrunkHead):
    """AM-FBP: AG-FBP of the whole clip and M-FBP of its trunks, concatenated (zhou2021 §III-E)."""

    name = "am-fbp"
    preset = AFEW
    uses = GLOBAL
    options: ClassVar[Mapping[str, Any]] = {
        "ag_norm": False,
        "trunks": TrunkSettings(),
        "classifier_dropout": 0.0,
    }
    adaptive = True

    def __init__(self, settings: HeadSettings, features: Mapping[str, int], classes: int) -> None:
        super().__init__(settings, features, classes)
        self.pool = global_pooling(settings, self.sizes)
        self.classify = nn.Linear(settings.outputs + self.trunks.outputs, classes)

    def embed(self, batch: Batch) -> Tensor:
        """Return z of the whole clip followed by z of its trunks, ``[N, O + O']``."""
        vectors, present = self.attend_trunks(batch)
        whole = adapted(vectors[AUDIO].sum(dim=1), vectors[VISUAL].sum(dim=1))
        trunks = self.trunk_pool(vectors[AUDIO], vectors[VISUAL], present)
        return torch.cat([self.pool(*whole), trunks], dim=-1)


def global_pooling(settings: HeadSettings, sizes: Mapping[str, int]) -> FactorizedBilinearPooling:
    """Build the pooling of the whole clip, with normalised length unless ``ag_norm`` is false."""
    return FactorizedBilinearPooling(
        sizes[AUDIO],
        sizes[VISUAL],
        settings.outputs,
        settings.factors,
        settings.dropout,
        settings.bias,
        settings.ag_norm is not False,
        settings.signed_sqrt,
    )
