"""Fuzzes every kind of file that avemo reads, except media.

    python -m tests.torture.files [--count 10000] [--seed 0] [--kind KIND]

Each input is read in a disposable process. It must either be read or be rejected with a one-line error of
avemo's own classes; data with a checksum must be read as written, or be reported as damaged. A hang, a crash,
any other error, or more memory than a file of that size needs breaks the promise.
"""

from __future__ import annotations

import faulthandler
import io
import json
import os
import random
import resource
import select
import shutil
import signal
import sys
import tempfile
import time
import traceback
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
import h5py
import numpy as np

from avemo.cache import journal
from avemo.cache.shards import checksum

FIRST_RELEASE = Path(__file__).parents[1] / "data" / "first-release"
SECONDS = 30  # that one input may take, on a busy machine
MEMORY = 3 << 30  # bytes of addresses beyond those of the process before it reads
WHOLE, KNOWN, OTHER, REFUSED = "as written", "told", "other values", "refused"
BROKEN = "BROKEN"
READY, UNABLE = "ready", 99

Content = tuple[bytes, bool]
"""What a changed file holds, and whether its checksums still speak for what was written."""
Change = Callable[[bytes, random.Random], Content]


class Unreadable(Exception):
    """This change cannot be made of this input; another is taken."""


# ------------------------------------------------------------------------------- bytes


def _truncated(content: bytes, rng: random.Random) -> Content:
    return content[: rng.randrange(len(content))], True


def _flipped(content: bytes, rng: random.Random) -> Content:
    changed = bytearray(content)
    for _ in range(rng.choice((1, 1, 1, 2, 5, 50))):
        changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed), True


def _flipped_header(content: bytes, rng: random.Random) -> Content:
    changed = bytearray(content)
    for _ in range(rng.choice((1, 1, 2, 5))):
        changed[rng.randrange(min(2048, len(changed)))] ^= 1 << rng.randrange(8)
    return bytes(changed), True


def _absurd_numbers(content: bytes, rng: random.Random) -> Content:
    changed = bytearray(content)
    for _ in range(rng.randrange(1, 4)):
        size = rng.choice((1, 2, 4, 8))
        place = rng.randrange(max(1, min(4096, len(content)) - size))
        changed[place : place + size] = rng.choice((b"\0", b"\xff", b"\x7f", b"\x80")) * size
    return bytes(changed), True


def _hole(content: bytes, rng: random.Random) -> Content:
    start, length = rng.randrange(len(content)), rng.randrange(1, 600)
    return content[:start] + bytes(len(content[start : start + length])) + content[start + length :], True


def _twice(content: bytes, rng: random.Random) -> Content:
    start = rng.randrange(len(content))
    return content[:start] + content[start // 2 :], True


def _nothing_like_it(content: bytes, rng: random.Random) -> Content:
    return rng.choice(
        (
            b"",
            b"\0" * 500,
            b"<!DOCTYPE html><html>Sign in</html>",
            rng.randbytes(300),
            b"\x89HDF\r\n\x1a\n",
            b"PK\x03\x04" + rng.randbytes(50),
            b"version https://git-lfs.github.com/spec/v1\n",
        )
    ), True


BYTES = (_truncated, _flipped, _flipped_header, _absurd_numbers, _hole, _twice, _nothing_like_it)


# ------------------------------------------------------------------------------- text

NUMBERS = (
    "-1",
    "0",
    "1e999",
    "-1e999",
    "NaN",
    "Infinity",
    "9" * 400,
    "9" * 5000,
    "1_0",
    "0x10",
    "٣",
    "1,5",
    "1e-320",
)
VALUES = (
    *NUMBERS,
    "null",
    "true",
    "{}",
    "[]",
    '""',
    '"text"',
    "[[1]]",
    "",
    " ",
    "\0",
    "'",
    '"',
    "=1+1",
    "\x1b[2J",
)
STRANGE = (
    b"\xef\xbb\xbf",
    b"\0",
    b"\xff\xfe",
    b"\xe9",
    b"\r\n",
    b"\r",
    b"\x1b[31m",
    b"\xed\xa0\x80",
    b"\xe2\x80\xae",
)


def _other_token(content: bytes, rng: random.Random) -> Content:
    """A word or a number becomes something else."""
    import re

    tokens = list(re.finditer(rb"[\w.+-]+", content))
    if not tokens:
        raise Unreadable
    found = rng.choice(tokens)
    return content[: found.start()] + rng.choice(VALUES).encode() + content[found.end() :], True


def _strange_bytes(content: bytes, rng: random.Random) -> Content:
    place = rng.choice((0, rng.randrange(len(content) + 1)))
    return content[:place] + rng.choice(STRANGE) + content[place:], True


def _other_encoding(content: bytes, rng: random.Random) -> Content:
    text = content.decode(errors="replace")
    how = rng.choice(("utf-16", "utf-16-le", "utf-32", "latin-1", "cp037", "utf-8-sig"))
    return text.encode(how, errors="replace"), True


def _other_lines(content: bytes, rng: random.Random) -> Content:
    lines = content.splitlines(keepends=True)
    place = rng.randrange(len(lines))
    how = rng.randrange(6)
    if how == 0:
        lines.insert(place, lines[rng.randrange(len(lines))])
    elif how == 1:
        del lines[place]
    elif how == 2:
        lines[place] = b"x" * rng.choice((200_000, 2_000_000)) + b"\n"
    elif how == 3:
        return content.replace(b"\n", rng.choice((b"\r\n", b"\r", b"\n\n", b""))), True
    elif how == 4:
        rng.shuffle(lines)
    else:
        lines[place] = (
            rng.choice((b"[", b"{", b'"', b'{"a":', b"a=[")) * rng.choice((3, 2000, 100_000)) + b"\n"
        )
    return b"".join(lines), True


TEXT = (_other_token, _other_token, _strange_bytes, _other_encoding, _other_lines)


def _json_changed(value: Any, rng: random.Random) -> Any:
    """One node of ``value`` becomes another, goes, or comes twice."""
    places: list[tuple[Any, Any]] = []
    stack = [value]
    while stack:
        node = stack.pop()
        items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
        for key, below in items:
            places.append((node, key))
            stack.append(below)
    if not places:
        return rng.choice(STRANGE_VALUES)
    node, key = rng.choice(places)
    how = rng.randrange(8)
    if how == 0:
        del node[key]
    elif how == 1 and isinstance(node, dict):
        node[rng.choice(("", "x" * 3000, "../..", "\0", str(key).upper()))] = node.pop(key)
    elif how == 2 and isinstance(node, list):
        node.append(node[key])
    else:
        node[key] = rng.choice(STRANGE_VALUES)
    return value


STRANGE_VALUES: tuple[Any, ...] = (
    None, True, -1, 0, 1, 2**31, 2**63, 2**64, 10**30, 10**400, 1.5, 1e308, float("nan"), float("inf"), "",
    "text", "/etc/passwd", "../../x", "a\nb", "\ud800", "x" * 100_000, [],
    [None], {}, {"a": {"b": []}}, [[[]]], "1", "-",
)  # fmt: skip


def _json(content: bytes, rng: random.Random) -> Content:
    """The JSON says something else."""
    try:
        changed = _json_changed(json.loads(content), rng)
        return json.dumps(changed).encode(), True
    except (ValueError, RecursionError) as error:
        raise Unreadable from error


def _json_twice(content: bytes, rng: random.Random) -> Content:
    """A key stands there twice."""
    at = [place for place in range(len(content)) if content[place : place + 1] == b"{"]
    if not at:
        raise Unreadable
    place = rng.choice(at)
    name = rng.choice((b"temperature", b"classes", b"head", b"version", b"sum", b"kind", b"clip"))
    return content[: place + 1] + b'"%s": [],' % name + content[place + 1 :], True


JSON = (*TEXT, _json, _json, _json, _json_twice)


def _journal_line(content: bytes, rng: random.Random) -> Content:
    """A record says something else: one time in two its checksum is made anew, as a stranger would."""
    lines = content.splitlines()
    place = rng.randrange(len(lines))
    try:
        record = _json_changed(json.loads(lines[place]), rng)
        kept = rng.random() < 0.5
        if not kept:
            record.pop("sum", None)
            lines[place] = journal._line(record).rstrip(b"\n")
        else:
            lines[place] = json.dumps(record, separators=(",", ":")).encode()
    except (ValueError, AttributeError, TypeError) as error:
        raise Unreadable from error
    return b"\n".join(lines) + b"\n", kept


def _without_sum(content: bytes, rng: random.Random) -> Content:
    """A record is changed, and its checksum damaged so that it looks like one of old."""
    lines = content.splitlines()
    place = rng.randrange(len(lines))
    line = lines[place].replace(b'"sum":', b'"som":')
    for old, new in ((b"Happy", b"Sadly"), (b"train", b"tracn"), (b"ok", b"ko")):
        if old in line:
            lines[place] = line.replace(old, new, 1)
            return b"\n".join(lines) + b"\n", True
    raise Unreadable


# ------------------------------------------------------------------------------- HDF5


def _rebuilt(content: bytes, rng: random.Random) -> Content:
    """A data set of a shard becomes something else that HDF5 can hold, under the same name."""
    with tempfile.NamedTemporaryFile(suffix=".h5") as file:
        Path(file.name).write_bytes(content)
        try:
            _change_hdf5(Path(file.name), rng)
        except (OSError, RuntimeError, KeyError, ValueError, TypeError) as error:
            raise Unreadable from error
        return Path(file.name).read_bytes(), True


def _change_hdf5(path: Path, rng: random.Random) -> None:
    with h5py.File(path, "r+") as opened:
        names: list[str] = []
        opened.visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)
        if not names:
            raise ValueError("no data set")
        name = rng.choice(names)
        values = opened[name][()]
        huge = (10**11, *values.shape[1:])
        how = rng.randrange(16)
        del opened[name]
        if how == 0:
            opened[name] = values.view(rng.choice(("<i4", ">f4", "<u4", ">i4")))
        elif how == 1:
            opened[name] = values.astype(rng.choice(("f8", "f2", "i8", "u1", "c8")))
        elif how == 2:
            opened[name] = values.reshape(-1)
        elif how == 3:
            opened[name] = values[: len(values) // 2]
        elif how == 4:
            opened[name] = np.concatenate([values, values])
        elif how == 5:
            opened[name] = h5py.SoftLink("/" + names[0])
        elif how == 6:
            opened[name] = h5py.ExternalLink(str(path), name)
        elif how == 7:
            opened.create_dataset(name, shape=huge, dtype="f4")
        elif how == 8:
            opened.create_dataset(
                name, shape=huge, dtype="f4", chunks=(1024, *values.shape[1:]), compression="gzip"
            )
        elif how == 9:
            opened.create_dataset(name, data=values, chunks=True, compression=rng.choice(("gzip", "lzf")))
        elif how == 10:
            opened.create_dataset(name, data=["a", "b"], dtype=h5py.string_dtype())
        elif how == 11:
            opened.create_group(name)
        elif how == 12:
            opened.create_dataset(name, data=values, external=[(str(path) + ".raw", 0, h5py.h5f.UNLIMITED)])
        elif how == 13:
            layout = h5py.VirtualLayout(shape=values.shape, dtype=values.dtype)
            layout[:] = h5py.VirtualSource(str(path), name, shape=values.shape)
            opened.create_virtual_dataset(name, layout)
        elif how == 14:
            opened[name] = np.float32(1)
        else:
            opened[name] = np.zeros(len(values), np.dtype([("a", "f4"), ("b", "S3")]))


# ------------------------------------------------------------------------------- networks


def _safetensors_header(content: bytes, rng: random.Random) -> Content:
    length = int.from_bytes(content[:8], "little")
    try:
        header = _json_changed(json.loads(content[8 : 8 + length]), rng)
        text = json.dumps(header).encode()
    except (ValueError, RecursionError) as error:
        raise Unreadable from error
    size = len(text) if rng.random() < 0.9 else rng.choice((0, 2**40, 2**64 - 1))
    return size.to_bytes(8, "little") + text + content[8 + length :], True


def _safetensors_nan(content: bytes, rng: random.Random) -> Content:
    length = int.from_bytes(content[:8], "little")
    body = bytearray(content[8 + length :])
    place = 4 * rng.randrange(len(body) // 4)
    body[place : place + 4] = np.float32(rng.choice((np.nan, np.inf))).tobytes()
    return content[: 8 + length] + bytes(body), True


SAFETENSORS = (*BYTES, _safetensors_header, _safetensors_header, _safetensors_nan)


class Intruder:
    """Unpickling it would make a file."""

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return os.system, ("touch INTRUDED",)


def _torch_archive(content: bytes, rng: random.Random) -> Content:
    """The archive of torch.save with another member, or without one."""
    if not zipfile.is_zipfile(io.BytesIO(content)):
        raise Unreadable
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = {info.filename: archive.read(info) for info in archive.infolist()}
    name = rng.choice(list(members))
    how = rng.randrange(6)
    compression = zipfile.ZIP_STORED
    if how == 0:
        del members[name]
    elif how == 1:
        members[name] = members[name][: len(members[name]) // 2]
    elif how == 2:
        data = next(each for each in members if each.endswith("data.pkl"))
        members[data] = _flipped(members[data], rng)[0]
    elif how == 3:
        members[name], compression = bytes(200 << 20), zipfile.ZIP_DEFLATED
    elif how == 4:
        compression = zipfile.ZIP_DEFLATED
    else:
        members["../../" + name] = members.pop(name)
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", compression) as archive:
        for each, held in members.items():
            archive.writestr(each, held)
    return made.getvalue(), True


def _torch_content(content: bytes, rng: random.Random) -> Content:
    """What torch.save writes of other things than tensors by name."""
    import torch

    small = torch.zeros(1, dtype=torch.float16)
    things: tuple[Any, ...] = (
        {"weight": Intruder()},
        [1, 2],
        {"weight": 3},
        {1: torch.zeros(2), ("a",): torch.zeros(2)},
        {"weight": small.expand(1 << 20, 1 << 14)},
        {"weight": torch.zeros(4, 3).to_sparse(), "bias": torch.zeros(4)},
        {"weight": torch.empty(4, 3, device="meta"), "bias": torch.zeros(4)},
        {"weight": torch.full((4, 3), float("nan")), "bias": torch.zeros(4)},
        {"weight": torch.zeros(4, 3, dtype=torch.complex64), "bias": torch.zeros(4)},
        {"weight": torch.zeros(4, 3, dtype=torch.bool), "bias": torch.zeros(4)},
        {"state_dict": {"state_dict": {"model": 3}}},
        {"model": {}},
        torch.zeros(4, 3),
        torch.nn.Linear(3, 4),
        {"weight": torch.quantize_per_tensor(torch.zeros(4, 3), 0.1, 0, torch.qint8), "bias": torch.zeros(4)},
        {f"layer{number}\n": torch.zeros(1) for number in range(2000)},
    )
    made = io.BytesIO()
    torch.save(rng.choice(things), made, _use_new_zipfile_serialization=rng.random() < 0.7)
    return made.getvalue(), False


TORCH = (*BYTES, _torch_archive, _torch_archive, _torch_content, _torch_content)


def _onnx_graph(content: bytes, rng: random.Random) -> Content:
    """A valid protobuf that says something else."""
    import onnx

    try:
        model = onnx.load_from_string(content)
        graph = model.graph
        node, tensor = rng.choice(graph.node), rng.choice(graph.initializer)
        how = rng.randrange(12)
        if how == 0:
            node.op_type = rng.choice(("Conv", "Loop", "Expand", "", "Ünknown", "Relu", "ConstantOfShape"))
        elif how == 1:
            node.input[rng.randrange(len(node.input))] = rng.choice(("", "nobody", "scores", "faces"))
        elif how == 2:
            tensor.dims[0] = rng.choice((0, -1, 2**31, 2**62, 1))
        elif how == 3:
            tensor.data_type = rng.choice((0, 1, 7, 8, 10, 16, 99))
        elif how == 4:
            tensor.raw_data = tensor.raw_data[: rng.randrange(len(tensor.raw_data) + 1)]
        elif how == 5:
            tensor.ClearField("raw_data")
            tensor.data_location = onnx.TensorProto.EXTERNAL
            tensor.external_data.add(
                key="location", value=rng.choice(("../../etc/passwd", "/etc/passwd", "x", ""))
            )
            tensor.external_data.add(key="length", value=rng.choice(("-1", "9" * 30, "x")))
        elif how == 6:
            graph.input[0].type.tensor_type.shape.dim[rng.randrange(4)].dim_value = rng.choice(
                (0, -1, 2**40, 100_000)
            )
        elif how == 7:
            graph.node.append(node)
        elif how == 8:
            model.opset_import[0].version = rng.choice((0, -1, 1, 10**9))
        elif how == 9:
            model.opset_import[0].domain = "stranger"
        elif how == 10:
            graph.output.add(name="second")
        else:
            del graph.input[:]
        return bytes(model.SerializeToString()), True
    except Exception as error:  # protobuf's own class, which only it names
        raise Unreadable from error


ONNX = (*BYTES, _onnx_graph, _onnx_graph, _onnx_graph)


# ------------------------------------------------------------------------------- what is read


@dataclass(frozen=True)
class Kind:
    """A kind of file.

    Attributes:
        name: of it.
        make: writes a folder with good files.
        files: patterns of those of them that are changed.
        changes: how.
        read: what the folder says, to be compared; it reads as the commands do.
        checked: whether checksums stand for all that is read.
        share: of the inputs, beside that of other kinds; small where each starts a process.
    """

    name: str
    make: Callable[[Path], None]
    files: tuple[str, ...]
    changes: tuple[Change, ...]
    read: Callable[[Path], Any]
    checked: bool = False
    share: float = 1.0


def _make_store(folder: Path) -> None:
    from .crash import add

    add(folder / "store", 0, 1)
    add(folder / "store", 2, failed=True)


def _read_store(folder: Path) -> dict[str, Any]:
    """All that a store holds; under ``told`` what it says to be damaged."""
    from avemo.cache.checks import inspect
    from avemo.cache.errors import StoreError
    from avemo.cache.store import FeatureStore
    from avemo.pipelines.store_status import status_text, store_status

    held: dict[str, Any] = {"told": []}
    with FeatureStore(folder / "store") as store:
        status_text(store_status(store))
        findings = inspect(store)
        held["told"] += [str(line) for line in (*findings.damaged, *findings.senseless)]
        for row in store.rows:
            held[f"{row.clip}"] = (row.clip, row.source)
            for stream, entry in row.entries.items():
                place = f"{row.clip} {stream}"
                held[place] = (
                    entry.key.digest,
                    entry.status,
                    entry.reason,
                    dict(entry.info),
                    sorted(entry.arrays),
                )
                for name in entry.arrays:
                    with suppress(StoreError):
                        array = store.read(row, stream, [name])[name]
                        held[f"{place} {name}"] = (array.dtype.str, array.shape, checksum(array))
    return held


def _make_run(folder: Path) -> None:
    from avemo.fusion.evaluation.calibration import Calibration
    from avemo.fusion.training.runs import Run
    from avemo.fusion.training.training import Trained

    shutil.copytree(FIRST_RELEASE / "run-fbp", folder / "run")
    run = Run(folder / "run")
    for number in range(run.members):  # written anew, as this version does
        run.save(number, Trained(run.load(number), run.history(number), np.empty(0)))
    Calibration(1.3, 20, "val").write(folder / "run" / "calibration.json")


def _read_run(folder: Path) -> Any:
    from avemo.cache.store import FeatureStore
    from avemo.fusion.training.runs import Run, predict
    from avemo.pipelines.fuse.ensemble import read_member

    run = Run(folder / "run")
    run.missing()
    for number in range(run.members):
        run.history(number)
    with FeatureStore(FIRST_RELEASE / "features") as store:
        scores = predict([run], store, store.rows[:2])
    read_member(folder / "run")
    return (
        run.setup.classes,
        [checksum(each) for member in range(run.members) for each in _tensors_of(run, member)],
        scores.values.tobytes(),
    )


def _tensors_of(run: Any, number: int) -> list[np.ndarray]:
    member = run.load(number)
    parts = [tensor.numpy() for tensor in member.head.state_dict().values()]
    return [part for part in parts if part.ndim]


def _make_scores(folder: Path) -> None:
    from avemo.fusion.evaluation.scores import Scores

    scores = Scores(
        (("val", "001"), ("val", "=2+3"), ("val", "a,b"), ("test", "é\n")),
        ("Angry", "-Happy", "Sad"),
        np.array([[0.2, 0.3, 0.5], [1, 0, 0], [1 / 3] * 3, [np.nan] * 3]),
        ("Sad", None, "-Happy", None),
        ("transductive",),
        ("ok", "ok", "ok", "no face, no sound"),
    )
    scores.write(folder / "scores.csv")


def _read_scores(folder: Path) -> Any:
    """The scores; what is written of them reads back equal."""
    from avemo.fusion.evaluation.scores import Scores

    scores = Scores.read(folder / "scores.csv")
    scores.write(folder / "again.csv")
    again = Scores.read(folder / "again.csv")
    assert (again.clips, again.classes, again.truth, again.marks, again.status) == (
        scores.clips, scores.classes, scores.truth, scores.marks, scores.status,
    )  # fmt: skip
    assert np.array_equal(again.values, scores.values, equal_nan=True)
    return scores.clips, scores.classes, scores.truth, scores.values.tobytes()


def _make_tables(folder: Path) -> None:
    (folder / "prior.csv").write_text("class,weight\nAngry,0.2\nHappy,0.5\nSad,0.3\n")
    (folder / "counts.csv").write_text("class,count\nAngry,20\nHappy,50\nSad,30\n")
    (folder / "prior.json").write_text('{"Angry": 0.2, "Happy": 0.5, "Sad": 0.3}')
    (folder / "labels.csv").write_text("an,Angry\ndi,Disgust\nhä,Happy\n")
    (folder / "labels.json").write_text('{"an": "Angry", "di": "Disgust"}')
    (folder / "clips").mkdir()
    for name in ("a.mp4", "b.mp4", "c.mp4"):
        (folder / "clips" / name).write_bytes(b"a clip")
    (folder / "manifest.csv").write_text(
        "path,split,label,subject,session,id\nclips/a.mp4,train,Angry,s1,,a\nclips/b.mp4,val,Happy,s2,1,\n"
        'clips/c.mp4,test,,,,"c, the third"\n'
    )
    (folder / "map.csv").write_text("file,clip,split,label\na.npy,a,train,Angry\nb.npy,b,val,\n")


def _read_tables(folder: Path) -> Any:
    """All tables; the first that cannot be used is told."""
    from avemo.fusion.evaluation.priors import counts_from_file, from_file
    from avemo.pipelines.cli.store_import import read_map
    from avemo.pipelines.corpora.clips.find import find_clips
    from avemo.pipelines.corpora.clips.labels import read_labels

    manifest = find_clips(folder / "clips", manifest=folder / "manifest.csv")
    return (
        from_file(folder / "prior.csv").weights,
        from_file(folder / "prior.json").weights,
        counts_from_file(folder / "counts.csv"),
        read_labels(str(folder / "labels.csv")),
        read_labels(str(folder / "labels.json")),
        [(str(clip), clip.label) for clip in manifest.clips],
        read_map(folder / "map.csv"),
    )


def _make_settings(folder: Path) -> None:
    from avemo.pipelines.recipes.recipe import path_of

    (folder / "train.toml").write_text(
        'fusion = "fbp"\nlr = 1e-3\nepochs = 3\nset.hidden = 4\nvisual = "dlib"\n'
    )
    (folder / "extract.toml").write_text('tta = ["meanstd"]\nmax-frames = 8\nbackbone = ["ferresnet"]\n')
    (folder / "recipe.toml").write_bytes(path_of("zhou2021-systems").read_bytes())


def _read_settings(folder: Path) -> Any:
    import click as outer

    from avemo.pipelines.cli.extract import main as extract
    from avemo.pipelines.cli.fuse.train import train
    from avemo.pipelines.cli.settings_file import read
    from avemo.pipelines.recipes import recipe

    found = [
        read(folder / f"{name}.toml", outer.Context(command))
        for name, command in (("train", train), ("extract", extract))
    ]
    return repr(found), repr(recipe.load.__wrapped__(str(folder / "recipe.toml")))


def _make_checkpoint(folder: Path) -> None:
    import torch

    state = {"weight": torch.arange(12.0).reshape(4, 3), "bias": torch.zeros(4)}
    torch.save({"epoch": 3, "state_dict": state}, folder / "net.pth")


def _make_old_checkpoint(folder: Path) -> None:
    import torch

    state = {"weight": torch.arange(12.0).reshape(4, 3), "bias": torch.zeros(4)}
    torch.save(state, folder / "net.pth", _use_new_zipfile_serialization=False)


def _make_tensors(folder: Path) -> None:
    import safetensors.torch
    import torch

    state = {"weight": torch.arange(12.0).reshape(4, 3), "bias": torch.zeros(4)}
    about = {"architecture": "linear", "classes": '["a", "b"]', "network": "{}"}
    safetensors.torch.save_file(state, folder / "net.pth", metadata=about)


def _read_checkpoint(folder: Path) -> Any:
    from torch import nn

    from avemo.extract.backbones.weights import load_into, load_state
    from avemo.pretrain.card import read_about

    state = load_state(folder / "net.pth")
    module = nn.Linear(3, 4)
    load_into(module, state, "linear", folder / "net.pth")
    if (folder / "net.pth").read_bytes()[8:9] == b"{":
        read_about(folder / "net.pth")
    assert not Path("INTRUDED").exists(), "code in the file ran"
    return [checksum(tensor.detach().numpy()) for tensor in module.state_dict().values()]


def _make_onnx(folder: Path) -> None:
    import onnx

    helper, rng = onnx.helper, np.random.default_rng(0)
    weights = [
        onnx.numpy_helper.from_array(rng.normal(size=shape).astype(np.float32), name)
        for name, shape in (("inner", (5, 108)), ("outer", (3, 5)))
    ]
    nodes = [
        helper.make_node("Flatten", ["faces"], ["flat"]),
        helper.make_node("Gemm", ["flat", "inner"], ["hidden"], transB=1),
        helper.make_node("Relu", ["hidden"], ["features"]),
        helper.make_node("Gemm", ["features", "outer"], ["logits"], transB=1),
        helper.make_node("Softmax", ["logits"], ["scores"]),
    ]
    faces = helper.make_tensor_value_info("faces", onnx.TensorProto.FLOAT, ("N", 3, 6, 6))
    outputs = [helper.make_empty_tensor_value_info("scores")]
    graph = helper.make_graph(nodes, "small", [faces], outputs, weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    (folder / "net.onnx").write_bytes(model.SerializeToString())
    (folder / "net.json").write_text(
        '{"range": 1, "mean": [0.5, 0.5, 0.5], "output": "features", "input_size": 6}'
    )


def _read_onnx(folder: Path) -> Any:
    import torch

    from avemo.extract.backbones.onnx_net import open_onnx

    spec, network, sha256 = open_onnx(folder / "net.onnx")
    return (
        spec.features,
        sha256,
        network(torch.ones(2, 3, spec.input_size, spec.input_size)).numpy().tobytes(),
    )


def _make_arrays(folder: Path) -> None:
    values = np.random.default_rng(0).random((6, 4), np.float32)
    np.save(folder / "a.npy", values)
    np.savez(folder / "b.npz", a=values, b=values[:2])
    with h5py.File(folder / "c.h5", "w") as file:
        file["x/a"], file["b"] = values, values


def _read_arrays(folder: Path) -> Any:
    from avemo.cache.arrays import open_arrays

    found = []
    for name in ("a.npy", "b.npz", "c.h5"):
        with open_arrays(folder / name) as arrays:
            found += [(each, arrays.shape(each), arrays.read(each)[1]) for each in arrays.names]
    return found


def _make_corpus(folder: Path) -> None:
    lines = ["% comment", ""] + [
        f"[{n}.0000 - {n + 1}.5000]\tSes01F_impro01_F00{n}\tang\t[2.5, 2.5, 2.5]" for n in range(4)
    ]
    (folder / "Ses01F_impro01.txt").write_text("\n".join(lines) + "\n")
    frames = [f"{n} {n / 120:.5f} " + " ".join(f"{m / 7:.4f}" for m in range(165)) for n in range(180)]
    (folder / "markers.txt").write_text("\n".join(["header", *frames]) + "\n")


def _read_corpus(folder: Path) -> Any:
    from avemo.extract.markers import MarkerSpan, read_markers
    from avemo.pipelines.corpora.clips.iemocap import read_evaluation

    evaluation = read_evaluation(folder / "Ses01F_impro01.txt")
    markers = read_markers(MarkerSpan(str(folder / "markers.txt"), 0.2, 1.2))
    return sorted(evaluation.turns.items()), checksum(markers.positions)


def _make_dlib(folder: Path) -> None:
    """A network of dlib with one layer, by the format that extract/backbones/dlib_file.py describes."""

    def integer(value: int) -> bytes:
        size = max(1, (value.bit_length() + 7) // 8)
        return bytes([size]) + value.to_bytes(size, "little")

    def text(value: str) -> bytes:
        return integer(len(value)) + value.encode()

    def tensor(*shape: int) -> bytes:
        values = np.arange(np.prod(shape) if shape else 0, dtype="<f4").tobytes()
        return (
            integer(2)
            + b"".join(map(integer, (*shape, *[0] * (4 - len(shape)))) if not shape else map(integer, shape))
            + values
        )

    real = integer(1) + integer(0)
    shape = integer(2) + integer(1) * 4
    end = b"1" * 3 + tensor() * 3
    layer = text("affine_") + tensor(1, 1, 2, 2) + shape + shape + integer(0) + end
    relu = text("relu_") + end
    head = integer(1) + text("loss_metric_2") + real + real + integer(5) + integer(3)
    content = (
        head + text("input_rgb_image_sized") + real * 3 + integer(150) * 2 + layer + integer(1) + relu * 3
    )
    (folder / "net.dat").write_bytes(content)


def _read_dlib(folder: Path) -> Any:
    from avemo.extract.backbones.dlib_file import read_dlib_network

    found = read_dlib_network(folder / "net.dat")
    return found.mean, found.size, [layer.kind for layer in found.layers]


def _make_yunet(folder: Path) -> None:
    """A network of YuNet's inputs and outputs: for each of three strides scores, boxes and points."""
    import onnx

    helper, rng = onnx.helper, np.random.default_rng(0)
    nodes, weights, outputs = [], [], []
    weights.append(onnx.numpy_helper.from_array(rng.random((4, 3, 8, 8), np.float32), "first"))
    nodes.append(
        helper.make_node("Conv", ["input", "first"], ["grid_8"], kernel_shape=[8, 8], strides=[8, 8])
    )
    for stride in (16, 32):
        pool = {"kernel_shape": [2, 2], "strides": [2, 2]}
        nodes.append(helper.make_node("MaxPool", [f"grid_{stride // 2}"], [f"grid_{stride}"], **pool))
    for name, channels in (("cls", 1), ("obj", 1), ("bbox", 4), ("kps", 10)):
        last = onnx.numpy_helper.from_array(np.array([1, -1, channels]), f"{name}_shape")
        kernel = rng.random((channels, 4, 1, 1), np.float32) * 1e-4  # of sums of 192 values up to 255
        weights += [last, onnx.numpy_helper.from_array(kernel, f"{name}_kernel")]
        for stride in (8, 16, 32):
            at = f"{name}_{stride}"
            nodes += [
                helper.make_node("Conv", [f"grid_{stride}", f"{name}_kernel"], [f"{at}_map"]),
                helper.make_node("Transpose", [f"{at}_map"], [f"{at}_last"], perm=[0, 2, 3, 1]),
                helper.make_node(
                    "Reshape", [f"{at}_last", f"{name}_shape"], [at if channels > 1 else f"{at}_raw"]
                ),
            ]
            if channels == 1:
                nodes.append(helper.make_node("Sigmoid", [f"{at}_raw"], [at]))
            outputs.append(
                helper.make_tensor_value_info(at, onnx.TensorProto.FLOAT, (1, "anchors", channels))
            )
    frame = helper.make_tensor_value_info("input", onnx.TensorProto.FLOAT, (1, 3, "height", "width"))
    graph = helper.make_graph(nodes, "small", [frame], outputs, weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    (folder / "face.onnx").write_bytes(model.SerializeToString())


def _make_ssd(folder: Path) -> None:
    """The network of tests/extract/test_ssd.py."""
    from ..extract.test_ssd import make_network

    make_network(folder)


def _read_yunet(folder: Path) -> Any:
    return _detected(f"yunet@{folder / 'face.onnx'}")


def _read_ssd(folder: Path) -> Any:
    return _detected(f"ssd@{folder / 'detector_uint8.pb'}")


def _detected(name: str) -> Any:
    """What a detector finds in a blue square, on yellow."""
    from avemo.extract.detectors import load_detector

    image = np.zeros((300, 600, 3), np.uint8)
    image[:, :, :2] = 255
    image[60:120, 360:480] = (0, 0, 255)
    detector = load_detector.__wrapped__(name)
    return [
        (face.box.tobytes(), face.confidence, face.points is not None and face.points.tobytes())
        for face in detector(image)
    ]


def _make_pictures(folder: Path) -> None:
    """A picture of each format, in a class folder."""
    from PIL import Image

    rng = np.random.default_rng(0)
    image = Image.fromarray(rng.integers(0, 255, (24, 20, 3), np.uint8))
    for number, suffix in enumerate(("png", "jpg", "gif", "bmp", "tiff", "webp", "ppm")):
        place = folder / ("Happy", "Sad")[number % 2] / f"{number}.{suffix}"
        place.parent.mkdir(exist_ok=True)
        image.save(place)
    image.convert("I;16").save(folder / "Happy" / "deep.png")
    image.convert("P").save(folder / "Sad" / "palette.png", transparency=3)


def _read_pictures(folder: Path) -> Any:
    """All pictures as `avemo pretrain` packs them; what cannot be read is left out with a reason."""
    return _packed(folder, "folders")


def _packed(path: Path, dataset: str) -> Any:
    from avemo.pipelines.corpora.images.find import find_pictures
    from avemo.pretrain.packed import pack

    packed = pack(find_pictures(path, dataset), 8, grey=True, on_picture=lambda: None)
    assert not [one for one in packed.skipped if not one.reason.strip()], "left out without a reason"
    return (
        packed.classes,
        packed.pixels.tobytes(),
        packed.labels.tobytes(),
        list(packed.parts),
        packed.skipped,
    )


def _make_fer(folder: Path) -> None:
    rng = np.random.default_rng(0)
    usages = ("Training", "Training", "PublicTest", "PrivateTest")
    pixels = [" ".join(map(str, rng.integers(0, 256, 48 * 48))) for _ in usages]
    rows = [f"{n % 7},{values},{usage}" for n, (values, usage) in enumerate(zip(pixels, usages, strict=True))]
    (folder / "tables").mkdir()
    (folder / "tables" / "fer2013.csv").write_text("\n".join(["emotion,pixels,Usage", *rows]) + "\n")
    votes = [[0] * 10 for _ in usages]
    for number, own in enumerate(votes):
        own[number % 3] = 10
    header = "Usage,Image name,neutral,happiness,surprise,sadness,anger,disgust,fear,contempt,unknown,NF"
    vote_rows = [
        f"{usage},fer{n:07d}.png,{','.join(map(str, own))}"
        for n, (usage, own) in enumerate(zip(usages, votes, strict=True))
    ]
    (folder / "tables" / "fer2013new.csv").write_text("\n".join([header, *vote_rows]) + "\n")
    for name in ("FER2013Train", "FER2013Valid"):
        place = folder / "folders" / name
        place.mkdir(parents=True)
        for number, own in enumerate(votes):
            _write_picture(place / f"fer{number:07d}.png", rng)
            with (place / "label.csv").open("a") as file:
                file.write(f'fer{number:07d}.png,"(0, 0, 48, 48)",{",".join(map(str, own))}\n')


def _write_picture(path: Path, rng: np.random.Generator) -> None:
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(rng.integers(0, 255, (48, 48, 3), np.uint8)).save(path)


def _read_fer(folder: Path) -> Any:
    return (
        _packed(folder / "tables" / "fer2013.csv", "fer2013"),
        _packed(folder / "tables", "ferplus"),
        _packed(folder / "folders", "ferplus"),
    )


def _make_face_tables(folder: Path) -> None:
    rng = np.random.default_rng(0)
    header = "subDirectory_filePath,face_x,face_y,face_width,face_height,facial_landmarks,expression"
    lines = [f"1/{n}.png,4,4,40,40,1;2,{n}" for n in range(4)]
    for name in ("training.csv", "validation.csv"):
        (folder / "affectnet").mkdir(exist_ok=True)
        (folder / "affectnet" / name).write_text("\n".join([header, *lines]) + "\n")
    for number in range(4):
        _write_picture(folder / "affectnet" / "Manually_Annotated_Images" / "1" / f"{number}.png", rng)
        _write_picture(folder / "noted" / "train_set" / "images" / f"{number}.png", rng)
        _write_picture(folder / "rafdb" / "Image" / "aligned" / f"train_{number:05d}_aligned.png", rng)
        notes = folder / "noted" / "train_set" / "annotations"
        notes.mkdir(parents=True, exist_ok=True)
        np.save(notes / f"{number}_exp.npy", np.array(str(number)))
    labels = folder / "rafdb" / "EmoLabel"
    labels.mkdir()
    text = "".join(f"train_{number:05d}.png {number % 7 + 1}\n" for number in range(4))
    (labels / "list_patition_label.txt").write_text(text)


def _read_face_tables(folder: Path) -> Any:
    return (
        _packed(folder / "affectnet", "affectnet"),
        _packed(folder / "noted", "affectnet"),
        _packed(folder / "rafdb", "rafdb"),
    )


def _make_meld(folder: Path) -> None:
    header = (
        "Sr No.,Utterance,Speaker,Emotion,Sentiment,Dialogue_ID,Utterance_ID,Season,Episode,StartTime,EndTime"
    )
    for table, splits in (("train", "train_splits"), ("dev", "dev_splits_complete")):
        rows = [
            f'{n},"Oh, it\x92s {n}!",Joey,{emotion},positive,{n},0,8,21,"00:16:16,059","00:16:21,731"'
            for n, emotion in enumerate(("joy", "sadness", "neutral", "fear"))
        ]
        (folder / f"{table}_sent_emo.csv").write_bytes("\n".join([header, *rows, ""]).encode("latin-1"))
        (folder / splits).mkdir()
        for number in range(4):
            (folder / splits / f"dia{number}_utt0.mp4").write_bytes(b"a clip")


def _read_meld(folder: Path) -> Any:
    from avemo.pipelines.corpora.clips.find import find_clips
    from avemo.pipelines.corpora.clips.report import contents

    found = find_clips(folder, "meld")
    json.dumps(contents(folder, found, found, ()))
    return [(str(clip), clip.label, clip.subject) for clip in found.clips], found.left_out


def _make_rows(folder: Path) -> None:
    from avemo.pretrain.rows import RowsOnDisk

    rng = np.random.default_rng(0)
    with RowsOnDisk(folder / "rows", (6, 6, 1), 12) as rows:
        for number in range(9):
            rows.add("broken" if number == 4 else rng.integers(0, 255, (6, 6, 1), np.uint8))


def _read_rows(folder: Path) -> Any:
    """What is there is used, and the rest made again."""
    from avemo.pretrain.rows import RowsOnDisk

    shutil.copytree(folder / "rows", folder / "again", dirs_exist_ok=True)
    rng = np.random.default_rng(0)
    made = ["broken" if number == 4 else rng.integers(0, 255, (6, 6, 1), np.uint8) for number in range(12)]
    with RowsOnDisk(folder / "again", (6, 6, 1), 12) as rows:
        for outcome in made[rows.done :]:
            rows.add(outcome)
    return rows.done, rows.failures, rows.prints, rows.pixels().tobytes()


KINDS = (
    Kind("store.json", _make_store, ("store/store.json",), JSON, _read_store, True),
    Kind(
        "journal",
        _make_store,
        ("store/journal/*.jsonl",),
        (*TEXT, *BYTES, *[_journal_line] * 6, _without_sum),
        _read_store,
        True,
    ),
    Kind("shard", _make_store, ("store/shards/*.h5",), (*BYTES, *[_rebuilt] * 5), _read_store, True),
    Kind("run: card, history, scores, calibration", _make_run, ("run/*.json", "run/*.csv"), JSON, _read_run),
    Kind("run: members", _make_run, ("run/*.safetensors",), SAFETENSORS, _read_run, True),
    Kind("scores", _make_scores, ("scores.csv",), (*TEXT, *BYTES), _read_scores),
    Kind("manifest, labels, priors, map", _make_tables, ("*.csv", "*.json"), JSON, _read_tables),
    Kind("settings and recipes", _make_settings, ("*.toml",), TEXT, _read_settings),
    Kind("checkpoint of torch", _make_checkpoint, ("net.pth",), TORCH, _read_checkpoint),
    Kind("checkpoint of old torch", _make_old_checkpoint, ("net.pth",), TORCH, _read_checkpoint),
    Kind("checkpoint, safetensors", _make_tensors, ("net.pth",), SAFETENSORS, _read_checkpoint),
    Kind("ONNX and card", _make_onnx, ("net.onnx", "net.onnx", "net.json"), ONNX, _read_onnx),
    Kind("network of dlib", _make_dlib, ("net.dat",), BYTES, _read_dlib),
    Kind(
        "arrays: npy, npz, HDF5", _make_arrays, ("*.npy", "*.npz", "*.h5"), (*BYTES, _rebuilt), _read_arrays
    ),
    Kind("IEMOCAP: evaluations, markers", _make_corpus, ("*.txt",), (*TEXT, *BYTES), _read_corpus),
    Kind("MELD: tables", _make_meld, ("*.csv",), (*TEXT, *BYTES), _read_meld),
    Kind("pictures of seven formats", _make_pictures, ("*/*",), BYTES, _read_pictures),
    Kind("FER2013, FER+: tables, votes", _make_fer, ("*/*.csv", "*/*/*.csv"), (*TEXT, *BYTES), _read_fer),
    Kind(
        "AffectNet, RAF-DB: tables, notes",
        _make_face_tables,
        ("affectnet/*.csv", "rafdb/*/*.txt", "noted/*/*/*.npy"),
        (*TEXT, *BYTES),
        _read_face_tables,
    ),
    Kind("decoded pictures, kept", _make_rows, ("rows/p*",), (*JSON, *BYTES), _read_rows, True),
    Kind("detector: YuNet", _make_yunet, ("face.onnx",), ONNX, _read_yunet, share=0.1),
    Kind("detector: SSD", _make_ssd, ("detector*",), (*TEXT, *BYTES), _read_ssd, share=0.1),
)


# ------------------------------------------------------------------------------- trials


@dataclass
class Tried:
    """What became of the inputs of one kind.

    Attributes:
        outcomes: how often each came.
        problems: each broken promise, in words.
    """

    kind: str
    outcomes: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)
    slowest: float = 0.0


def run(folder: Path, count: int, seed: int, kinds: Sequence[Kind] = KINDS) -> Iterator[Tried]:
    """Try ``count`` inputs, of each kind by its share."""
    shares = np.cumsum([0.0, *(kind.share for kind in kinds)])
    ends = np.rint(count * shares / shares[-1]).astype(int)
    for number, kind in enumerate(kinds):
        yield _tried(kind, folder / str(number), int(ends[number + 1] - ends[number]), seed)


def _tried(kind: Kind, folder: Path, count: int, seed: int) -> Tried:
    """A process tries one input after another; where it is lost, the next goes on behind that input."""
    tried, done = Tried(kind.name), 0
    while done < count:
        reader, writer = os.pipe()
        child = os.fork()
        if not child:
            os.close(reader)
            _child(kind, folder, range(done, count), seed, writer)
        os.close(writer)
        for outcome, seconds, detail in _messages(reader):
            if outcome == READY:
                continue
            tried.outcomes[outcome] += 1
            tried.slowest = max(tried.slowest, seconds)
            if outcome == BROKEN:
                tried.problems.append(f"{kind.name} {done} of seed {seed}: {detail}")
            done += 1
        os.close(reader)
        with suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL if done < count else 0)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if status == UNABLE:
            raise RuntimeError(f"the good files of {kind.name} cannot be read")
        if done < count:
            how = "it hung" if status == -signal.SIGKILL else f"its process was lost (exit code {status})"
            tried.outcomes[BROKEN] += 1
            tried.problems.append(f"{kind.name} {done} of seed {seed}: {how}")
            done += 1
    return tried


def _messages(reader: int) -> Iterator[Any]:
    """What a process tells, until it ends or is silent for too long."""
    held, patience = b"", 10 * SECONDS  # for what is imported and made first
    while select.select([reader], [], [], patience)[0] and (new := os.read(reader, 1 << 16)):
        patience = SECONDS
        *lines, held = (held + new).split(b"\n")
        yield from map(json.loads, lines)


def _child(kind: Kind, folder: Path, numbers: range, seed: int, pipe: int) -> None:
    """Make the good files, and try; this process ends here."""
    code = UNABLE
    try:
        faulthandler.enable()
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        os.chdir(folder)
        kind.make(folder)
        good = kind.read(folder)
        _limit_memory()
        code = 1
        os.write(pipe, json.dumps([READY, 0, ""]).encode() + b"\n")
        for number in numbers:
            started = time.perf_counter()
            outcome, detail = attempt(kind, folder, good, number, seed)
            line = json.dumps([outcome, time.perf_counter() - started, detail]) + "\n"
            os.write(pipe, line.encode())
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def _limit_memory() -> None:
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))


def attempt(kind: Kind, folder: Path, good: Any, number: int, seed: int) -> tuple[str, str]:
    """Change a file, read its folder, put the file right again; the outcome, and what is wrong."""
    path, content, promised, change = changed(kind, folder, number, seed)
    original = path.read_bytes()
    path.write_bytes(content)
    try:
        outcome, detail = _outcome(kind, folder, good, promised)
    finally:
        path.write_bytes(original)
    return outcome, f"{change}, {path.name}: {detail}"


def changed(kind: Kind, folder: Path, number: int, seed: int) -> tuple[Path, bytes, bool, str]:
    """The file that an input changes, what it then holds, whether checksums speak for it, and the change."""
    rng = random.Random(f"{kind.name} {seed} {number}")
    files = sorted(path for pattern in kind.files for path in folder.glob(pattern))
    while True:
        path, change = rng.choice(files), rng.choice(kind.changes)
        whole = path.read_bytes()
        with suppress(Unreadable):
            content, promised = change(whole, rng)
            if rng.random() < 0.1 and content:
                content, again = rng.choice(BYTES)(content, rng)
                promised = promised and again
            if content != whole:
                return path, content, promised and kind.checked, change.__name__.strip("_")


def _outcome(kind: Kind, folder: Path, good: Any, promised: bool) -> tuple[str, str]:
    try:
        found = kind.read(folder)
    except Exception as error:
        return _of_error(error)
    if found == good:
        return WHOLE, ""
    if not promised:
        return OTHER, ""
    if kind.read is not _read_store:
        return BROKEN, f"reads as {str(found)[:300]}"
    wrong = [name for name, value in found.items() if name != "told" and value != good.get(name)]
    if wrong:
        return (
            BROKEN,
            f"{wrong[0]} reads as {str(found[wrong[0]])[:300]}, not {str(good.get(wrong[0]))[:300]}",
        )
    return KNOWN if found["told"] else OTHER, ""


def _of_error(error: Exception) -> tuple[str, str]:
    from avemo.pipelines.cli.framework import as_message, is_told

    if not is_told(error):
        where = traceback.extract_tb(error.__traceback__)
        own = [f"{frame.filename.rpartition('/')[2]}:{frame.lineno}" for frame in where[-6:]]
        return BROKEN, f"{type(error).__name__}: {str(error)[:200]} at {', '.join(own)}"
    text = as_message(str(error))
    if not text.strip() or "\n" in text or len(text) > 2010:
        return BROKEN, f"{type(error).__name__} of {len(text)} characters, not one line: {text[:300]!r}"
    return REFUSED, ""


@click.command()
@click.option("--count", default=10_000, show_default=True, help="Inputs.")
@click.option("--seed", default=0, show_default=True)
@click.option("--kind", "only", default="", help="Only kinds whose name has this in it.")
def main(count: int, seed: int, only: str) -> None:
    """Read changed files of every kind."""
    kinds = [kind for kind in KINDS if only in kind.name]
    started, total = time.perf_counter(), Counter[str]()
    outcomes = (REFUSED, KNOWN, WHOLE, OTHER, BROKEN)
    click.echo(f"| kind | inputs | {' | '.join(outcomes)} | slowest, s |")
    problems: list[str] = []
    with tempfile.TemporaryDirectory() as scratch:
        for tried in run(Path(scratch), count, seed, kinds):
            counts = [tried.outcomes[name] for name in outcomes]
            click.echo(
                f"| {tried.kind} | {sum(counts)} | {' | '.join(map(str, counts))} | {tried.slowest:.1f} |"
            )
            problems += tried.problems
            for problem in tried.problems:
                click.echo(problem, err=True)
            total += tried.outcomes
    click.echo(
        f"{total.total()} inputs, {total[BROKEN]} broken, seed {seed}, {time.perf_counter() - started:.0f} s"
    )
    sys.exit(bool(problems))


if __name__ == "__main__":
    main()
