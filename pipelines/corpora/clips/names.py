"""Finds the clips of a corpus whose paths contain their labels."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace
from pathlib import PurePosixPath

from ....cache.clips import Clip
from ...errors import NotThisDataset
from .folders import FOLDER_SPLITS
from .found import CONTENTS, FITTING_SHARE, ONLY_SPLIT, WHOLE, Copy, FoundClips, content_of, one_per_recording
from .pattern import PathFields
from .scan import LeftOut, Tree
from .schemes import Scheme
from .table import Key, Labels

SHOWN = 3  # number of mismatched names explained in an error


def find_by_scheme(tree: Tree, scheme: Scheme, share: float = FITTING_SHARE) -> FoundClips:
    """Find the clips whose paths match a scheme's pattern, and read its label tables if it has any.

    Args:
        tree: the corpus, or a folder of it.
        scheme: naming scheme of the files.
        share: share of files that must match, 0 to 1; at least one must.

    Raises:
        NotThisDataset: too few files match.
        DatasetError: the pattern or a label table is invalid.
    """
    paths = [_without_corrected_prefix(path, scheme) for path in tree.stems]
    matches = [scheme.paths.match(path) for path in paths]
    if not any(matches) and paths:  # the root's own name may be part of the pattern
        paths = [f"{tree.root.name}/{path}" for path in paths]
        matches = [scheme.paths.match(path) for path in paths]
    mismatches = [i for i, each in enumerate(matches) if each is None]
    if len(mismatches) == len(matches) or len(matches) - len(mismatches) < share * len(matches):
        raise NotThisDataset(_mismatch_message(tree, paths, mismatches, scheme))
    matched = [(file, each) for file, each in zip(tree.files, matches, strict=True) if each]
    copies = _one_spelling_each([_copy_of(tree, file, each, scheme) for file, each in matched])
    unnamed = [
        LeftOut(str(tree.files[i]), f"is not named like {scheme.example}", detail=explanation)
        for i, explanation in _explained(paths, mismatches, scheme)
    ]
    problems: list[LeftOut] = []
    if scheme.table:
        copies, problems = _with_table_labels(tree, copies, [each for _, each in matched], scheme)
    kept, repeated = one_per_recording(copies, tree.root)
    return FoundClips(kept, scheme.title, [*tree.left_out, *unnamed, *problems, *repeated])


def _copy_of(tree: Tree, file: PurePosixPath, fields: PathFields, scheme: Scheme) -> Copy:
    texts = fields.by_role
    split = texts.get("split", "").casefold()
    split = (scheme.splits or FOLDER_SPLITS).get(split, split) or ONLY_SPLIT
    label = texts.get("label")
    if label and scheme.labels:
        label = _code(scheme.labels, label)
    clip = Clip(
        fields.id,
        split,
        f"{tree.root}/{file}",
        label or None,
        texts.get("subject") or None,
        texts.get("session") or None,
    )
    content = _code(scheme.parts, texts["part"]) if "part" in texts else WHOLE
    return Copy(
        clip,
        fields.recording,
        max(content, content_of(clip.path), key=CONTENTS.index),
        corrected=bool(scheme.corrected) and file.name.startswith(scheme.corrected),
    )


def _without_corrected_prefix(path: str, scheme: Scheme) -> str:
    """Return the path without the prefix of corrected recordings, so that it matches the faulty one's."""
    folder, slash, name = path.rpartition("/")
    return f"{folder}{slash}{name.removeprefix(scheme.corrected)}"


def _one_spelling_each(copies: list[Copy]) -> list[Copy]:
    """Merge names of subjects and of sessions that differ only in case, keeping the first spelling."""
    spellings: dict[str, str] = {}

    def first_spelling(name: str | None) -> str | None:
        return name and spellings.setdefault(name.casefold(), name)

    return [
        copy._replace(
            clip=replace(
                copy.clip,
                subject=first_spelling(copy.clip.subject),
                session=first_spelling(copy.clip.session),
            )
        )
        for copy in copies
    ]


def _code(table: Mapping[str, str], code: str) -> str:
    """Look up a code, ignoring case as patterns do."""
    return table.get(code) or next(value for key, value in table.items() if key.casefold() == code.casefold())


def _with_table_labels(
    tree: Tree, copies: list[Copy], fields: list[PathFields], scheme: Scheme
) -> tuple[list[Copy], list[LeftOut]]:
    """Set labels and subjects from the scheme's table; leave out clips that it does not list."""
    assert scheme.table
    labels = Labels(tree.root, scheme.table)
    kept: list[Copy] = []
    problems: list[LeftOut] = []
    seen: dict[str, set[Key]] = defaultdict(set)
    for copy, each in zip(copies, fields, strict=True):
        split, path = copy.clip.split, copy.clip.path.removeprefix(f"{tree.root}/")
        key = scheme.table.key(each.values)
        seen[split].add(key)
        table = scheme.table.files.get(split, "")
        if split not in labels.rows:
            kept.append(copy)
            continue
        row = labels.rows[split].get(key)
        code = row.label.casefold() if row else ""
        if row is None:
            problems.append(LeftOut(path, f"has no row in {table}"))
        elif code not in scheme.labels:
            expected = ", ".join(scheme.labels)
            reason = f"its label in {table} is none of {expected}"
            problems.append(LeftOut(path, reason, detail=f"line {row.line}: '{row.label}'"))
        else:
            clip = replace(copy.clip, label=scheme.labels[code], subject=row.subject or None)
            kept.append(copy._replace(clip=clip))
    for split in [split for split in seen if split not in labels.rows]:
        problems.append(LeftOut(scheme.table.files[split], f"is missing: split '{split}' has no labels"))
    return kept, [*labels.problems, *problems, *labels.without_files(seen)]


def _explained(paths: list[str], mismatches: list[int], scheme: Scheme) -> list[tuple[int, str]]:
    """Return the indices of files that do not match, the first :data:`SHOWN` with an explanation."""
    return [
        (i, scheme.paths.explain_mismatch(paths[i]) if n < SHOWN else "") for n, i in enumerate(mismatches)
    ]


def _mismatch_message(tree: Tree, paths: list[str], mismatches: list[int], scheme: Scheme) -> str:
    examples = [
        f"'{tree.files[i]}' {explanation}" for i, explanation in _explained(paths, mismatches[:SHOWN], scheme)
    ]
    examples += [f"and {len(mismatches) - SHOWN} more"] if len(mismatches) > SHOWN else []
    return (
        f"expected names like {scheme.example}; {len(mismatches)} of {len(paths)} are not: "
        f"{'; '.join(examples)}"
    )
