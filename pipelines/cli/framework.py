"""What all commands share: groups of options, exit codes, and errors in one clear line.

Exit codes: 0 done; 1 done, but some clips failed; 2 wrong arguments or input; 130 interrupted, resumable (143
by SIGTERM, 129 by SIGHUP).
"""

from __future__ import annotations

import json
import re
import signal
import sys
import traceback
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext, redirect_stderr, redirect_stdout, suppress
from threading import current_thread, main_thread
from types import FrameType
from typing import Any, TextIO, cast

import click
from click.core import ParameterSource

WRONG_INPUT, BY_SIGNAL = 2, 128
PACKAGE = __name__.partition(".")[0]
RESULT = f"{PACKAGE}.result"
SILENT = f"{PACKAGE}.silent"
DUMP = f"{PACKAGE}.dump"
DEBUG = f"{PACKAGE}.debug"

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]

OTHER = "Other"
GROUPS = (
    "Clips",
    "Features",
    "Network",
    "Head",
    "Training",
    "Augmentation",
    "Selection",
    "Evaluation",
    "Where it runs",
    "Output",
    OTHER,
)
"""The groups of options in ``--help``, in this order."""
FEW = 6
"""Commands with at most this many options show them without groups."""


def group(name: str, *options: Decorator) -> Decorator:
    """Combine ``options`` into one decorator; ``--help`` shows them in this order under ``name``."""
    assert name in GROUPS, name

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        before = len(getattr(function, "__click_params__", ()))  # where click collects them
        function = together(*options)(function)
        for parameter in function.__click_params__[before:]:  # type: ignore[attr-defined]
            vars(parameter).setdefault("group", name)
        return function

    return decorate


def altered(option: Decorator, **attributes: Any) -> Decorator:
    """Return a shared option with another ``default``, ``help`` or other attribute."""

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        function = option(function)
        vars(function.__click_params__[-1]).update(attributes)  # type: ignore[attr-defined]
        return function

    return decorate


def together(*options: Decorator) -> Decorator:
    """Combine ``options`` into one decorator, in this order."""

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


def group_of(parameter: click.Parameter) -> str | None:
    """Return the group of an option; None if it has none."""
    own = OTHER if parameter.is_eager else None  # help and version
    return getattr(parameter, "group", own)


def by_group(parameters: Iterable[click.Parameter]) -> dict[str, list[click.Option]]:
    """Sort options into the groups of ``--help``; if there are few, all are ``Options``."""
    options = [each for each in parameters if isinstance(each, click.Option) and not each.hidden]
    if sum(group_of(option) != OTHER for option in options) <= FEW:
        return {"Options": options}
    groups = {name: [each for each in options if group_of(each) == name] for name in (None, *GROUPS)}
    return {name or "Options": found for name, found in groups.items() if found}


def _ask_for_result(context: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted:
        context.meta[RESULT] = {}


json_result = group(
    "Output",
    click.option(
        "--json",
        is_flag=True,
        expose_value=False,
        callback=_ask_for_result,
        help="Print the result as JSON; everything else goes to stderr.",
    ),
)


def keep_result(**values: Any) -> None:
    """Add values to the result that ``--json`` prints; a mapping is merged into the one of the same name."""
    context = click.get_current_context(silent=True)
    if context is None or RESULT not in context.meta:
        return
    kept = context.meta[RESULT]
    for name, value in values.items():
        kept[name] = {**kept.get(name, {}), **value} if isinstance(value, Mapping) else value


def wants_json() -> bool:
    """Whether ``--json`` was given."""
    return RESULT in click.get_current_context().meta


def tell_result(value: Any) -> None:
    """Set the whole result that ``--json`` prints."""
    click.get_current_context().meta[RESULT] = value


def show_result(value: Any, text: Callable[[Any], str]) -> None:
    """Print a result: as JSON if asked for, else formatted by ``text``."""
    tell_result(value) if wants_json() else click.echo(text(value))


def be_silent() -> None:
    """Print no result and no progress for this command, because another process does."""
    click.get_current_context().meta[SILENT] = True


def is_silent() -> bool:
    """Whether :func:`be_silent` was called for the running command."""
    context = click.get_current_context(silent=True)
    return context is not None and bool(context.meta.get(SILENT))


class InputError(click.ClickException):
    """Input that cannot be used; the text says what was found, what was expected, and what to do."""

    exit_code = WRONG_INPUT


LONGEST_MESSAGE = 2000
DEBUG_OPTION = click.Option(
    ["--debug"],
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=lambda context, _, wanted: context.meta.update({DEBUG: wanted}),
    help="Show where in the program an error came from.",
)


def _show_traceback(context: click.Context) -> None:
    if context.meta.get(DEBUG):
        click.echo(traceback.format_exc(), err=True)


def as_message(text: str) -> str:
    """Make an error's text safe to print: escape unprintable characters, shorten long texts in the middle."""
    text = "".join(c if c == "\n" or c.isprintable() else repr(c)[1:-1] for c in text)
    if len(text) > LONGEST_MESSAGE:
        text = f"{text[: LONGEST_MESSAGE // 2]} … {text[-LONGEST_MESSAGE // 2 :]}"
    return text


_TO_TERMINALS = re.compile(r"(?!\x1b\[A)[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
"""Control characters and bidirectional overrides, except "up one line", which progress bars use."""


class _Printable:
    """Wraps a stream so that names of clips, classes or speakers cannot send commands to the terminal."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write ``text``; control characters are escaped as in JSON, because the text may be JSON."""
        return self._stream.write(_TO_TERMINALS.sub(lambda found: f"\\u{ord(found[0]):04x}", text))


@contextmanager
def _printable() -> Iterator[None]:
    out, err = (cast(TextIO, _Printable(stream)) for stream in (sys.stdout, sys.stderr))
    with redirect_stdout(out), redirect_stderr(err):
        yield


def is_told(error: Exception) -> bool:
    """Whether an error's text is for the user; any other error is a bug."""
    return isinstance(error, OSError) or type(error).__module__.partition(".")[0] == PACKAGE


class Interrupted(KeyboardInterrupt):
    """A signal asked the process to end."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number


@contextmanager
def _interruptible() -> Iterator[None]:
    """Let SIGTERM (batch systems) and SIGHUP (a closed terminal) end a command as Ctrl-C does, with clean-up.

    A signal that is ignored, as by ``nohup``, stays ignored.
    """

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise Interrupted(number)

    numbers = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    ours = [number for number in numbers if signal.getsignal(number) == signal.SIG_DFL]
    if current_thread() is not main_thread():
        ours = []
    for number in ours:
        signal.signal(number, interrupt)
    try:
        yield
    finally:
        for number in ours:
            signal.signal(number, signal.SIG_DFL)


class Command(click.Command):
    """A command whose function may return an exit code, and whose errors are shown in one line.

    Exceptions of this package and of the file system carry texts for the user. Any other exception is a bug
    and keeps its traceback; ``--debug`` shows the traceback of all.
    """

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        return [*super().get_params(ctx), DEBUG_OPTION]

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for name, options in by_group(self.get_params(ctx)).items():
            records = [record for option in options if (record := option.get_help_record(ctx))]
            with formatter.section(name):
                formatter.write_dl(records)

    @_printable()
    def invoke(self, ctx: click.Context) -> None:
        if DUMP in ctx.meta:
            click.echo(ctx.meta[DUMP](self, ctx.params))
            ctx.exit()
        asked = RESULT in ctx.meta
        try:
            with _interruptible(), redirect_stdout(sys.stderr) if asked else nullcontext():
                code = super().invoke(ctx)
            if asked and not is_silent():
                click.echo(json.dumps(ctx.meta[RESULT], indent=2, ensure_ascii=False))
        except KeyboardInterrupt as error:
            code = BY_SIGNAL + (error.number if isinstance(error, Interrupted) else signal.SIGINT)
            with suppress(OSError):  # the terminal may be gone
                click.echo(
                    "\ninterrupted; stored results are intact, and the same command continues", err=True
                )
        except click.UsageError:
            raise
        except (click.ClickException, click.FileError) as error:
            _show_traceback(ctx)
            raise InputError(as_message(error.format_message())) from error
        except BrokenPipeError:
            raise
        except Exception as error:
            if not is_told(error):
                raise
            _show_traceback(ctx)
            raise InputError(as_message(str(error))) from error
        ctx.exit(code or 0)


def is_given(name: str) -> bool:
    """Whether a parameter is set on the command line or in ``--config``."""
    context = click.get_current_context()
    return context.get_parameter_source(name) in (ParameterSource.COMMANDLINE, ParameterSource.DEFAULT_MAP)


def given() -> set[str]:
    """Return the names of the running command's parameters for which :func:`is_given` holds."""
    names = (parameter.name or "" for parameter in click.get_current_context().command.params)
    return {name for name in names if is_given(name)}


def refuse_idle(idle: Mapping[str, str]) -> None:
    """Refuse an option that is given but would do nothing, and say why; the one rule of all commands.

    Args:
        idle: name of a parameter that would do nothing → reason.

    Raises:
        click.UsageError: one of them is given.
    """
    for parameter in click.get_current_context().command.params:
        name = parameter.name or ""
        if name in idle and is_given(name):
            raise click.UsageError(f"{parameter.opts[0]} would do nothing: {idle[name]}")


def command(name: str, **settings: Any) -> Callable[[Callable[..., Any]], click.Command]:
    """Turn a function into a :class:`Command` that also answers to ``-h``."""
    return click.command(
        name, cls=Command, context_settings={"help_option_names": ["-h", "--help"]}, **settings
    )


def with_options_of(
    other: click.Command, without: Collection[str]
) -> Callable[[click.Command], click.Command]:
    """Append another command's options to those of a command."""

    def extend(own: click.Command) -> click.Command:
        own.params += [parameter for parameter in other.params if parameter.name not in without]
        return own

    return extend
