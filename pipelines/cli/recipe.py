"""``avemo recipe``: list, show and run the recipes of papers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ...fusion.heads.settings import read_keys
from ..fuse.settings import CrossValidationSettings, EnsembleSettings
from ..recipes.recipe import Recipe, letters, load, names, path_of
from ..stage_one import ExtractSettings, extract
from ..stores import is_store
from . import completion
from .clip_options import DATASET_OPTIONS, PATTERN_HELP, dataset_options
from .console import Console
from .extract import main as extract_command
from .extract import settings_of
from .extraction import Printed
from .framework import (
    InputError,
    altered,
    command,
    given,
    group,
    json_result,
    keep_result,
    refuse_idle,
    tell_result,
    together,
)
from .fuse.cv import cv
from .fuse.options import allow_duplicates, allow_same_subjects
from .fuse.train import train
from .options import (
    audio_backbones_option,
    backbones_option,
    detector_option,
    device_option,
    epochs_option,
    fit_on_option,
    max_frames_option,
    members_option,
    out_option,
    seed_option,
    segment_backbones_option,
    workers_option,
)
from .outputs import overwrite_option, refuse_existing
from .settings_file import checked, settable, value_of
from .table import aligned, records

if TYPE_CHECKING:
    from ..recipes.run import Done, Planned

CLIP_OPTIONS = (*DATASET_OPTIONS, "max_frames", "audio_backbones", "segment_backbones", "detector")
RUN_OPTIONS = ("members", "epochs", "seed", "fit_on", "folds", "allow_same_subjects", "allow_duplicates")

COMMANDS = {"train": train, "cv": cv}
PRIORS = ("emotiw2019", "train", "none")

RESULTS_HELP = """
\b
DIR gets features/ (the store, if DATA is a folder of clips), runs/ (a folder for each run), results.md and
results.csv (accuracy beside the paper's), and, if the recipe makes an ensemble, submission.csv, scores.csv
and with --zip the challenge's zip. If a recipe is stopped, the same command continues it.
"""

options = together(
    dataset_options,
    group("Clips", max_frames_option),
    group(
        "Features",
        altered(
            backbones_option,
            help="Face network; repeat it if the paper uses a second. If DATA is a store: its name there.  "
            "[default: the recipe's, else ferplusnet]",
        ),
        audio_backbones_option,
        segment_backbones_option,
        altered(detector_option, default="dlib", help="Face detector: dlib, yunet[@FILE.onnx], or ssd@FILE."),
    ),
    group(
        "Training",
        altered(members_option, help="Heads to train for each run and average; member i has seed S + i."),
        altered(epochs_option, default=None, help="Number of epochs.  [default: the recipe's]"),
        seed_option,
        fit_on_option,
        click.option(
            "--set",
            "changes",
            multiple=True,
            metavar="KEY=VALUE",
            help="Another setting of avemo-fuse train or cv for all runs, such as dropout=0.6; the value "
            "none removes the recipe's. Repeatable.",
        ),
    ),
    group(
        "Selection",
        click.option("--folds", metavar="KIND", help="Folds, as in avemo-fuse cv.  [default: the recipe's]"),
    ),
    allow_same_subjects,
    allow_duplicates,
    group("Where it runs", device_option, workers_option),
    group(
        "Output",
        out_option,
        click.option(
            "--prior",
            type=click.Choice(PRIORS),
            metavar="SOURCE",
            help="Class weights of the ensemble: emotiw2019 (the challenge's), train (from the "
            "training labels) or none.  [default: the recipe's]",
        ),
        click.option("--zip", "team", metavar="TEAM", help="Also write TEAM.zip: a text file per test clip."),
        altered(overwrite_option, help="Replace results and runs with other settings in DIR."),
    ),
    json_result,
)


@command("list", epilog="\b\nExamples:\n  avemo recipe list\n  avemo recipe list --json")
@json_result
def list_() -> None:
    """List the recipes."""
    found = [load(name) for name in names()]
    header = ("recipe", "title", "runs", "source")
    rows = [[each.name, each.title, len(each.runs) or "--preset", each.source] for each in found]
    tell_result(records(header, rows))
    click.echo(aligned(header[:3], [row[:3] for row in rows]))


@command("show")
@click.argument("name", metavar="NAME", shell_complete=completion.names(names))
def show(name: str) -> None:
    """Print a recipe, as a file to copy and change."""
    load(name)
    click.echo(path_of(name).read_text(encoding="utf-8"), nl=False)


@command(
    "run",
    epilog="""
\b
Examples:
  avemo recipe run zhou2019-features afew/ --out features --backbone ir50@affectnet.pth \\
        --backbone ir50@rafdb.pth --audio-backbone alexnet@alexnet-owt-7be5be79.pth
  avemo recipe run zhou2021-family features/ --out family --folds subject --members 10
  avemo recipe run zhou2021-family features/ --out quick --set preset=none --set audio=logmel-stats
  avemo recipe run mine.toml clips/ --out mine
"""
    + RESULTS_HELP
    + PATTERN_HELP,
)
@click.argument("name", metavar="NAME", shell_complete=completion.names(names))
@click.argument("data", type=click.Path(path_type=Path))
@options
def run(name: str, data: Path, **given: Any) -> int:
    """Run a paper's recipe on the clips or the store DATA, and compare the results with the paper's.

    NAME is a recipe of `avemo recipe list`, or a file NAME.toml in the same form.
    """
    return carry_out(load(name), data, **given)


def short(
    name: str, examples: str, without: Sequence[str] = ()
) -> Callable[[Callable[..., Any]], click.Command]:
    """Make a command that runs one recipe; the decorated function gives it its help.

    It lacks the options ``without``, which would do nothing for the recipe.
    """

    def make(function: Callable[..., Any]) -> click.Command:
        def run(data: Path, **given: Any) -> int:
            asked: dict[str, Any] = {**dict.fromkeys(without), **given}
            return carry_out(load(name), data, **asked)

        run.__doc__ = function.__doc__
        argument = click.argument("data", type=click.Path(path_type=Path))
        made = command(name, epilog=f"\n\b\nExamples:{examples}" + RESULTS_HELP)(argument(options(run)))
        made.params = [parameter for parameter in made.params if parameter.name not in without]
        return made

    return make


@short(
    "emotiw2019",
    """
  avemo emotiw2019 afew/ --out emotiw --backbone ir50@affectnet.pth --backbone ir50@rafdb.pth \\
        --audio-backbone alexnet@alexnet-owt-7be5be79.pth --zip MyTeam
  avemo demo clips && avemo emotiw2019 clips --out emotiw --max-frames 10
""",
)
def emotiw2019() -> None:
    """Reproduce submission 5 of zhou2019 to EmotiW 2019 (avemo recipe run emotiw2019).

    Five face features, each fused with the sound by transformer attention and factorized bilinear pooling,
    then averaged and re-weighted by class. A second --backbone is for F-AR-Mean, which joins both.
    """


@short(
    "interspeech2019",
    """
  avemo interspeech2019 clips/ --out segments
  avemo interspeech2019 clips/ --out vgg --backbone vgg19-227@faces.pth --segment-backbone vgg19@mfcc.pth
  avemo recipe run priyasad2019 RML/ --out rml --detector ssd@opencv_face_detector_uint8.pb
""",
    without=("fit_on", "folds"),  # it cross-validates, and each of its runs has folds of its own
)
def interspeech2019() -> None:
    """Recognise emotions as Priyasad et al. do (avemo recipe run interspeech2019), and cross-validate.

    Speech is cut into segments of 655 ms. An LSTM reads the faces of each, attention fuses its output with
    the segment's sound, and a clip's segments vote. `avemo recipe run priyasad2019` uses the paper's sizes.
    """


recipe = click.Group(
    "recipe",
    commands=[list_, show, run],
    help="Run a paper's recipe, and compare the results with the paper's.",
    epilog="\b\nExamples:\n  avemo recipe list\n  avemo recipe show zhou2019-features > mine.toml\n"
    "  avemo recipe run zhou2019-attention features/ --out attention",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def carry_out(recipe: Recipe, data: Path, out: Path, overwrite: bool, team: str | None, **asked: Any) -> int:
    """Run a recipe; return 1 if clips failed, else 0."""
    from ..fuse.ensemble import ensemble
    from ..recipes.results import shown, write
    from ..recipes.run import do, lines_of, plan, prepared

    recipe = known(recipe)
    stored = is_store(data)
    refuse_idle(_idle(recipe, stored))
    prior = asked["prior"] or (recipe.ensemble or {}).get("prior", "none")
    extraction = None if stored else _extraction(recipe, data, out, asked)
    backbones = asked["backbones"] if extraction is None else _labels(recipe, extraction)
    machine = {"device": asked["device"], "workers": asked["workers"], "overwrite": overwrite}
    store = data if extraction is None else extraction.store
    planned = plan(recipe, _changes(recipe, asked), backbones, store, out / "runs", **machine)
    _refuse_changes(planned.idle)
    dataset = _foreseen(extraction, planned) if extraction else ""
    marker = out / f"{recipe.name}.toml"
    refuse_existing(_outputs(recipe, out, team), overwrite, unless=marker)
    whole = True
    if extraction:
        click.echo("== clips to features")
        whole = extract(extraction, Printed()).whole
    console = Console()
    ready = prepared(planned, console)
    for name, why in ready.left_out.items():
        click.echo(f"left out: {name}: {why}", err=True)
        if name == recipe.baseline or not ready.runs:
            raise InputError(f"{recipe.name} cannot be run here: {name}: {why}")
    marker.write_text(recipe.file.read_text(encoding="utf-8"), encoding="utf-8")
    done = {}
    for number, (name, settings) in enumerate(ready.runs.items(), 1):
        click.echo(f"\n== run {number} of {len(ready.runs)}: {name}")
        done[name] = do(settings, console)
    if recipe.ensemble is not None:
        click.echo("\n== runs to an ensemble")
        paths = tuple(each.path for each in done.values())
        ensemble(EnsembleSettings(paths, prior=prior, out=out, team=team, overwrite=True))
    lines, notes = lines_of(recipe, done, prior, dataset)
    notes = [*_notes(recipe, done, ready), *notes]
    written = write(recipe.title, lines, notes, out, recipe.confusion)
    click.echo(f"\n{recipe.title}\n\n{aligned(*shown(lines))}\n\n" + "\n".join(notes))
    click.echo(f"wrote {', '.join(map(str, written))}")
    runs = {name: str(each.path) for name, each in done.items()}
    keep_result(recipe=recipe.name, results=[line.figures for line in lines], notes=notes, runs=runs)
    keep_result(left_out=dict(ready.left_out), wrote=[str(path) for path in written])
    return 0 if whole else 1


def known(recipe: Recipe) -> Recipe:
    """Return the recipe with its settings under the names of parameters.

    Raises:
        InputError: a key or value is invalid, or there is nothing to run.
    """
    if not recipe.runs:
        users = [name for name in names() if load(name).shared.get("preset") == recipe.name]
        raise InputError(
            f"{recipe.name} is a network, for avemo-fuse train --preset {recipe.name}; recipes that train "
            f"it: {', '.join(users)}"
        )
    prior = (recipe.ensemble or {}).get("prior", "none")
    if prior not in PRIORS:
        raise InputError(f"{recipe.file}: [ensemble] prior = {prior!r}: expected one of {', '.join(PRIORS)}")
    own = {name: _flat(recipe, own, f"{recipe.file}: {name}") for name, own in recipe.runs.items()}
    shared = _flat(recipe, recipe.shared, f"{recipe.file}: [{recipe.kind}]")
    extracted = checked(recipe.extract, click.Context(extract_command), f"{recipe.file}: [extract]")
    return replace(recipe, runs=own, shared=shared, extract=extracted)


def _changes(recipe: Recipe, asked: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of runs given on the command line; None removes one."""
    texts = dict(text.partition("=")[::2] for text in asked["changes"])
    values = {name.strip(): value_of(text.strip()) for name, text in texts.items()}
    kept = {name: value for name, value in values.items() if value != "none"}
    options = {option.name for option in settable(COMMANDS[recipe.kind]).values()} | {"lr"}
    head = {name: value for name, value in kept.items() if name not in options}
    rest = {name: value for name, value in kept.items() if name in options}
    found = _flat(recipe, {**rest, "set": head}, "--set")
    away = dict.fromkeys((name for name in values if name not in kept), None)
    return {**{name: asked[name] for name in RUN_OPTIONS if name in given()}, **away, **found}


def _flat(recipe: Recipe, settings: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Return settings by field, the head's among the others."""
    found = checked(settings, click.Context(COMMANDS[recipe.kind]), where)
    head = read_keys(found.pop("head", ()))
    return {**found, **head}


def _refuse_changes(idle: Mapping[str, str]) -> None:
    refuse_idle(idle)
    for name, why in idle.items():
        raise click.UsageError(f"--set {name} would do nothing: {why}")


def _idle(recipe: Recipe, stored: bool) -> dict[str, str]:
    """Return options that would do nothing → reason."""
    idle = dict.fromkeys(CLIP_OPTIONS, "DATA is a store, whose features are used") if stored else {}
    if not recipe.extract.get("segments"):
        idle["segment_backbones"] = f"{recipe.name} cuts no segments"
    if stored and not letters(recipe):
        idle["backbones"] = f"the runs of {recipe.name} read no face network"
    if recipe.kind == "cv":
        idle["fit_on"] = f"{recipe.name} cross-validates; see --folds"
    else:
        idle["folds"] = f"{recipe.name} trains; see --fit-on"
    if recipe.ensemble is None:
        idle |= dict.fromkeys(("prior", "team"), f"{recipe.name} makes no ensemble")
    return idle


def _extraction(recipe: Recipe, data: Path, out: Path, asked: Mapping[str, Any]) -> ExtractSettings:
    """Return what to extract: the options given, else the recipe, else the defaults of avemo-extract."""
    own = {name: asked[name] for name in (*CLIP_OPTIONS, "backbones") if name in given()}
    machine = {"device": asked["device"], "workers": asked["workers"], "store": out / "features"}
    settings = {"detector": asked["detector"], **recipe.extract, **own, **machine}
    context = extract_command.make_context("extract", [str(data)], default_map=settings)  # as --config does
    return settings_of(**context.params)


def _labels(recipe: Recipe, extraction: ExtractSettings) -> list[str]:
    """Return the labels of the backbones, if the recipe refers to backbones."""
    from ...extract.networks import planned_face_networks

    wanted, backbones = letters(recipe), extraction.plan.backbones
    if wanted and len(backbones) > wanted:
        raise click.UsageError(f"{len(backbones)} backbones given; {recipe.name} reads {wanted} at most")
    return [network.label for network in planned_face_networks(extraction.plan)] if wanted else []


def _foreseen(extraction: ExtractSettings, planned: Planned) -> str:
    """Return the name of the data set, after checking, before any work, that it has clips and folds."""
    from ...extract.streams.registry import keys_of
    from ...fusion.training.folds import divide

    found = extraction.clips.find()
    if found.markers and extraction.plan.segments:
        raise InputError(f"{found.dataset} is read as sound and facial markers, and this needs pictures")
    plan = replace(extraction.plan, pictures=False, backbones=()) if found.markers else extraction.plan
    keys_of(plan)
    clips = [clip for clip in found.clips if clip.label is not None]
    for settings in planned.runs.values():
        if isinstance(settings, CrossValidationSettings):
            divide(settings.folds, clips, settings.session_pattern, settings.seed)
    return found.name


def _outputs(recipe: Recipe, out: Path, team: str | None) -> list[Path]:
    """Return the files to write, besides those of the runs."""
    from ..fuse.ensemble import outputs

    more = outputs(out, team) if recipe.ensemble is not None else []
    return [out / "results.md", out / "results.csv", *more]


def _notes(recipe: Recipe, done: Mapping[str, Done], ready: Planned) -> list[str]:
    """Return the notes that readers of the table need."""
    notes = [*dict.fromkeys(each.demo for each in done.values() if each.demo)]
    notes += [f"The paper's figures: {recipe.source}."] if recipe.source else []
    for stream, what in {"visual": "faces", "audio": "sound"}.items():
        read = dict.fromkeys(each.features[stream] for each in done.values() if stream in each.features)
        notes += [f"Used here, {what}: {', '.join(read)}."] if read else []
    notes += [f"The paper used {recipe.paper}."] if recipe.paper else []
    if any(not each.members for each in done.values()):
        notes.append("Trained on all labelled clips, so there is nothing to validate on.")
    return notes + [f"Left out: {name}: {why}." for name, why in ready.left_out.items()]
