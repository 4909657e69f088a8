"""Insight into trained members: attention over frames, adaption factors, embeddings and their t-SNE."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE
from torch import Tensor

from ..errors import FusionError
from ..features.corpus import Corpus
from ..features.recipes import AUDIO, VISUAL
from ..heads.attention import weighted_sum
from ..heads.base import AttentiveHead, EmbeddingHead
from ..heads.bilinear import adaption_factors
from ..training.batches import Batcher
from ..training.training import PREDICT_BATCH, Member, one_thread, resolve_device

FEWEST = 5  # clips of which a plane can be told
DIMENSIONS = 50  # t-SNE's authors reduce to as many first
PERPLEXITY = 30.0


@dataclass(frozen=True, eq=False)
class AttentionOverTime:
    """Attention over one stream of a clip.

    Attributes:
        times: ``[T]`` seconds of each vector, in its clip.
        weights: ``[T]`` share of each in the sum, of sum 1; empty for a clip without the stream.
    """

    times: np.ndarray
    weights: np.ndarray


@dataclass(frozen=True, eq=False)
class Insight:
    """Attention, factors and embeddings of N clips.

    Attributes:
        attention: stream → each clip's, weights averaged over members.
        factors: ``[N, 2]`` μ of the sound and η of the pictures, averaged over members (zhou2021 eq. 15-16);
            NaN for a clip without both streams; None if the head has none.
        before: ``[N, B]`` the attended streams of all members side by side, so that squared distances are
            summed over members.
        after: ``[N, E]`` what the members' classifiers read, side by side alike; None if the head makes no
            embedding, or none but ``before``.
    """

    attention: Mapping[str, Sequence[AttentionOverTime]]
    factors: np.ndarray | None
    before: np.ndarray
    after: np.ndarray | None


def look(members: Sequence[Member], corpus: Corpus, device: str = "cpu") -> Insight:
    """What ``members`` of one run make of all clips of ``corpus``.

    Raises:
        FusionError: their head has no attention over a clip's frames.
    """
    views = [_View.of(member, corpus, resolve_device(device)) for member in members]
    first = views[0]
    attention = {
        stream: [
            AttentionOverTime(
                times[kept], np.mean([view.weights[stream][clip][kept] for view in views], axis=0)
            )
            for clip, (times, kept) in enumerate(zip(first.times[stream], first.masks[stream], strict=True))
        ]
        for stream in first.times
    }
    each = [view.factors for view in views if view.factors is not None]
    factors = np.mean(each, axis=0) if each else None
    if factors is not None:
        lacking = np.any([[not len(one.weights) for one in clips] for clips in attention.values()], axis=0)
        factors[lacking] = np.nan
    before = np.concatenate([view.before for view in views], axis=1)
    after = None
    if first.after is not None:
        after = np.concatenate([view.after for view in views if view.after is not None], axis=1)
        if after.shape == before.shape and np.allclose(after, before, atol=1e-5):
            after = None
    return Insight(attention, factors, before, after)


def plane(values: np.ndarray, seed: int = 0) -> np.ndarray:
    """``[N, D]`` as points ``[N, 2]`` with the same neighbours: t-SNE (van der Maaten & Hinton 2008) of the
    first 50 principal components.

    Only who is near whom tells something; distances between groups, their sizes and the axes do not.

    Raises:
        FusionError: there are fewer than five clips, or a value is not finite.
    """
    if len(values) < FEWEST:
        raise FusionError(f"{len(values)} clips; a plane needs {FEWEST} or more")
    if not np.isfinite(values).all():
        raise FusionError("there are embeddings that are not finite, so they have no plane")
    if values.shape[1] > DIMENSIONS < len(values):
        values = PCA(DIMENSIONS, random_state=seed).fit_transform(values)
    if not values.std(axis=0).any():
        raise FusionError("all embeddings are the same, so they have no plane")
    perplexity = min(PERPLEXITY, (len(values) - 1) / 3)
    points = TSNE(perplexity=perplexity, init="pca", random_state=seed).fit_transform(values)
    return np.asarray(points, dtype=np.float64)


@dataclass(frozen=True, eq=False)
class _View:
    """Of one member, a clip at a time: stream → ``[T]`` arrays, padded as its batch was."""

    times: Mapping[str, list[np.ndarray]]
    masks: Mapping[str, list[np.ndarray]]
    weights: Mapping[str, list[np.ndarray]]
    factors: np.ndarray | None
    before: np.ndarray
    after: np.ndarray | None

    @classmethod
    @torch.no_grad()
    def of(cls, member: Member, corpus: Corpus, device: str) -> _View:
        head = member.head.to(device).eval()
        if not isinstance(head, AttentiveHead):
            raise FusionError(f"the head {head.name} has no attention over all frames of a clip")
        batcher = Batcher(corpus.streams, member.standardisations, device, corpus.segments)
        times: dict[str, list[np.ndarray]] = {stream: [] for stream in head.streams}
        masks: dict[str, list[np.ndarray]] = {stream: [] for stream in head.streams}
        weights: dict[str, list[np.ndarray]] = {stream: [] for stream in head.streams}
        factors, before, after = [], [], []
        with one_thread():
            for clips in torch.split(torch.arange(len(corpus.clips), device=device), PREDICT_BATCH):
                batch = batcher(clips)
                attended: dict[str, Tensor] = {}
                for stream, encoded in head.encode(batch).items():
                    values, given = head.attention_over(stream).weigh(encoded.values, encoded.mask)
                    attended[stream] = weighted_sum(values, given)
                    times[stream] += list(encoded.times.cpu().numpy())
                    masks[stream] += list(encoded.mask.cpu().numpy())
                    weights[stream] += list(given.cpu().numpy())
                before.append(torch.cat(list(attended.values()), dim=1))
                if isinstance(head, EmbeddingHead):
                    after.append(head.embed(batch))
                    if head.adaptive:
                        factors.append(torch.cat(adaption_factors(attended[AUDIO], attended[VISUAL]), dim=1))
        return cls(times, masks, weights, _joined(factors), torch.cat(before).cpu().numpy(), _joined(after))


def _joined(parts: Sequence[Tensor]) -> np.ndarray | None:
    return torch.cat(list(parts)).cpu().numpy() if parts else None
