"""Reads IEMOCAP: sentences of dialogs, their evaluations, and markers on one of the two faces.

    Session1/sentences/wav/Ses01F_impro01/Ses01F_impro01_F000.wav
    Session1/dialog/EmoEvaluation/Ses01F_impro01.txt
    Session1/dialog/MOCAP_rotated/Ses01F_impro01.txt

The name of a dialog has its session, the speaker who wears the markers, and the scene. The name of a sentence
adds the person who speaks it. The evaluation gives the start and end of each sentence in its dialog; the wav
file is that part of the dialog's sound, and the markers are read from the same part.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from math import inf
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, NamedTuple

from ....cache.clips import Clip
from ...errors import DatasetError, NotThisDataset
from .found import ONLY_SPLIT, FoundClips, clip_at, count_of, first_names, one_per_id
from .scan import LeftOut, Tree
from .schemes import Scheme

if TYPE_CHECKING:
    from ....extract.markers import MarkerSpan

OTHER_EMOTIONS = {
    "dis": "disgusted",
    "exc": "excited",
    "fea": "fearful",
    "fru": "frustrated",
    "oth": "other",
    "sur": "surprised",
    "xxx": "no agreement",
}
SENTENCE = re.compile(
    r"(?P<dialog>(?P<session>Ses\d\d)(?P<wearer>[FM])_(?P<kind>impro|script)\w+)_(?P<speaker>[FM])\d+"
)
TURN = re.compile(r"\[\s*([\d.]+)\s*-\s*([\d.]+)\s*\]\s+(\S+)\s+([a-z]{3})\s")
MAX_BYTES = 4 << 20  # bytes of an evaluation file; the corpus's own have about thirty thousand
OTHER_WEARS = "the other speaker of the dialog wears the markers"
NO_RECORDING = "dialog/MOCAP_rotated has no recording of the dialog"


class Turn(NamedTuple):
    """Evaluation of a sentence: start and end in the dialog, in seconds, and the majority's emotion code."""

    start: float
    end: float
    emotion: str


@dataclass
class Evaluation:
    """Evaluation of a dialog.

    Attributes:
        name: path of the file, for messages.
        turns: sentence → turn.
        unusable: sentence → reason why its turn cannot be used.
        default_reason: reason why any other sentence has no turn.
    """

    name: str
    turns: dict[str, Turn] = field(default_factory=dict)
    unusable: dict[str, str] = field(default_factory=dict)
    default_reason: str = ""


def find_iemocap(tree: Tree, scheme: Scheme) -> FoundClips:
    """Find the sentences of the wanted emotions, with each speaker as a subject.

    Args:
        tree: the corpus, or one session of it.
        scheme: wanted emotions, and whether to include scripted scenes.

    Raises:
        NotThisDataset: there are no sentences, or no evaluations of them.
        DatasetError: none of the sentences can be used.
    """
    labels, scripted = scheme.labels, scheme.scripted
    sentences = [file for file in tree.files if file.parts[-4:-2] == ("sentences", "wav")]
    if not any((tree.root / _dialog(file) / "EmoEvaluation").is_dir() for file in sentences):
        raise NotThisDataset(
            "expected Session1/sentences/wav/Ses01F_impro01/Ses01F_impro01_F000.wav, … and "
            f"Session1/dialog/EmoEvaluation/Ses01F_impro01.txt, …; found {first_names(tree.files)}"
        )
    named, problems = _parse_names(sentences)
    wanted = {file: match for file, match in named.items() if scripted or match["kind"] == "impro"}
    paths = {
        file: _dialog(file) / "EmoEvaluation" / f"{match['dialog']}.txt" for file, match in wanted.items()
    }
    evaluations = {
        path: read_evaluation(tree.root / path)
        for path in dict.fromkeys([*paths.values(), *_evaluation_files(tree.root, sentences, scripted)])
    }
    clips: list[Clip] = []
    spans: dict[tuple[str, str], MarkerSpan] = {}
    others: Counter[str] = Counter()
    for file, match in wanted.items():
        evaluation = evaluations[paths[file]]
        turn = evaluation.turns.get(file.stem)
        if turn is None:
            problems.append(LeftOut(str(file), evaluation.unusable.get(file.stem, evaluation.default_reason)))
        elif turn.emotion not in labels:
            others[OTHER_EMOTIONS.get(turn.emotion, turn.emotion)] += 1
        else:
            subject = match["session"] + match["speaker"]
            clip = clip_at(tree.root, file, ONLY_SPLIT, labels[turn.emotion], subject)
            clips.append(replace(clip, session=match["session"]))
            spans.setdefault(clips[-1].key, _span(tree.root / _dialog(file), match, turn))
    kept, duplicates = one_per_id(clips, tree.root)
    problems += [*tree.left_out, *_without_sound(evaluations, named, labels), *duplicates]
    if not kept:
        first = f"; '{problems[0].path}': {problems[0].why}" if problems else ""
        raise DatasetError(
            f"no sentence in '{tree.root}' is labelled {', '.join(dict.fromkeys(labels.values()))}{first}"
        )
    sentence_files = {*sentences}
    dialogs = [
        LeftOut(str(file), "of a whole dialog", spare=True)
        for file in tree.files
        if file not in sentence_files
    ]
    return FoundClips(
        kept,
        scheme.title,
        problems + dialogs,
        _notes(len(named) - len(wanted), others),
        spans,
    )


def _dialog(sentence: PurePosixPath) -> PurePosixPath:
    """Return the dialog folder of a sentence's session."""
    return sentence.parents[3] / "dialog"


def _evaluation_files(root: Path, sentences: Iterable[PurePosixPath], scripted: bool) -> list[PurePosixPath]:
    """Return the evaluation files of all sessions with sentences."""
    folders = dict.fromkeys(_dialog(file) / "EmoEvaluation" for file in sentences)
    pattern = "Ses*.txt" if scripted else "Ses*_impro*.txt"
    return [folder / path.name for folder in folders for path in sorted((root / folder).glob(pattern))]


def _parse_names(
    sentences: list[PurePosixPath],
) -> tuple[dict[PurePosixPath, re.Match[str]], list[LeftOut]]:
    """Return the sentences with their parsed names, and the files whose names cannot be parsed."""
    named, misnamed = {}, []
    for file in sentences:
        match = SENTENCE.fullmatch(file.stem)
        if match and match["dialog"] == file.parent.name:
            named[file] = match
        else:
            misnamed.append(LeftOut(str(file), "is not named like Ses01F_impro01/Ses01F_impro01_F000.wav"))
    return named, misnamed


def _notes(scripted: int, others: Counter[str]) -> list[str]:
    """Describe the sentences left out on purpose."""
    notes = [f"left out: {count_of(scripted, 'scripted sentence')}"] if scripted else []
    if others:
        counts = ", ".join(f"{count} {name}" for name, count in others.most_common())
        notes.append(f"left out: {count_of(others.total(), 'sentence')} of other emotions ({counts})")
    return notes


def _span(dialog: Path, match: re.Match[str], turn: Turn) -> MarkerSpan:
    from ....extract.markers import MarkerSpan

    recording = dialog / "MOCAP_rotated" / f"{match['dialog']}.txt"
    absent = OTHER_WEARS if match["speaker"] != match["wearer"] else ""
    if not absent and not recording.is_file():
        absent = NO_RECORDING
    return MarkerSpan(str(recording), turn.start, turn.end, absent)


def read_evaluation(path: Path) -> Evaluation:
    """Read the lines ``[start - end]<tab>sentence<tab>emotion<tab>[v, a, d]`` of a file; skip other lines.

    An unreadable line costs only its own sentence.
    """
    evaluation = Evaluation(f"EmoEvaluation/{path.name}")
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        evaluation.default_reason = f"{evaluation.name} cannot be read: {error.strerror}"
        return evaluation
    if len(content) > MAX_BYTES:
        evaluation.default_reason = (
            f"{evaluation.name} has more than {MAX_BYTES >> 20} MiB, so it is not an evaluation"
        )
        return evaluation
    evaluation.default_reason = f"{evaluation.name} has no turn of that name"
    lines = content.decode(errors="replace").splitlines()
    broken = []
    for number, line in enumerate(lines, start=1):
        match = TURN.match(f"{line}\n")
        if match:
            _add_turn(evaluation, number, match)
        elif line.startswith("["):
            broken.append(number)
    if broken:
        evaluation.default_reason += f" (line {broken[0]} cannot be read)"
    return evaluation


def _add_turn(evaluation: Evaluation, number: int, match: re.Match[str]) -> None:
    start, end, name, emotion = match.groups()
    try:
        turn = Turn(float(start), float(end), emotion)
    except ValueError:
        turn = Turn(0, 0, emotion)
    if not turn.start < turn.end < inf:
        evaluation.unusable[name] = (
            f"{evaluation.name} line {number}: {start} to {end} is not a valid time span"
        )
    elif evaluation.turns.setdefault(name, turn) != turn:
        evaluation.unusable[name] = f"{evaluation.name} has several turns of that name"
    if name in evaluation.unusable:
        evaluation.turns.pop(name, None)


def _without_sound(
    evaluations: Mapping[PurePosixPath, Evaluation],
    sentences: Iterable[PurePosixPath],
    labels: Mapping[str, str],
) -> list[LeftOut]:
    """Return evaluated sentences of wanted emotions that have no wav."""
    names = {file.stem for file in sentences}
    return [
        LeftOut(
            str(path.parents[2] / "sentences" / "wav" / path.stem / f"{name}.wav"),
            "is missing, but has an evaluation",
            detail=evaluation.name,
        )
        for path, evaluation in evaluations.items()
        for name, turn in evaluation.turns.items()
        if turn.emotion in labels and name not in names
    ]
