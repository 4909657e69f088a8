"""Normalises each subject by its own clips. This is transductive, and results must say so."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ..errors import FusionError
from ..training.batches import Standardisation
from .corpus import Corpus, Sequences


def per_subject(corpus: Corpus) -> Corpus:
    """Normalise every stream to zero mean and unit variance over all vectors of each subject's clips.

    Labels are not used, but all clips of a test subject must be available at once: results are
    *transductive* and do not hold for the first clip of a new person. The usual standardisation within folds
    still follows.

    Raises:
        FusionError: a clip has no subject.
    """
    unnamed = [str(clip) for clip in corpus.clips if not clip.subject]
    if unnamed:
        raise FusionError(
            f"{len(unnamed)} of {len(corpus.clips)} clips name no subject to normalise by: "
            f"{', '.join(unnamed[:3])}{' and others' if len(unnamed) > 3 else ''}; give each its subject in "
            "the manifest, or leave out --normalise subject"
        )
    subjects = [str(clip.subject) for clip in corpus.clips]
    return replace(
        corpus,
        streams={name: _normalised(sequences, subjects) for name, sequences in corpus.streams.items()},
    )


def _normalised(sequences: Sequences, subjects: Sequence[str]) -> Sequences:
    of_clips = np.array(subjects)
    values = np.empty_like(sequences.values)
    for subject in dict.fromkeys(subjects):
        clips = np.flatnonzero(of_clips == subject)
        own = sequences.frames_of(clips)
        standard = Standardisation.of(sequences, clips)
        values[own] = (sequences.values[own] - standard.mean) * standard.scale
    return replace(sequences, values=values)
