"""``avemo predict``: name the expressions in any film, without training."""

from __future__ import annotations

from pathlib import Path

import click

from .framework import altered, command, group, is_given, json_result, refuse_idle
from .options import (
    detect_every_option,
    detector_option,
    device_option,
    hop_option,
    overlay_option,
    precision_option,
    window_option,
)
from .outputs import overwrite_option

EXAMPLES = """
\b
Examples:
  avemo predict film.mp4
  avemo predict film.mp4 --overlay shown.mp4
  avemo predict films/ --out expressions --window 2 --hop 0.5
  avemo predict film.mp4 --tta default --detect-every 1       # slower, a little more exact
  avemo predict film.mp4 --run runs/default                   # a trained ensemble, sound included

\b
Exit code: 0 done; 1 done, but some films failed; 2 wrong arguments or input; 130 interrupted.
"""


@command("predict", epilog=EXAMPLES)
@click.argument("films", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="FILM...")
@group(
    "Features",
    click.option(
        "--tta",
        type=click.Choice(["none", "flip", "default", "wide"]),
        default="none",
        show_default=True,
        help="Views of each face to average: 1, 2 (also mirrored), 18 close or 18 wide ones.",
    ),
    altered(detect_every_option, default=5),
    click.option(
        "--smooth",
        type=click.FloatRange(min=0),
        default=0.2,
        show_default=True,
        metavar="S",
        help="Smooth over time by a Gaussian with this standard deviation in seconds; 0 for none.",
    ),
    altered(
        detector_option,
        help="Face detector: auto (yunet if its weights are here, else dlib), dlib, yunet[@FILE.onnx], or "
        "ssd@FILE; with --run, the run's own (its file may be named).",
    ),
    click.option(
        "--backbone",
        default="ferplusnet",
        show_default=True,
        metavar="NAME[@WEIGHTS]",
        help="Face network trained by `avemo pretrain face`, with its own classes; with --run, the run's "
        "weights, if they are not in the package.",
    ),
    click.option(
        "--run",
        "runs",
        multiple=True,
        type=click.Path(path_type=Path),
        metavar="RUN",
        help="Use a run of `avemo-fuse train` instead. Repeatable: runs are averaged.",
    ),
)
@group("Where it runs", device_option, precision_option)
@group(
    "Output",
    click.option(
        "--out",
        type=click.Path(path_type=Path),
        default="predictions",
        show_default=True,
        metavar="DIR",
        help="Folder for the tables.",
    ),
    overlay_option,
    window_option,
    hop_option,
    overwrite_option,
)
@json_result
def predict(
    films: tuple[Path, ...],
    tta: str,
    detect_every: int,
    smooth: float,
    detector: str,
    backbone: str,
    runs: tuple[Path, ...],
    device: str,
    precision: str,
    out: Path,
    overlay: Path | None,
    window: float | None,
    hop: float | None,
    overwrite: bool,
) -> int:
    """Name the facial expressions in each FILM (a video, or a folder of videos), without any training.

    The main face is tracked, and the embedded face network names its expression in each frame as raters of
    photographs would: anger, contempt, disgust, fear, happiness, neutral, sadness or surprise. That is not
    what a person feels. Writes a table of frames, a table of windows, and both as JSON.
    """
    from ..predict.films import find_films

    found = find_films(films)
    if runs:
        from ..predict.trained import predict_by_runs

        own = ("tta", "detect_every", "smooth", "precision")
        refuse_idle(dict.fromkeys(own, "--run brings its own settings"))
        file = detector if is_given("detector") else None
        weights = (backbone,) if is_given("backbone") else ()
        failures = predict_by_runs(found, runs, file, weights, out, overlay, window, hop, device, overwrite)
    else:
        from ..predict.expressions import PredictSettings
        from ..predict.films import Outputs, predict_films

        settings = PredictSettings(tta, detect_every, smooth, 3.0, detector, backbone, device, precision)
        length = window or 1.0
        failures = predict_films(found, settings, Outputs(out, overlay, length, hop or length, overwrite))
    return 1 if failures else 0
