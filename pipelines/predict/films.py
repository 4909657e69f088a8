"""``avemo predict``: reads films, writes tables and overlays. A bad film does not stop the others."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click

from ...extract.clip import reason_of
from ...extract.decode.media import Media
from ...extract.detectors import load_detector
from ...extract.errors import ClipError
from ...fusion.files import as_file_name
from ..cli.extraction import Printed
from ..cli.framework import InputError, keep_result
from ..cli.outputs import refuse_existing
from ..cli.progress import seconds_bar
from ..cli.table import aligned
from ..corpora.clips.scan import VIDEO_SUFFIXES, scan
from ..detector_choice import choose_detector
from ..pages.overlay.windows import StepTimes
from .expressions import (
    FACES,
    MEANING,
    FilmExpressions,
    OnStep,
    PredictSettings,
    classifier_of,
    expressions_of,
    named,
)
from .overlay import draw
from .tables import write_frames, write_json, write_windows

FRAMES, WINDOWS, FACTS, OVERLAY = ".frames.csv", ".windows.csv", ".json", ".mp4"


@dataclass(frozen=True)
class Outputs:
    """What to write.

    Attributes:
        folder: folder for the tables.
        overlay: an MP4 file for one film, or a folder; None for no overlay.
        window: length of a window in seconds.
        hop: seconds from the start of one window to the next.
        overwrite: whether to replace existing files.
    """

    folder: Path
    overlay: Path | None = None
    window: float = 1.0
    hop: float = 1.0
    overwrite: bool = False


def find_films(paths: Sequence[Path]) -> list[Path]:
    """Return the given files and the films in folders; files skipped in a folder are reported.

    Raises:
        InputError: there are no films.
    """
    films: list[Path] = []
    for path in paths:
        if not path.is_dir():
            films.append(path)
            continue
        tree = scan(path, VIDEO_SUFFIXES)
        for item in tree.left_out:
            click.echo(f"left out: {path / item.path}: {item.why}", err=True)
        films += [path / file for file in tree.files]
    films = list(dict.fromkeys(films))
    if not any(film.exists() for film in films):
        raise InputError(
            f"no film in {', '.join(map(str, paths))}: name video files that exist, or folders of them "
            f"({' '.join(sorted(VIDEO_SUFFIXES))})"
        )
    return films


def predict_films(films: Sequence[Path], settings: PredictSettings, outputs: Outputs) -> int:
    """Recognise the expressions in each film and write them.

    Returns:
        Number of films that failed or are damaged, plus overlays that failed.

    Raises:
        InputError: an output file is not allowed.
        ExtractError: a setting is invalid.
    """
    targets = _targets(films, outputs)
    classifier_of(settings)  # raises for invalid settings before any work
    choice = choose_detector(settings.detector)
    if choice.why:
        Printed().detected(choice)
    load_detector(choice.text)
    settings = replace(settings, detector=choice.text)
    times, rows, results, failures = StepTimes(), [], {}, 0
    for film in films:
        found = _tried(film, settings, times)
        if isinstance(found, str):
            click.echo(f"failed: {film}: {found}", err=True)
            results[str(film)] = {"failed": found}
            failures += 1
            continue
        failures += _told(found)
        failures += _written(found, targets[film], outputs, times)
        summary = _summary(found, targets[film])
        results[str(film)] = summary
        rows.append(
            (
                film.name,
                f"{found.seconds:.1f}",
                f"{summary['with_face']:.0%}",
                summary["class"],
                summary["probability"],
            )
        )
    if rows:
        click.echo(aligned(["film", "seconds", "with face", "mostly", "mean"], rows))
        click.echo(f"\n{times.table()}\n\n{MEANING}")
        keep_result(real_time_factor=sum(times.steps.values()) / times.video)
    keep_result(meaning=MEANING, films=results)
    return failures


def _tried(film: Path, settings: PredictSettings, times: StepTimes) -> FilmExpressions | str:
    """Return the expressions in a film, or the reason for failure."""
    try:
        with _watched(film, times) as on_step:
            found = expressions_of(film, settings, on_step)
    except MemoryError:
        return "out of memory"
    except Exception as error:
        return reason_of(error)
    times.video += found.seconds
    return found


@contextmanager
def _watched(film: Path, times: StepTimes) -> Iterator[OnStep]:
    """Show a progress bar for each step and measure its time."""
    length = Media(film).seconds()
    current, reached = FACES, None
    with ExitStack() as step_stack:
        step_stack.enter_context(times.measure(FACES))

        def on_step(step: str, seconds: float) -> None:
            nonlocal current, reached
            if step != current:
                step_stack.close()
                step_stack.enter_context(times.measure(step))
            if step != current or reached is None:
                reached = step_stack.enter_context(seconds_bar(step, length))
            current = step
            reached(seconds)

        yield on_step


def _told(found: FilmExpressions) -> int:
    """Print notes and warnings about a film; return 1 if it is damaged."""
    for note in found.notes:
        click.echo(f"note: {found.film}: {note}", err=True)
    for warning in found.warnings:
        click.echo(f"damaged: {found.film}: {warning}; what could be read is used", err=True)
    return int(bool(found.warnings))


def _summary(found: FilmExpressions, files: Mapping[str, Path]) -> dict[str, Any]:
    best = named(found.classes, found.mean[None])[0]
    return {
        "seconds": found.seconds,
        "frames": len(found.times),
        "with_face": float(found.has_face.mean()),
        "class": best,
        "probability": float(found.mean.max()) if best else None,
        "probabilities": dict(zip(found.classes, found.mean.tolist(), strict=True)) if best else None,
        "files": [str(path) for path in files.values() if path.exists()],
        "notes": [*found.notes, *found.warnings],
    }


def _targets(films: Sequence[Path], outputs: Outputs) -> dict[Path, dict[str, Path]]:
    """Return the output files of each film, by kind.

    Raises:
        InputError: a file already exists or is one of the films, or one overlay file is given for several
            films.
    """
    stems = [film.stem for film in films]
    names = {
        film: film.stem if stems.count(film.stem) == 1 else as_file_name(str(film.with_suffix("")))
        for film in films
    }
    one = outputs.overlay is not None and outputs.overlay.suffix == OVERLAY and not outputs.overlay.is_dir()
    if one and len(films) > 1:
        raise InputError(
            f"--overlay {outputs.overlay} is one file, and there are {len(films)} films; name a folder"
        )
    targets: dict[Path, dict[str, Path]] = {}
    for film, name in names.items():
        files = {kind: outputs.folder / f"{name}{kind}" for kind in (FRAMES, WINDOWS, FACTS)}
        if outputs.overlay is not None:
            files[OVERLAY] = outputs.overlay if one else outputs.overlay / f"{name}{OVERLAY}"
        targets[film] = files
    every = [path for files in targets.values() for path in files.values()]
    for path in every:
        if any(path.exists() and film.exists() and path.samefile(film) for film in films):
            raise InputError(f"{path} is one of the films; name another file or folder to write")
    refuse_existing(every, outputs.overwrite)
    return targets


def _written(found: FilmExpressions, files: Mapping[str, Path], outputs: Outputs, times: StepTimes) -> int:
    """Write the outputs for a film; return 1 if its overlay fails."""
    if outputs.window > found.seconds:
        click.echo(
            f"note: {found.film}: is shorter than --window {outputs.window:g}; one window holds all of it",
            err=True,
        )
    windows = found.windows(outputs.window, outputs.hop)
    write_frames(found, files[FRAMES])
    write_windows(found, windows, files[WINDOWS])
    write_json(found, windows, files[FACTS])
    click.echo(f"wrote {', '.join(str(files[kind]) for kind in (FRAMES, WINDOWS, FACTS))}")
    if OVERLAY not in files:
        return 0
    try:
        with times.measure("overlay"), seconds_bar("overlay", found.seconds) as reached:
            film = draw(found, files[OVERLAY], reached)
    except ClipError as error:
        click.echo(f"no overlay: {found.film}: {error}", err=True)
        return 1
    click.echo(f"wrote {files[OVERLAY]}: {film.frames} frames ({film.encoder}), {film.sound}")
    return 0
