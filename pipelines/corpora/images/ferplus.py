"""Reads FER+: ten people's votes on each picture of FER2013 (Barsoum et al. 2016, arXiv:1608.01041)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ....pretrain.errors import PretrainError
from ....pretrain.images import read_image
from ....pretrain.pictures import Skipped
from ...errors import NotThisLayout
from ..clips.found import count_of
from .fer2013 import FER2013_CODES, FER2013_FILES, FER2013_LICENCE, FER2013_PARTS, PixelRow, fer2013_rows
from .found import FoundPictures, LabelledPicture, Options, PictureCorpus, csv_rows, file_exists

FERPLUS_FILE = "fer2013new.csv"
FERPLUS_FOLDERS = {"Training": "FER2013Train", "PublicTest": "FER2013Valid", "PrivateTest": "FER2013Test"}
FERPLUS_CLASSES = ("Neutral", "Happy", "Surprise", "Sad", "Angry", "Disgust", "Fear", "Contempt")
FERPLUS_LICENCE = f"FER+ labels: MIT. {FER2013_LICENCE}"
_HEADER = (
    *("usage", "image name", "neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear"),
    *("contempt", "unknown", "nf"),
)
_VOTES = len(FERPLUS_CLASSES) + 2
_MAX_DIGITS = 3  # most digits in a count; ten people voted
_MIN_COMPARED, _MIN_AGREEMENT = (
    200,
    0.4,
)  # pictures to compare, and share that must agree (by chance: about 0.17)
_SAME_ORDER = "expected the same pictures in the same order; fetch both again"


class Ballot(NamedTuple):
    """The votes on a picture, for each of :data:`FERPLUS_CLASSES`, for unknown and for no face."""

    name: str
    image: str
    usage: str
    votes: Sequence[int]
    problem: str = ""


class Pair(NamedTuple):
    """A ballot and its picture."""

    ballot: Ballot
    file: Path
    read: Callable[[], np.ndarray]


def majority(votes: Sequence[int]) -> str | None:
    """Return the emotion with more than half of the votes, ignoring classes with a single vote.

    None if no class has a majority, or if the majority is for unknown or no face.
    """
    counted = _without_single(votes)
    place = counted.index(max(counted))
    has_majority = 2 * counted[place] > sum(counted)
    return FERPLUS_CLASSES[place] if has_majority and place < len(FERPLUS_CLASSES) else None


def shares(votes: Sequence[int]) -> dict[str, float] | None:
    """Return each emotion's share of the votes for emotions, ignoring classes with a single vote.

    None if no emotion has votes, or if unknown or no face has more votes than any emotion.
    """
    counted = _without_single(votes)
    emotions, others = counted[: len(FERPLUS_CLASSES)], counted[len(FERPLUS_CLASSES) :]
    if not any(emotions) or max(emotions) < max(others):
        return None
    return {name: count / sum(emotions) for name, count in zip(FERPLUS_CLASSES, emotions, strict=True)}


def _without_single(votes: Sequence[int]) -> list[int]:
    return [count if count > 1 else 0 for count in votes]


def find_ferplus(source: PictureCorpus, options: Options) -> FoundPictures:
    """Find the pictures of FER+.

    Reads folders FER2013Train, … of pictures, each with a ``label.csv``; or ``fer2013new.csv`` beside
    ``fer2013.csv`` or beside such folders. The two kinds of vote files differ slightly: only ``label.csv``
    gives the 3137 test pictures on which accuracies are published.

    Raises:
        NotThisLayout: there are no such files.
        PretrainError: pictures are missing, or votes and pictures do not match.
    """
    label_of = majority if options.votes == "majority" else shares
    found = FoundPictures("FER+", FERPLUS_CLASSES, [], licence=FERPLUS_LICENCE)
    left_out = 0
    for ballot, file, read in _pairs(source):
        part = FER2013_PARTS.get(ballot.usage)
        label = None if ballot.problem else label_of(ballot.votes)
        if ballot.problem:
            found.skipped.append(Skipped(ballot.name, ballot.problem))
        elif part is None:
            expected = ", ".join(FER2013_PARTS)
            found.skipped.append(Skipped(ballot.name, f"Usage '{ballot.usage}', expected {expected}"))
        elif label is None:
            left_out += 1
        elif not file_exists(file):
            found.skipped.append(Skipped(ballot.name, f"there is no picture {file}"))
        else:
            found.pictures.append(LabelledPicture(ballot.name, file, read, label, part))
    if left_out:
        rule = (
            "without a majority for one emotion" if options.votes == "majority" else "mostly voted no emotion"
        )
        found.notes.append(f"{count_of(left_out, 'picture')} {rule}, left out as FER+ does")
    return found


def _pairs(source: PictureCorpus) -> Iterator[Pair]:
    tables = source.look_for(FERPLUS_FILE)
    corpora = [*(PictureCorpus(table.parent) for table in tables[:1]), source]
    folders: dict[str, Path] = {}
    for corpus in corpora:
        for usage, name in FERPLUS_FOLDERS.items():
            for path in corpus.look_for(name):
                if any(path.glob("*.png")):
                    folders.setdefault(usage, path)
    lists = {usage: path / "label.csv" for usage, path in folders.items() if (path / "label.csv").is_file()}
    if lists:
        return _with_picture_files(
            chain(*(_label_list_ballots(file, usage) for usage, file in lists.items())), folders
        )
    if not tables:
        raise NotThisLayout(
            f"expected folders {', '.join(FERPLUS_FOLDERS.values())} of pictures with a label.csv each, or "
            f"{FERPLUS_FILE} beside fer2013.csv; there is neither"
        )
    pixels = next((path for corpus in corpora for path in corpus.look_for(*FER2013_FILES)), None)
    if pixels is not None:
        return _with_pixel_rows(list(_csv_ballots(tables[0])), list(fer2013_rows(pixels)), pixels)
    if folders:
        return _with_picture_files(_csv_ballots(tables[0]), folders)
    raise PretrainError(
        f"{tables[0]} holds votes, but there are no pictures: put fer2013.csv beside it, or the folders "
        f"{', '.join(FERPLUS_FOLDERS.values())}"
    )


def _with_picture_files(ballots: Iterable[Ballot], folders: Mapping[str, Path]) -> Iterator[Pair]:
    for ballot in ballots:
        file = folders.get(ballot.usage, Path(ballot.usage)) / ballot.image
        yield Pair(ballot, file, partial(read_image, file))


def _with_pixel_rows(ballots: list[Ballot], rows: list[PixelRow], pixels: Path) -> Iterator[Pair]:
    """Pair ballots with rows of pixels, which must be in the same order.

    Raises:
        PretrainError: their number, parts or labels do not match.
    """
    if len(ballots) != len(rows):
        raise PretrainError(
            f"{FERPLUS_FILE} has {len(ballots)} rows, {pixels} has {len(rows)}: {_SAME_ORDER}"
        )
    compared = agreed = 0
    for ballot, row in zip(ballots, rows, strict=True):
        winner = None if ballot.problem else majority(ballot.votes)
        if not ballot.problem and not row.problem and row.usage is not None and row.usage != ballot.usage:
            raise PretrainError(
                f"{ballot.name} is of {ballot.usage}, {pixels.name} line {row.number} is of {row.usage}: "
                f"{_SAME_ORDER}"
            )
        if winner is not None and row.emotion in FER2013_CODES:
            compared += 1
            agreed += FER2013_CODES[row.emotion] == winner
        yield Pair(ballot._replace(problem=ballot.problem or row.problem), pixels, row.read)
    if compared >= _MIN_COMPARED and agreed < _MIN_AGREEMENT * compared:
        raise PretrainError(
            f"the votes agree with the emotions in {pixels} on only {agreed} of {compared} pictures: "
            f"{_SAME_ORDER}"
        )


def _csv_ballots(table: Path) -> Iterator[Ballot]:
    """Yield the rows of ``fer2013new.csv``."""
    rows = csv_rows(table)
    _, header = next(rows, (0, []))
    if tuple(map(str.lower, header)) != _HEADER:
        raise PretrainError(
            f"{table}: expected the columns {','.join(_HEADER)}; found {','.join(header)[:200]!r}"
        )
    for number, cells in rows:
        usage, image, *votes = cells if len(cells) > 1 else ("", "")
        yield _ballot(f"{table.name} line {number}", image, usage, votes)


def _label_list_ballots(table: Path, usage: str) -> Iterator[Ballot]:
    """Yield the rows of a ``label.csv``: file name, face box (always the whole picture), votes."""
    for number, cells in csv_rows(table):
        yield _ballot(f"{table.parent.name}/{table.name} line {number}", cells[0], usage, cells[2:])


def _ballot(name: str, image: str, usage: str, votes: list[str]) -> Ballot:
    if len(votes) != _VOTES or not all(vote.isdecimal() and len(vote) <= _MAX_DIGITS for vote in votes):
        return Ballot(name, image, usage, (), f"votes {','.join(votes)!r}, expected {_VOTES} whole numbers")
    return Ballot(name, image, usage, tuple(map(int, votes)))
