"""The pages: every block of commands or Python on them works, the site builds, no link of it is dead."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from html.parser import HTMLParser
from importlib import metadata
from pathlib import Path
from urllib.parse import unquote

import click
import pytest
import torch
from markdown_it import MarkdownIt
from playwright.sync_api import Browser
from torch import nn

from avemo.extract.backbones import get
from avemo.pipelines.cli.extract import main as avemo_extract
from avemo.pipelines.cli.fuse import COMMANDS as FUSE_COMMANDS
from avemo.pipelines.cli.fuse import main as avemo_fuse
from avemo.pipelines.cli.main import COMMANDS
from avemo.pipelines.cli.main import main as avemo

from .browsing import DESKTOP, PHONE, opened

ROOT = Path(__file__).resolve().parents[1]
PAGES = [
    "README.md",
    "benchmarks/README.md",
    "benchmarks/NOTES.md",
    *(str(page.relative_to(ROOT)) for page in sorted((ROOT / "docs").glob("*.md"))),
]
START = "docs/start.md"
SHELL, PYTHON = ("sh", "console"), "python"
OTHERS = ("text", "json")
NOT_RUN, FILE = re.compile(r"<!-- not run: (.+?) -->"), re.compile(r"<!-- file: (\S+) -->")

PROGRAMS = {"avemo": avemo, "avemo-extract": avemo_extract, "avemo-fuse": avemo_fuse}
OTHER_PROGRAMS = {"awk", "cat", "export", "head", "test", "ray"}
KEYWORDS = {"do", "then"}
LOOPS = {"for", "done"}
END = re.compile(r"[;|&]+")
SECONDS = 600


@dataclass(frozen=True)
class Block:
    """A fenced block; ``remark`` is the comment right before it."""

    page: str
    line: int
    language: str
    text: str
    remark: str

    @property
    def place(self) -> str:
        return f"{self.page}:{self.line}"

    @property
    def file(self) -> str | None:
        """The file that it is the content of."""
        found = FILE.search(self.remark)
        return found[1] if found else None

    @property
    def runs(self) -> bool:
        return self.language in (*SHELL, PYTHON) and not NOT_RUN.search(self.remark)

    @property
    def steps(self) -> list[tuple[str, list[str]]]:
        """Of a shell block: commands, with the lines that they are said to print."""
        if self.language == "sh":
            return [(self.text, [])]
        steps: list[tuple[str, list[str]]] = []
        for line in self.text.splitlines():
            if line.startswith("$ "):
                steps.append((line[2:], []))
            else:
                steps[-1][1].append(line)
        return steps

    @property
    def commands(self) -> Iterator[list[str]]:
        """Of a shell block: its simple commands, in words, without redirections and variables being set."""
        for script, _ in self.steps:
            for line in script.replace("\\\n", " ").splitlines():
                lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
                lexer.whitespace_split = True
                command: list[str] = []
                for word in [*lexer, ";"]:
                    if not END.fullmatch(word):
                        command.append(word)
                        continue
                    while command and (command[0] in KEYWORDS or re.match(r"\w+=", command[0])):
                        command.pop(0)
                    if command:
                        yield command[: command.index(">")] if ">" in command else command
                    command = []


@cache
def blocks(page: str) -> tuple[Block, ...]:
    """The blocks of a page; directives of the site's generator are its own matter."""
    tokens = MarkdownIt("commonmark").parse((ROOT / page).read_text(encoding="utf-8"))
    found = []
    for number, token in enumerate(tokens):
        if token.type == "fence" and not token.info.startswith("{"):
            before = tokens[number - 1] if number else token
            remark = before.content if before.type == "html_block" else ""
            assert token.map is not None
            found.append(Block(page, token.map[0] + 1, token.info.strip(), token.content, remark))
    return tuple(found)


RUNNING = [page for page in PAGES if page != START and any(block.runs for block in blocks(page))]


@pytest.mark.parametrize("page", PAGES)
def test_blocks_say_what_they_are(page: str) -> None:
    for block in blocks(page):
        assert block.language in (*SHELL, PYTHON, *OTHERS), f"{block.place}: {block.language!r}"
        assert not NOT_RUN.search(block.remark) or block.language in SHELL, f"{block.place} is never run"


@pytest.mark.parametrize("page", PAGES)
def test_commands_exist(page: str) -> None:
    """Also those that are not run: programs, subcommands, options, choices and numbers."""
    files = {block.file for block in blocks(page)}
    for block in blocks(page):
        for words in block.commands if block.language in SHELL else ():
            try:
                check(words, files)
            except (click.ClickException, AssertionError) as error:
                raise AssertionError(f"{block.place}: {' '.join(words)}: {error}") from error


def test_what_does_not_exist_is_found() -> None:
    for line in (
        "avemo-fuse train --fuson fbp",
        "avemo-fuse train --epochs many",
        "avemo-fuse train --fit-on test",
        "avemo-fuse trian",
        "avemo store merge",
        "make coffee",
        "python benchmarks/no_such.py",
        "pip install 'avemo[gpu]'",
        "curl https://example.org",
    ):
        with pytest.raises((click.ClickException, AssertionError)):
            check(shlex.split(line), set())


def check(words: Sequence[str], files: set[str | None]) -> None:
    """See that a command can be typed.

    Raises:
        AssertionError, click.ClickException: there is no such program, target, file, option or choice.
    """
    program, *arguments = words
    if program in PROGRAMS:
        check_arguments(PROGRAMS[program], arguments)
    elif program == "make":
        targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
        assert {*arguments} <= {*targets}, f"the targets are {targets}"
    elif program == "python":
        assert arguments[0] in files or (ROOT / arguments[0]).is_file(), f"no file {arguments[0]}"
        if arguments[0] in files:
            check_arguments(avemo, arguments[1:])
    elif program == "pip":
        wanted = re.findall(r"\[(\w+)\]", " ".join(arguments))
        assert {*wanted} <= {*(metadata.metadata("avemo").get_all("Provides-Extra") or [])}
    else:
        assert program in OTHER_PROGRAMS or program in LOOPS, "no program that the tests know"


def check_arguments(command: click.Command, arguments: list[str]) -> None:
    context = click.Context(command, info_name=command.name)
    if isinstance(command, click.Group):
        name = arguments[0]
        if not name.startswith("-"):
            chosen = command.get_command(context, name)
            assert chosen is not None, f"no command {name}"
            check_arguments(chosen, arguments[1:])
        return
    values, _, _ = command.make_parser(context).parse_args(list(arguments))
    for parameter in command.params:
        value = values.get(parameter.name or "")
        given = value not in (None, ()) and type(value).__name__ != "Sentinel"
        assert given or not parameter.required, f"{parameter.human_readable_name} is missing"
        if given and not isinstance(parameter.type, click.Path):
            parameter.type_cast_value(context, value)


@pytest.fixture(scope="session")
def started(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What somebody has who followed the first page: clips, a store, a run, scores."""
    folder = tmp_path_factory.mktemp("start")
    work_through(START, folder)
    return folder


@pytest.mark.slow
def test_the_first_page_works(started: Path) -> None:
    assert (started / "runs" / "default" / "report.html").stat().st_size > 10_000


@pytest.mark.slow
@pytest.mark.parametrize("page", RUNNING)
def test_blocks_work(page: str, started: Path, tmp_path: Path) -> None:
    for name in ("features", "runs"):
        shutil.copytree(started / name, tmp_path / name)
    for name in ("clips", "afew"):  # the demo set is laid out as AFEW
        (tmp_path / name).symlink_to(started / "clips")
    (tmp_path / "run").symlink_to(tmp_path / "runs" / "default")
    (tmp_path / "film.mp4").symlink_to(next((started / "clips" / "Test_AFEW").glob("*.mp4")))
    make_weights(tmp_path)
    work_through(page, tmp_path)


def make_weights(folder: Path) -> None:
    """The checkpoints, good and bad, that pages speak of."""
    network = get("mobilefacenet").build()
    whole = folder / "my_net.pt"
    torch.save(network.state_dict(), whole)
    (folder / "page.pth").write_text("<!DOCTYPE html><html><body>Sign in</body></html>\n")
    (folder / "cut.pt").write_bytes(whole.read_bytes()[:100_000])
    (folder / "pointer.pth").write_text(
        "version https://git-lfs.github.com/spec/v1\noid sha256:" + "0" * 64 + "\nsize 44000000\n"
    )
    torch.save(nn.Linear(2, 2), folder / "evil.pth")


def work_through(page: str, folder: Path) -> None:
    """Do what a page says, block by block."""
    for block in blocks(page):
        if block.file:
            (folder / block.file).write_text(block.text, encoding="utf-8")
        elif block.runs and block.language == PYTHON:
            done = execute([sys.executable, "-c", block.text], folder)
            assert done.returncode == 0, f"{block.place}\n{done.stderr[-3000:]}"
        elif block.runs:
            for script, said in block.steps:
                done = execute(["bash", "-euo", "pipefail", "-c", script], folder)
                told = f"{block.place}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
                assert "Traceback" not in done.stderr, told
                assert done.returncode == 0 or block.language == "console", told
                printed = comparable(done.stdout) + " " + comparable(done.stderr)
                missing = [line for line in said if line != "…" and comparable(line) not in printed]
                assert not missing, f"{missing} was not printed. {told}"


def execute(command: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "AVEMO_WEIGHTS": "weights"}
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=SECONDS, check=False
    )


def comparable(text: str) -> str:
    """Without what differs from machine to machine: numbers, and how they are spaced."""
    return " ".join(re.sub(r"\b(bf|fp)?\d[\d.]*", "#", text).split())


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site; the tutorial is run for it."""
    folder = tmp_path_factory.mktemp("site")
    environment = {**os.environ, "AVEMO_NOTEBOOKS": str(folder / "notebooks")}
    done = subprocess.run(
        [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-n", "-q", "docs", str(folder / "html")],
        cwd=ROOT, env=environment, capture_output=True, text=True, timeout=2 * SECONDS, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-5000:]
    return folder / "html"


class Links(HTMLParser):
    """What a page of the site refers to and loads, and the places in it that can be referred to."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.places: set[str] = set()
        self.refers: list[str] = []
        self.loads: list[str] = []
        self.feed(page.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attributes}
        self.places |= {given.get("id", ""), given.get("name", "")}
        if tag == "a" and "href" in given:
            self.refers.append(given["href"])
        elif tag in ("img", "script", "source") and "src" in given:
            self.loads.append(given["src"])
        elif tag == "link" and given.get("rel") in ("stylesheet", "icon", "preload"):
            self.loads.append(given["href"])


@pytest.mark.slow
def test_the_site_has_no_dead_link_and_loads_nothing_from_elsewhere(site: Path) -> None:
    pages = {page: Links(page) for page in site.rglob("*.html")}
    assert len(pages) > 30
    dead = []
    for page, links in pages.items():
        assert not [address for address in links.loads if re.match(r"(https?:)?//", address)], page
        for address in (*links.refers, *(address.partition("?")[0] for address in links.loads)):
            if re.match(r"[a-z]+:", address):
                continue
            file, _, place = unquote(address).partition("#")
            target = (page.parent / file).resolve() if file else page
            if not target.exists() or (place and target in pages and place not in pages[target].places):
                dead.append(f"{page.relative_to(site)}: {address}")
    assert not dead


@pytest.mark.slow
def test_every_command_is_on_the_site(site: Path) -> None:
    shown = (
        Links(site / "reference" / "avemo.html").places | Links(site / "reference" / "avemo-fuse.html").places
    )
    wanted = {f"avemo-{name}" for name in COMMANDS} - {"avemo-extract", "avemo-fuse"}
    assert wanted | {f"avemo-fuse-{name}" for name in FUSE_COMMANDS} <= shown


@pytest.mark.parametrize(
    "room",
    ["cache", "extract", "extract/backbones", "fusion", "fusion/features", "fusion/heads", "fusion/training",
     "fusion/evaluation", "pretrain"],
)  # fmt: skip
def test_every_module_is_on_a_page(room: str) -> None:
    package = f"avemo.{room.replace('/', '.')}"
    text = "".join(page.read_text(encoding="utf-8") for page in (ROOT / "docs" / "api").glob("*.md"))
    listed = re.findall(rf"automodule:: {re.escape(package)}\.(\w+)$", text, re.MULTILINE)
    assert sorted(listed) == sorted(file.stem for file in (ROOT / room).glob("[!_]*.py"))


def test_the_architecture_names_what_exists() -> None:
    """Every path on the page is there, and every room of the code is on the page."""
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    paths = re.findall(r"`((?:[\w.-]+/)+(?:[\w.-]+\.\w+)?)`", text)
    assert len(paths) > 40
    assert [path for path in paths if not (ROOT / path).exists()] == []
    for path, name in re.findall(r"`([A-Z_]{4,})` of\s+`([\w/]+\.py)`", text):
        assert re.search(rf"^{path}\b", (ROOT / name).read_text(encoding="utf-8"), re.MULTILINE), (path, name)
    rooms = {f"{folder.parent.relative_to(ROOT)}/" for folder in (ROOT / "pipelines").glob("*/__init__.py")}
    assert {"cache/", "extract/", "pretrain/"} | rooms <= {*paths}


@pytest.mark.slow
@pytest.mark.parametrize("size", [DESKTOP, PHONE])
def test_the_site_in_a_browser(site: Path, browser: Browser, size: tuple[int, int]) -> None:
    pages = ("index", "start", "method", "tutorial", "reference/avemo-fuse", "api/heads", "performance",
             "results", "reproduce")  # fmt: skip
    for page in pages:
        with opened(browser, site / f"{page}.html", size) as shown:
            assert shown.locator("article h1").count() >= 1
            pictures = shown.locator("article img").evaluate_all("all => all.map(one => one.naturalWidth)")
            assert all(width > 0 for width in pictures)
            cut = "all => all.filter(one => one.scrollWidth > one.clientWidth + 1).map(one => one.innerText)"
            assert shown.locator("article pre").evaluate_all(cut) == []
