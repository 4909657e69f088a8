"""The segment head (priyasad2019 §3.3-3.4)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..features.recipes import AUDIO, RECIPES, VISUAL
from ..features.segments import NONE
from ..training.batches import SEGMENTS, Batch
from .attention import masked_softmax, weighted_sum
from .base import Head, register
from .dropout import Dropout, places
from .settings import MAJORITY, HeadSettings, SegmentSettings

AT_ONCE = 512  # segments per pass; under a gigabyte at the paper's sizes
TIES = 1e-6  # weight of the mean posterior in a vote: breaks ties but cannot outvote a segment


class SalientFusion(nn.Module):
    """Attention over the merged streams (priyasad2019 eq. 5-7)::

        h_t = tanh(W_h c_t + b_h)
        β_t = exp(|h_t|ᵀ ĥ) / Σ_t exp(|h_t|ᵀ ĥ)
        q   = Σ_t β_t c_t

    The paper does not define t. If the faces of a segment were only the last output of the LSTM, there would
    be a single merged vector c with β = 1, and eq. 5 and 6 would have no effect. If t ran over the segments
    of a clip, there would be one q per clip, but the paper classifies segments and lets them vote. So t runs
    over the frames of a segment: c_t is the LSTM output at frame t concatenated with the segment's sound, and
    β selects the salient frames given the sound. The sound is the same in all c_t and passes through
    unchanged. |h_t| is the elementwise absolute value, as printed; ĥ is learnt from random values.

    Args:
        seen: length of the LSTM's output.
        heard: length of the sound vector.
        hidden: m, length of h_t, which the paper does not give.
    """

    def __init__(self, seen: int, heard: int, hidden: int) -> None:
        super().__init__()
        self.sizes = [seen, heard]
        self.hidden = nn.Linear(seen + heard, hidden)
        self.context = nn.Linear(hidden, 1, bias=False)

    def forward(self, seen: Tensor, heard: Tensor, mask: Tensor) -> Tensor:
        """Return q ``[M, D + A]`` of LSTM outputs ``[M, L, D]``, sound ``[M, A]`` and a mask ``[M, L]``."""
        of_seen, of_heard = torch.split(self.hidden.weight, self.sizes, dim=1)  # avoids building every c_t
        sound = functional.linear(heard, of_heard, self.hidden.bias)
        h = torch.tanh(functional.linear(seen, of_seen) + sound.unsqueeze(1))
        beta = masked_softmax(self.context(h.abs()).squeeze(-1), mask)
        return torch.cat([weighted_sum(seen, beta), heard], dim=-1)


@register
class SegmentHead(Head):
    """Classifies the segments of a clip, which then vote (priyasad2019 fig. 2).

    Each segment passes through an LSTM over its frames, :class:`SalientFusion` with its sound, dense layers
    and a softmax. Segments without faces have zeros for the LSTM output. Clips without sound have zeros for
    the sound (the training clips' mean, as values are standardised). A clip with neither is one segment of
    zeros, classified by the biases alone.

    Batches consist of clips. Training classifies each of their segments with the clip's class, and all
    segments of a batch have equal weight.
    """

    name = "segments"
    streams = (VISUAL, AUDIO)
    reads: ClassVar[Mapping[str, tuple[str, ...]]] = {
        AUDIO: tuple(recipe.name for recipe in RECIPES.values() if recipe.segments)
    }
    options: ClassVar[Mapping[str, Any]] = {"segments": SegmentSettings()}
    uses = frozenset({"dropout", "hidden"})
    stackable = False  # torch has no rule for stacking an LSTM
    cost = 10

    def __init__(self, settings: HeadSettings, features: Mapping[str, int], classes: int) -> None:
        super().__init__(settings, features, classes)
        assert settings.segments is not None
        self.majority = settings.segments.vote == MAJORITY
        self.lstm = nn.LSTM(features[VISUAL], settings.segments.lstm, batch_first=True)
        self.fuse = SalientFusion(settings.segments.lstm, features[AUDIO], settings.hidden)
        self.dropout = Dropout(settings.dropout)
        fused = settings.segments.lstm + features[AUDIO]
        dense = settings.segments.dense
        self.dense = nn.Sequential(nn.Linear(fused, dense), nn.ReLU()) if dense else nn.Identity()
        self.classify = nn.Linear(dense or fused, classes)

    def judge(self, batch: Batch) -> Tensor:
        """Return logits ``[M, C]`` of the segments of all clips, concatenated."""
        pictures, sound, segments = batch[VISUAL], batch[AUDIO], batch[SEGMENTS]
        heard = sound.values * sound.mask.unsqueeze(-1)
        heard = functional.pad(heard, (0, 0, 0, segments.mask.shape[1] - heard.shape[1]))
        clips = torch.arange(len(heard), device=heard.device).unsqueeze(1).expand_as(segments.mask)
        whole = (clips, segments.values, heard, places(segments.values))
        parts = zip(*(torch.split(each[segments.mask], AT_ONCE) for each in whole), strict=True)
        return torch.cat([self._judge(pictures.values, *part) for part in parts])

    def _judge(self, pictures: Tensor, clips: Tensor, frames: Tensor, heard: Tensor, rows: Tensor) -> Tensor:
        given = frames != NONE
        x = pictures[clips.unsqueeze(1), frames.clamp(min=0)]
        seen = self.lstm(x)[0] * given.unsqueeze(-1)
        merged = given.clone()
        merged[:, 0] |= ~given.any(dim=1)  # keep one frame: a sum over none would lose the sound
        q = self.fuse(seen, heard, merged)
        return self.classify(self.dense(self.dropout(q, rows)))

    def settle(self, logits: Tensor, batch: Batch) -> Tensor:
        """Combine logits of segments ``[M, C]`` into log scores of clips ``[N, C]``, float64.

        A clip's scores are the share of segments that each class wins, with ties broken by the mean
        posterior; or the mean posterior itself. Softmax of the result gives back these scores.
        """
        mask = batch[SEGMENTS].mask
        counts = mask.sum(dim=1, keepdim=True)
        posteriors = logits.double().softmax(dim=1)
        mean = _summed(posteriors, mask) / counts
        if not self.majority:
            return mean.log()
        votes = functional.one_hot(logits.argmax(dim=1), logits.shape[1]).double()
        return torch.lerp(_summed(votes, mask) / counts, mean, TIES).log()

    def forward(self, batch: Batch) -> Tensor:
        """Return logits ``[N, C]``."""
        return self.settle(self.judge(batch), batch)

    def criterion(self, batch: Batch, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Return the mean cross-entropy of segments with their clip's class, and the clips' logits."""
        logits = self.judge(batch)
        counts = batch[SEGMENTS].mask.sum(dim=1)
        return functional.cross_entropy(logits, targets.repeat_interleave(counts)), self.settle(logits, batch)


def _summed(values: Tensor, mask: Tensor) -> Tensor:
    """Sum the values of segments ``[M, C]`` over each clip, ``[N, C]``."""
    clips = mask.nonzero(as_tuple=True)[0]
    return values.new_zeros(len(mask), values.shape[1]).index_add(0, clips, values)
