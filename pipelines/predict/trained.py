"""``avemo predict --run``: scores films over time with trained runs, like ``avemo-fuse predict``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from ...fusion.training.runs import Run
from ..cli.extraction import Printed
from ..cli.outputs import refuse_existing
from ..corpora.clips.find import find_files
from ..fuse.predict import keys_of
from ..pages.overlay.windows import WindowOptions, score_over_time
from ..plan_again import plan_again


def predict_by_runs(
    films: Sequence[Path],
    runs: Sequence[Path],
    detector: str | None,
    backbones: Sequence[str],
    folder: Path,
    overlay: Path | None,
    window: float | None,
    hop: float | None,
    device: str,
    overwrite: bool,
) -> int:
    """Score films over time by the mean of runs.

    Args:
        films: video files.
        runs: folders of trained runs.
        detector, backbones: ``NAME@FILE`` of those that the runs use and avemo does not include.
        folder: folder for the tables.
        overlay: an MP4 file for one film, or a folder; None for no overlay.
        window, hop: seconds; None for defaults from the runs.
        device: device of the networks.
        overwrite: whether to replace existing files.

    Returns:
        Number of films that failed or are damaged.

    Raises:
        InputError: an output file is not allowed, or the runs need a detector or backbone that is missing.
        FusionError: the runs do not match.
    """
    out = folder / "scores.csv"
    refuse_existing([out], overwrite)
    loaded = [Run(path) for path in runs]
    found = find_files(films)
    Printed().found(films[0].parent, found)
    plan = plan_again(keys_of(loaded), detector, backbones, device=device)
    options = WindowOptions(out, overlay, folder, window, hop, overwrite)
    with TemporaryDirectory(prefix="avemo-") as scratch:
        scores, _, failures = score_over_time(
            loaded, found, plan, options, Path(scratch) / "features", device, 0
        )
    scores.write(out)
    return failures
