"""Finds the clips of a corpus whose paths contain their labels."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace
from pathlib import PurePosixPath

from ....cache.clips import Clip
from ...errors import NotThisDataset
from .folders import FOLDER_SPLITS
from .found import HOLDS, MOST, ONLY_SPLIT, WHOLE, Copy, FoundClips, holds, one_per_recording
from .pattern import Named
from .scan import LeftOut, Tree
from .schemes import Scheme
from .table import Key, Labels

SHOWN = 3  # number of mismatched names explained in an error


def find_by_scheme(tree: Tree, scheme: Scheme, share: float = MOST) -> FoundClips:
    """Find the clips whose paths match a scheme's pattern, and read its label tables if it has any.

    Args:
        tree: the corpus, or a folder of it.
        scheme: naming scheme of the files.
        share: share of files that must match, 0 to 1; at least one must.

    Raises:
        NotThisDataset: too few files match.
        DatasetError: the pattern or a label table is invalid.
    """
    paths = [_uncorrected(path, scheme) for path in tree.stems]
    named = [scheme.paths.match(path) for path in paths]
    if not any(named) and paths:  # the root's own name may be part of the pattern
        paths = [f"{tree.root.name}/{path}" for path in paths]
        named = [scheme.paths.match(path) for path in paths]
    strangers = [i for i, each in enumerate(named) if each is None]
    if len(strangers) == len(named) or len(named) - len(strangers) < share * len(named):
        raise NotThisDataset(_refusal(tree, paths, strangers, scheme))
    fitting = [(file, each) for file, each in zip(tree.files, named, strict=True) if each]
    copies = _spelt_alike([_copy(tree, file, each, scheme) for file, each in fitting])
    unnamed = [
        LeftOut(str(tree.files[i]), f"is not named like {scheme.example}", detail=misfit)
        for i, misfit in _misfits(paths, strangers, scheme)
    ]
    problems: list[LeftOut] = []
    if scheme.table:
        copies, problems = _labelled(tree, copies, [each for _, each in fitting], scheme)
    kept, repeated = one_per_recording(copies, tree.root)
    return FoundClips(kept, scheme.title, [*tree.left_out, *unnamed, *problems, *repeated])


def _copy(tree: Tree, file: PurePosixPath, named: Named, scheme: Scheme) -> Copy:
    says = named.says
    split = says.get("split", "").casefold()
    split = (scheme.splits or FOLDER_SPLITS).get(split, split) or ONLY_SPLIT
    label = says.get("label")
    if label and scheme.labels:
        label = _code(scheme.labels, label)
    clip = Clip(
        named.id,
        split,
        f"{tree.root}/{file}",
        label or None,
        says.get("subject") or None,
        says.get("session") or None,
    )
    held = _code(scheme.parts, says["part"]) if "part" in says else WHOLE
    return Copy(
        clip,
        named.recording,
        max(held, holds(clip.path), key=HOLDS.index),
        corrected=bool(scheme.corrected) and file.name.startswith(scheme.corrected),
    )


def _uncorrected(path: str, scheme: Scheme) -> str:
    """Return the path without the prefix of corrected recordings, so that it matches the faulty one's."""
    folder, slash, name = path.rpartition("/")
    return f"{folder}{slash}{name.removeprefix(scheme.corrected)}"


def _spelt_alike(copies: list[Copy]) -> list[Copy]:
    """Merge names of subjects and of sessions that differ only in case, keeping the first spelling."""
    spelt: dict[str, str] = {}

    def one(name: str | None) -> str | None:
        return name and spelt.setdefault(name.casefold(), name)

    return [
        copy._replace(clip=replace(copy.clip, subject=one(copy.clip.subject), session=one(copy.clip.session)))
        for copy in copies
    ]


def _code(table: Mapping[str, str], code: str) -> str:
    """Look up a code, ignoring case as patterns do."""
    return table.get(code) or next(value for key, value in table.items() if key.casefold() == code.casefold())


def _labelled(
    tree: Tree, copies: list[Copy], named: list[Named], scheme: Scheme
) -> tuple[list[Copy], list[LeftOut]]:
    """Set labels and subjects from the scheme's table; leave out clips that it does not list."""
    assert scheme.table
    labels = Labels(tree.root, scheme.table)
    kept: list[Copy] = []
    problems: list[LeftOut] = []
    seen: dict[str, set[Key]] = defaultdict(set)
    for copy, each in zip(copies, named, strict=True):
        split, path = copy.clip.split, copy.clip.path.removeprefix(f"{tree.root}/")
        key = scheme.table.key(each.values)
        seen[split].add(key)
        table = scheme.table.files.get(split, "")
        if split not in labels.rows:
            kept.append(copy)
            continue
        told = labels.rows[split].get(key)
        code = told.label.casefold() if told else ""
        if told is None:
            problems.append(LeftOut(path, f"no row of {table} tells of it"))
        elif code not in scheme.labels:
            expected = ", ".join(scheme.labels)
            reason = f"its label in {table} is none of {expected}"
            problems.append(LeftOut(path, reason, detail=f"line {told.line}: '{told.label}'"))
        else:
            clip = replace(copy.clip, label=scheme.labels[code], subject=told.subject or None)
            kept.append(copy._replace(clip=clip))
    for split in [split for split in seen if split not in labels.rows]:
        problems.append(LeftOut(scheme.table.files[split], f"is not there: split '{split}' has no labels"))
    return kept, [*labels.problems, *problems, *labels.without_files(seen)]


def _misfits(paths: list[str], strangers: list[int], scheme: Scheme) -> list[tuple[int, str]]:
    """Return the indices of files that do not match, the first :data:`SHOWN` with an explanation."""
    return [(i, scheme.paths.misfit(paths[i]) if n < SHOWN else "") for n, i in enumerate(strangers)]


def _refusal(tree: Tree, paths: list[str], strangers: list[int], scheme: Scheme) -> str:
    told = [f"'{tree.files[i]}' {misfit}" for i, misfit in _misfits(paths, strangers[:SHOWN], scheme)]
    told += [f"and {len(strangers) - SHOWN} more"] if len(strangers) > SHOWN else []
    return (
        f"expected names like {scheme.example}; {len(strangers)} of {len(paths)} are not: {'; '.join(told)}"
    )
