"""Find labelled recordings of speech in a folder or a manifest, and what cannot be used."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from ...cache.clips import Clip
from ...pretrain.errors import PretrainError
from ...pretrain.pictures import Skipped
from ...pretrain.recordings import Recording, RecordingSet
from ..corpora.clips.find import find_clips
from ..corpora.clips.folders import empty_class_folders
from ..corpora.clips.found import ONLY_SPLIT, SPLITS, below, count_of
from ..corpora.clips.schemes import SCHEMES
from ..corpora.images.found import class_names

_TITLES = tuple(scheme.title for scheme in SCHEMES.values() if scheme.pattern or scheme.name == "afew")


def find_recordings(
    path: Path,
    dataset: str = "auto",
    *,
    manifest: Path | None = None,
    pattern: str = "",
    labels: Mapping[str, str] | None = None,
    others: str = "keep",
    without: Iterable[str] = (),
) -> RecordingSet:
    """Find the labelled recordings in a folder, or those that a manifest lists.

    Args:
        path: a folder, or a CSV as for ``avemo-extract --manifest``.
        dataset: name of the data set; for this and all but the last argument see :func:`.find_clips`.
        manifest: a CSV that lists recordings of the folder.
        pattern: pattern of the file names.
        labels: class in small letters → class wanted; others are left out. None for all.
        others: what to do with classes other than the seven emotions.
        without: wanted classes to leave out.

    Raises:
        DatasetError: no recordings are found, or an option is invalid.
        PretrainError: no recording is labelled, or a name is unknown.
    """
    listed = path.is_file() and path.suffix.lower() == ".csv"
    found = find_clips(
        path, dataset, path if listed else manifest, pattern=pattern, labels=labels, others=others
    )
    root = (path.parent if listed else path).absolute()
    clips = [clip for clip in found.clips if clip.label]
    if not clips:
        raise PretrainError(
            f"no recording in '{path}' has a label. Expected a CSV with the columns path and label, a folder "
            "of a known data set (`avemo datasets list`), class folders, or a --pattern with {emotion}"
        )
    dropped = set(without)
    name = found.dataset if found.dataset in _TITLES else path.resolve().stem
    present = {str(clip.label) for clip in clips}
    told = {label.casefold(): label for label in present} if labels else None
    wanted, classes = class_names(name, present, told, dropped)
    recordings = tuple(
        _recording(clip, root, wanted) for clip in clips if wanted[str(clip.label)] not in dropped
    )
    unlabelled = len(found.clips) - len(clips)
    notes = [*found.notes]
    if unlabelled:
        notes.append(f"{count_of(unlabelled, 'recording')} without a label left out")
    if dropped:
        count = count_of(len(clips) - len(recordings), "recording")
        notes.append(f"{count} of {', '.join(sorted(dropped))} left out, as asked")
    skipped = [Skipped(item.path, item.why) for item in found.problems]
    skipped += [
        Skipped(folder, "a class folder without any recording")
        for folder in empty_class_folders(((Path(clip.path), clip.label) for clip in found.clips), root)
    ]
    return RecordingSet(name, classes, recordings, tuple(skipped), tuple(notes))


def _recording(clip: Clip, root: Path, wanted: Mapping[str, str]) -> Recording:
    if clip.split not in (ONLY_SPLIT, *SPLITS):
        raise PretrainError(
            f"{below(root, clip.path)} is of split {clip.split!r}: expected {', '.join(SPLITS)} or none"
        )
    part = "" if clip.split == ONLY_SPLIT else clip.split
    name = below(root, clip.path)
    return Recording(name, Path(clip.path), wanted[str(clip.label)], part, clip.subject or "")
