"""Finds the clips of a folder, pattern or manifest, recognises the data set and lists unusable files."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path, PurePosixPath

from ...errors import DatasetError, NotThisDataset
from .folders import find_afew, find_class_folders, find_flat
from .found import FITTING_SHARE, FoundClips, first_of
from .iemocap import find_iemocap
from .labels import names_an_emotion, with_labels
from .manifest import read_manifest
from .names import find_by_scheme
from .scan import MEDIA_SUFFIXES, Tree, is_media, scan
from .schemes import SCHEMES, Scheme

__all__ = ["DATASETS", "FoundClips", "find_clips"]


ASKING_SHARE = 0.5
"""If this share of files or more, but less than ``FITTING_SHARE``, fits a data set, the user must choose."""

SHOWN = 12  # number of folders listed in an error

_HINT = "otherwise describe them with --dataset, --pattern or --manifest"

DATASETS = ("auto", *SCHEMES)


def _read(tree: Tree, scheme: Scheme, named: bool = False) -> FoundClips:
    """Return the clips of a tree, found by the scheme's reader.

    Readers are less strict if the user ``named`` the data set.

    Raises:
        NotThisDataset: the tree has another layout.
    """
    if scheme.reader == "pattern":
        found = find_by_scheme(tree, scheme, share=0 if named else FITTING_SHARE)
    elif scheme.reader == "afew":
        found = find_afew(tree, named)
    elif scheme.reader == "iemocap":
        found = find_iemocap(tree, scheme)
    elif scheme.reader == "folders":
        found = find_class_folders(tree)
        if not named:
            _require_emotions(found)
    else:
        found = find_flat(tree)
    return replace(found, name=scheme.name)


def _require_emotions(found: FoundClips) -> None:
    """Refuse class folders of which fewer than half are named after emotions: they may not be classes."""
    names = {clip.label for clip in found.clips if clip.label}
    if 2 * sum(map(names_an_emotion, names)) < len(names):
        raise NotThisDataset(
            f"most folders are not named after an emotion: {', '.join(sorted(names)[:SHOWN])}"
        )


def find_clips(
    root: Path,
    dataset: str = "auto",
    manifest: Path | None = None,
    *,
    pattern: str = "",
    labels: Mapping[str, str] | None = None,
    others: str = "keep",
) -> FoundClips:
    """Find the clips below a folder or in a manifest.

    Args:
        root: folder, or a single media file (unlabelled unless ``dataset`` or ``pattern`` is given).
        dataset: one of :data:`DATASETS`; ``auto`` takes the first that fits.
        manifest: CSV that lists the clips, with paths relative to its folder.
        pattern: pattern of folder and file names, see :class:`.PathPattern`; instead of a data set.
        labels, others: classes to keep, see :func:`.with_labels`.

    Raises:
        DatasetError: there are no clips, or the manifest or pattern is invalid.
        NotThisDataset: the folder does not have the layout of ``dataset`` or ``pattern``.
    """
    return with_labels(_find(root, dataset, manifest, pattern), labels, others)


def _find(root: Path, dataset: str, manifest: Path | None, pattern: str) -> FoundClips:
    if dataset not in DATASETS:
        raise DatasetError(f"no data set '{dataset}', expected one of {', '.join(DATASETS)}")
    sources = {"a manifest": manifest, f"the data set '{dataset}'": dataset != "auto", "a pattern": pattern}
    given = [what for what, is_given in sources.items() if is_given]
    if len(given) > 1:
        raise DatasetError(f"both {' and '.join(given[:2])} are given: omit one of them")
    if manifest is not None:
        return read_manifest(manifest)
    if pattern:
        scheme = Scheme("", example=pattern, title=f"pattern {pattern}", pattern=pattern)
        assert scheme.paths  # raises for an invalid pattern before any folder is searched
        return _read_named(tree_of(root), scheme)
    tree = tree_of(root)
    if dataset != "auto":
        return _read_named(tree, SCHEMES[dataset])
    if root.is_file():
        return replace(_read_named(tree, SCHEMES["flat"]), files_named=True)
    return _first_that_fits(tree)


def find_files(files: Sequence[Path]) -> FoundClips:
    """Return media files as unlabelled clips. Ids are file names, or paths if two files share a name.

    Raises:
        DatasetError: a file is not a media file.
    """
    paths = [PurePosixPath(tree.root) / tree.files[0] for tree in map(_tree_of_file, files)]
    root = Path(os.path.commonpath([path.parent for path in paths]))
    tree = Tree(root, list(dict.fromkeys(path.relative_to(root) for path in paths)), [])
    found = replace(_read_named(tree, SCHEMES["flat"]), files_named=True)
    names = [Path(clip.path).stem for clip in found.clips]
    if len({*names}) < len(names):
        return found
    return replace(
        found, clips=[replace(clip, id=name) for clip, name in zip(found.clips, names, strict=True)]
    )


def tree_of(root: Path) -> Tree:
    """Return the media files below ``root``, at least one.

    Raises:
        DatasetError: there are none.
    """
    if root.is_file():
        return _tree_of_file(root)
    if not root.is_dir():
        raise DatasetError(f"'{root}' does not exist: name a folder of clips")
    tree = scan(root)
    if not tree.files:
        unusable = "".join(f"; '{item.path}': {item.why}" for item in tree.left_out[:3])
        layouts = "\n".join(f"  {scheme.name}: {scheme.example}" for scheme in SCHEMES.values())
        raise DatasetError(
            f"no clips in '{root}'{unusable}. Expected files ending in {_suffixes()}, laid out as\n"
            f"{layouts}\nor named by --pattern, or listed by --manifest CSV"
        )
    return tree


def _tree_of_file(file: Path) -> Tree:
    if not is_media(file.name):
        raise DatasetError(
            f"'{file}' is not named like a video or sound file ({_suffixes()}): "
            "name a folder or a clip, or a CSV with --manifest"
        )
    return Tree(file.absolute().parent, [PurePosixPath(file.name)], [])


def _suffixes() -> str:
    return " ".join(sorted(MEDIA_SUFFIXES))


def _read_named(tree: Tree, scheme: Scheme) -> FoundClips:
    try:
        return _read(tree, scheme, named=True)
    except NotThisDataset as error:
        named = f" is not laid out as '{scheme.name}'" if scheme.name else ""
        raise NotThisDataset(f"'{tree.root}'{named}: {error}") from error


def _first_that_fits(tree: Tree) -> FoundClips:
    for scheme in SCHEMES.values():
        if scheme.name == "flat":
            _require_no_better_guess(tree)
        with suppress(NotThisDataset):
            return _read(tree, scheme)
    raise AssertionError("any folder fits 'flat'")


def _require_no_better_guess(tree: Tree) -> None:
    """Make the user decide if labels might be lost or made up.

    Raises:
        DatasetError: many files are named like a data set's, or the folders may be classes.
    """
    for scheme in (scheme for scheme in SCHEMES.values() if scheme.pattern):
        with suppress(NotThisDataset):
            found = find_by_scheme(tree, scheme, share=ASKING_SHARE)
            raise DatasetError(
                f"'{tree.root}': {len(found.clips)} of {len(tree.files)} files are named like those of "
                f"{scheme.title}, too few to be sure; the first that is not: {_first_unused(found)}. "
                f"--dataset {scheme.name} uses only these files, --dataset flat all as unlabelled clips; "
                f"{_HINT}"
            )
    with suppress(NotThisDataset):
        counts = Counter(str(clip.label) for clip in find_class_folders(tree).clips if clip.label)
        folders = [f"{name} {count}" for name, count in counts.most_common()]
        raise DatasetError(
            f"'{tree.root}': its folders may be classes, but most are not named after an emotion: "
            f"{first_of(folders, SHOWN)}. "
            f"--dataset folders uses them as classes, --dataset flat ignores them; {_HINT}"
        )


def _first_unused(found: FoundClips) -> str:
    unused = next((item for item in found.problems if item.detail), None) or found.left_out[0]
    return f"'{unused.path}'"
