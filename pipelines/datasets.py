"""From a folder or a manifest to clips: which data set it is, and what of it cannot be used."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath

from .dataset_folders import find_afew, find_class_folders, find_flat
from .dataset_found import DatasetError, Found, NotThisDataset
from .dataset_iemocap import find_iemocap
from .dataset_manifest import read_manifest
from .dataset_names import NAME_PATTERNS, find_by_name
from .dataset_scan import MEDIA_SUFFIXES, Tree, is_media, scan

__all__ = ["ADAPTERS", "DATASETS", "DatasetError", "Found", "NotThisDataset", "find_clips"]


@dataclass(frozen=True)
class Adapter:
    """A data set by name, an example of its layout, and what finds its clips or raises NotThisDataset."""

    name: str
    layout: str
    find: Callable[[Tree], Found]


ADAPTERS = {
    adapter.name: adapter
    for adapter in (
        Adapter("afew", "Train_AFEW/Happy/000046280.avi, Val_AFEW/…, Test_AFEW/000046280.avi", find_afew),
        *(
            Adapter(pattern.name, pattern.shape, partial(find_by_name, pattern=pattern))
            for pattern in NAME_PATTERNS
        ),
        Adapter(
            "iemocap",
            "Session1/sentences/wav/Ses01F_impro01/Ses01F_impro01_F000.wav, … (improvised, not excited)",
            find_iemocap,
        ),
        Adapter("iemocap-exc", "the same, excited as happy", partial(find_iemocap, excited=True)),
        Adapter(
            "iemocap-all",
            "the same, excited as happy, scripted too",
            partial(find_iemocap, excited=True, scripted=True),
        ),
        Adapter("folders", "Happy/one.mp4, Sad/two.mp4, or train/Happy/one.mp4, …", find_class_folders),
        Adapter("flat", "one.mp4, two.mp4 (unlabelled)", find_flat),
    )
}
"""The known data sets, in the order in which they are tried."""

DATASETS = ("auto", *ADAPTERS)


def find_clips(root: Path, dataset: str = "auto", manifest: Path | None = None) -> Found:
    """Find the clips below a folder, or those that a manifest lists.

    :param root: a folder, or one media file (an unlabelled clip unless ``dataset`` is named)
    :param dataset: one of :data:`DATASETS`; ``auto`` takes the first that fits
    :param manifest: a CSV that says what the clips are; its paths are relative to its own folder
    :raises DatasetError: nothing to find, or a manifest that cannot be read
    :raises NotThisDataset: a folder that is not laid out as the ``dataset`` named
    """
    if dataset not in DATASETS:
        raise DatasetError(f"no data set '{dataset}', expected one of {', '.join(DATASETS)}")
    if manifest is not None:
        if dataset != "auto":
            raise DatasetError(
                f"both a manifest and the data set '{dataset}' are named: leave one of them out"
            )
        return read_manifest(manifest)
    tree = _tree(root)
    if dataset != "auto":
        return _as_named(tree, ADAPTERS[dataset])
    if root.is_file():
        return ADAPTERS["flat"].find(tree)
    return _first_that_fits(tree)


def _tree(root: Path) -> Tree:
    """The media files below ``root``, at least one."""
    if root.is_file():
        if not is_media(root.name):
            raise DatasetError(
                f"'{root}' is not named like a video or a sound ({_suffixes()}): "
                "name a folder or a clip, and a CSV by --manifest"
            )
        return Tree(root.absolute().parent, [PurePosixPath(root.name)], [])
    if not root.is_dir():
        raise DatasetError(f"'{root}' does not exist: name a folder of clips")
    tree = scan(root)
    if not tree.files:
        unusable = "".join(f"; '{path}': {reason}" for path, reason, _ in tree.left_out[:3])
        layouts = "\n".join(f"  {adapter.name}: {adapter.layout}" for adapter in ADAPTERS.values())
        raise DatasetError(
            f"no clips in '{root}'{unusable}. Expected files ending in {_suffixes()}, laid out as\n"
            f"{layouts}\nor listed by --manifest CSV"
        )
    return tree


def _suffixes() -> str:
    return " ".join(sorted(MEDIA_SUFFIXES))


def _as_named(tree: Tree, adapter: Adapter) -> Found:
    try:
        return adapter.find(tree)
    except NotThisDataset as error:
        raise NotThisDataset(f"'{tree.root}' is not laid out as '{adapter.name}': {error}") from error


def _first_that_fits(tree: Tree) -> Found:
    for adapter in ADAPTERS.values():
        with suppress(NotThisDataset):
            return adapter.find(tree)
    return find_flat(tree)
