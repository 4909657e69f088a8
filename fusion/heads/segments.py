"""The head of segments: priyasad2019 §3.3-3.4."""

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

AT_ONCE = 512  # segments: at the paper's sizes under a gigabyte
TIES = 1e-6  # of the mean posterior in the shares of a vote: too little to outvote a segment


class SalientFusion(nn.Module):
    """Attention over what is merged of both streams (priyasad2019 eq. 5-7)::

        h_t = tanh(W_h c_t + b_h)
        β_t = exp(|h_t|ᵀ ĥ) / Σ_t exp(|h_t|ᵀ ĥ)
        q   = Σ_t β_t c_t

    The paper does not say what t counts. A segment has one vector of its sound, and one of its faces where
    that is the last output of the LSTM: merged, they are a single c, whose β is 1, so that q is c and eq. 5
    and 6 do nothing. Over the segments of a clip there would be one q a clip, and it is segments that the
    paper classifies, and lets vote. So t runs over a segment's frames: c_t is the output of the LSTM at
    frame t beside the segment's sound, and β picks the salient frames in the light of the sound. The sound
    is the same in all c_t and comes out as it went in. |h_t| is, as printed, the absolute value of each of
    its elements; ĥ is learnt from random values.

    Args:
        seen, heard: values of the LSTM's output and of the sound.
        hidden: m values of h_t, which the paper does not print.
    """

    def __init__(self, seen: int, heard: int, hidden: int) -> None:
        super().__init__()
        self.sizes = [seen, heard]
        self.hidden = nn.Linear(seen + heard, hidden)
        self.context = nn.Linear(hidden, 1, bias=False)

    def forward(self, seen: Tensor, heard: Tensor, mask: Tensor) -> Tensor:
        """``[M, L, D]`` outputs at frames, ``[M, A]`` sound and ``[M, L]``, true where a frame is, to q
        ``[M, D + A]``."""
        of_seen, of_heard = torch.split(self.hidden.weight, self.sizes, dim=1)  # so that no c_t is laid out
        sound = functional.linear(heard, of_heard, self.hidden.bias)
        h = torch.tanh(functional.linear(seen, of_seen) + sound.unsqueeze(1))
        beta = masked_softmax(self.context(h.abs()).squeeze(-1), mask)
        return torch.cat([weighted_sum(seen, beta), heard], dim=-1)


@register
class SegmentHead(Head):
    """An LSTM over the frames of each segment, :class:`SalientFusion` with its sound, dense layers, a
    softmax; the segments of a clip vote (priyasad2019 fig. 2).

    A segment whose frames have no face, or a clip without pictures, has zeros for the LSTM's output; a clip
    without sound zeros for the sound, which in standardised values is the training clips' mean. A clip with
    neither is one segment of zeros, judged by the biases alone.

    Training sees segments, each with its clip's class, all of a batch alike; its batches are of clips.
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
        """Logits ``[M, C]`` of the segments of all clips, one after the other."""
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
        merged[:, 0] |= ~given.any(dim=1)  # a sum over no frame would lose the sound
        q = self.fuse(seen, heard, merged)
        return self.classify(self.dense(self.dropout(q, rows)))

    def settle(self, logits: Tensor, batch: Batch) -> Tensor:
        """Of segments ``[M, C]`` to clips: the logarithm of the share of segments that each class wins, ties
        broken by the mean posterior; or of the mean posterior itself. ``[N, C]`` float64; a softmax leaves
        it as it is.
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
        """Logits ``[N, C]``."""
        return self.settle(self.judge(batch), batch)

    def criterion(self, batch: Batch, targets: Tensor) -> tuple[Tensor, Tensor]:
        """The mean cross-entropy of segments with their clip's class, and the clips' logits."""
        logits = self.judge(batch)
        counts = batch[SEGMENTS].mask.sum(dim=1)
        return functional.cross_entropy(logits, targets.repeat_interleave(counts)), self.settle(logits, batch)


def _summed(values: Tensor, mask: Tensor) -> Tensor:
    """Segments' ``[M, C]`` summed to their clips' ``[N, C]``."""
    clips = mask.nonzero(as_tuple=True)[0]
    return values.new_zeros(len(mask), values.shape[1]).index_add(0, clips, values)
