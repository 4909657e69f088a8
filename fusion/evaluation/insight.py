"""Inspects trained members: attention over frames, adaption factors, embeddings and their t-SNE."""

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

FEWEST = 5  # clips for a t-SNE plane
DIMENSIONS = 50  # t-SNE's authors first reduce to 50 dimensions
PERPLEXITY = 30.0


@dataclass(frozen=True, eq=False)
class AttentionOverTime:
    """Attention over one stream of a clip.

    Attributes:
        times: ``[T]`` seconds of each vector within its clip.
        weights: ``[T]`` attention weights, adding up to 1; empty if the clip lacks the stream.
    """

    times: np.ndarray
    weights: np.ndarray


@dataclass(frozen=True, eq=False)
class Inspection:
    """Attention, factors and embeddings of N clips.

    Attributes:
        attention: stream → attention over each clip, weights averaged over members.
        factors: ``[N, 2]`` μ of the sound and η of the pictures, averaged over members (zhou2021 eq. 15-16);
            NaN for a clip that lacks a stream; None if the head has no adaption factors.
        before: ``[N, B]`` attended streams of all members, concatenated, so that squared distances are
            summed over members.
        after: ``[N, E]`` inputs of the members' classifiers, concatenated likewise; None if the head has no
            embedding, or if it equals ``before``.
    """

    attention: Mapping[str, Sequence[AttentionOverTime]]
    factors: np.ndarray | None
    before: np.ndarray
    after: np.ndarray | None


def inspect_members(members: Sequence[Member], corpus: Corpus, device: str = "cpu") -> Inspection:
    """Compute attention, factors and embeddings of all clips of ``corpus`` with ``members`` of one run.

    Raises:
        FusionError: their head has no attention over a clip's frames.
    """
    inspections = [_MemberInspection.of(member, corpus, resolve_device(device)) for member in members]
    first = inspections[0]
    attention = {
        stream: [
            AttentionOverTime(
                times[kept], np.mean([each.weights[stream][clip][kept] for each in inspections], axis=0)
            )
            for clip, (times, kept) in enumerate(zip(first.times[stream], first.masks[stream], strict=True))
        ]
        for stream in first.times
    }
    own_factors = [each.factors for each in inspections if each.factors is not None]
    factors = np.mean(own_factors, axis=0) if own_factors else None
    if factors is not None:
        lacking = np.any([[not len(one.weights) for one in clips] for clips in attention.values()], axis=0)
        factors[lacking] = np.nan
    before = np.concatenate([each.before for each in inspections], axis=1)
    after = None
    if first.after is not None:
        after = np.concatenate([each.after for each in inspections if each.after is not None], axis=1)
        if after.shape == before.shape and np.allclose(after, before, atol=1e-5):
            after = None
    return Inspection(attention, factors, before, after)


def plane(values: np.ndarray, seed: int = 0) -> np.ndarray:
    """Project ``[N, D]`` onto points ``[N, 2]`` by t-SNE (van der Maaten & Hinton 2008).

    t-SNE runs on the first 50 principal components. Only neighbourhoods are meaningful; distances between
    groups, their sizes and the axes are not.

    Raises:
        FusionError: there are fewer than five clips, a value is not finite, or all embeddings are the same.
    """
    if len(values) < FEWEST:
        raise FusionError(f"{len(values)} clips are too few for t-SNE; it needs {FEWEST} or more")
    if not np.isfinite(values).all():
        raise FusionError("some embeddings are not finite, so t-SNE cannot show them")
    if values.shape[1] > DIMENSIONS < len(values):
        values = PCA(DIMENSIONS, random_state=seed).fit_transform(values)
    if not values.std(axis=0).any():
        raise FusionError("all embeddings are the same, so t-SNE cannot show them")
    perplexity = min(PERPLEXITY, (len(values) - 1) / 3)
    points = TSNE(perplexity=perplexity, init="pca", random_state=seed).fit_transform(values)
    return np.asarray(points, dtype=np.float64)


@dataclass(frozen=True, eq=False)
class _MemberInspection:
    """One member's attention and embeddings. Stream → one ``[T]`` array per clip, padded like its batch."""

    times: Mapping[str, list[np.ndarray]]
    masks: Mapping[str, list[np.ndarray]]
    weights: Mapping[str, list[np.ndarray]]
    factors: np.ndarray | None
    before: np.ndarray
    after: np.ndarray | None

    @classmethod
    @torch.no_grad()
    def of(cls, member: Member, corpus: Corpus, device: str) -> _MemberInspection:
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
