"""Networks in a process of their own, as on a GPU; here, its device is the processor."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from threading import Event, Thread, Timer
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from click.testing import CliRunner
from torch import Tensor
from torchvision.models import alexnet

from avemo.cache.clips import Clip
from avemo.cache.keys import FeatureKey
from avemo.cache.store import FeatureStore
from avemo.extract import crew as crew_module
from avemo.extract import network_process
from avemo.extract.apart import Endpoint, NetworkCall, NetworkClient, RemoteAudioBackbone, RemoteBackbone
from avemo.extract.backbones import Backbone, load_backbone
from avemo.extract.clip import ClipResult
from avemo.extract.crew import Crew
from avemo.extract.devices import torch_device, torch_devices
from avemo.extract.errors import ClipError, DeviceError, ExtractError
from avemo.extract.networks import (
    audio_networks,
    planned_audio_networks,
    planned_segment_networks,
    segment_networks,
)
from avemo.extract.patch import patch
from avemo.extract.plan import Plan
from avemo.extract.run import Extraction
from avemo.extract.stopwatch import NETWORK, Stopwatch
from avemo.extract.streams.registry import keys_of
from avemo.extract.views import SharedViews
from avemo.pipelines.cli.main import main

MakeClip = Callable[..., Path]
ROOT = Path(__file__).resolve().parents[2]
PLAN = Plan(device="cpu", precision="fp32", view_sets=("none", "default"), batch=90)
QUICK = Plan(device="cpu", precision="fp32", view_sets=("none",), batch=5)
FATAL, BROKEN = 7, 8  # frames of clips at which :func:`serve_badly` fails


@pytest.fixture
def clips(make_clip: MakeClip, tmp_path: Path) -> list[Clip]:
    """A face that comes nearer, with frames of another size without a face; no face; many frames."""
    astronaut = pytest.importorskip("skimage.data").astronaut()
    cut = [cv2.resize(astronaut[: 270 - n, 60 + n : 420], (360, 270)) for n in range(0, 60, 6)]
    grey = [np.full((270, 360, 3), 90, np.uint8)] * 4
    paths = [
        make_clip(tmp_path / "face.mp4", pictures=[*cut, *grey, *cut], sound=False),
        make_clip(tmp_path / "grey.mp4", frames=6, sound=False),
        make_clip(tmp_path / "long.mp4", frames=70, sound=False),
        make_clip(tmp_path / "blind.mp4", frames=0),
    ]
    (tmp_path / "text.mp4").write_text("no clip")
    return [Clip(path.stem, "all", str(path)) for path in (*paths, tmp_path / "text.mp4")]


def done(
    clips: list[Clip], path: Path, plan: Plan, crew: Crew | None = None, **settings: Any
) -> tuple[dict[str, ClipResult], FeatureStore]:
    store = FeatureStore(path, create=True)
    results = {result.job.clip.id: result for result in Extraction(clips, plan, store, crew=crew, **settings)}
    store.refresh()
    assert [file for file in path.iterdir() if file.name.startswith("spool")] == []
    return results, store


def assert_nearly_the_same(here: FeatureStore, there: FeatureStore) -> None:
    """Up to a grey level in some pixels of the views, which have another origin."""
    for row in here.rows:
        other = there.row(row.clip)
        assert other is not None
        assert {name: entry.status for name, entry in row.entries.items()} == {
            name: entry.status for name, entry in other.entries.items()
        }
        for stream in filter(row.has, row.entries):
            expected, got = here.read(row, stream), there.read(other, stream)
            assert expected.keys() == got.keys()
            for name, array in expected.items():
                far = 3e-3 * np.abs(array).max() if "/" in stream and array.size else 0
                np.testing.assert_allclose(got[name], array, atol=far, rtol=0, err_msg=f"{row.clip} {stream}")


@pytest.mark.slow
def test_a_store_is_as_without_a_network_process(clips: list[Clip], tmp_path: Path) -> None:
    ordinary, here = done(clips, tmp_path / "here", PLAN, workers=1, in_process=True)
    separate, there = done(clips, tmp_path / "there", PLAN, workers=2, network_processes=True)
    assert {name for name, result in separate.items() if result.failure} == {"text"}
    assert separate["text"].failure == ordinary["text"].failure
    assert separate["grey"].notes == ordinary["grey"].notes
    assert_nearly_the_same(here, there)
    assert ordinary["face"].stages[NETWORK].device == 0 < separate["face"].stages[NETWORK].device


def test_clips_that_share_batches_have_the_features_of_each_alone() -> None:
    """To 1e-4, as convolutions add up in another order when a batch has another size."""
    service = network_process._Service(QUICK)
    batches = []
    network = service._faces["ferplusnet"]
    on_device = network.on_device

    def counted(views: Tensor) -> Tensor:
        batches.append(len(views))
        return on_device(views)

    network.on_device = counted  # type: ignore[method-assign]
    rng = np.random.default_rng(0)
    shared = SharedViews(("none",), network.spec.input_size, network.spec.window)
    connections, alone = [], []
    for count, side in ((3, 60), (4, 90), (6, 200)):
        frames = rng.integers(0, 256, (count, side, side, 3)).astype(np.uint8)
        cut = [patch(frame, shared.matrices, network.spec.input_size) for frame in frames]
        arrays = [np.stack([image for image, _ in cut]), np.stack([matrices for _, matrices in cut])]
        connection = WorkerConnection()
        connections.append(connection)
        service.put(
            network_process._Request(connection, 0, NetworkCall("views", "ferplusnet", ("none",)), arrays)
        )
        other = network_process._Service(QUICK)
        other.put(
            network_process._Request(
                WorkerConnection(), 0, NetworkCall("views", "ferplusnet", ("none",)), arrays
            )
        )
        alone.append(other)
    batches.clear()
    work(service)
    assert batches == [5, 5, 3]
    for connection, other in zip(connections, alone, strict=True):
        (request,) = other._queue
        work(other)
        ((_, error, got, seconds),) = connection.sent
        ((_, _, expected, _),) = request.connection.sent
        assert seconds > 0
        assert error is None
        np.testing.assert_allclose(got, expected, atol=1e-4)


class WorkerConnection:
    """A worker's end of a connection."""

    def __init__(self) -> None:
        self.sent: list[Any] = []

    def send(self, what: Any) -> None:
        self.sent.append(what)


class NothingLeft(Exception):
    pass


def work(service: network_process._Service) -> None:
    def notify() -> None:
        if not service._queue:
            raise NothingLeft

    with pytest.raises(NothingLeft):
        service.work(notify)
    service._sender.shutdown()


@pytest.mark.slow
def test_a_network_process_that_is_killed_costs_a_restart(make_clip: MakeClip, tmp_path: Path) -> None:
    clips = [
        Clip(str(n), "all", str(make_clip(tmp_path / f"{n}.mp4", frames=40, sound=False))) for n in range(8)
    ]
    crew = Crew(QUICK, 2, 2, 300, 0, ("cpu",))
    try:
        crew.start()
        first = pid_of(crew)
        Timer(0.5, os.kill, (first, signal.SIGKILL)).start()
        results, _ = done(clips, tmp_path / "s", QUICK, crew, workers=2)
        assert {result.failure for result in results.values()} == {""}
        assert len(results) == 8
        last = pid_of(crew)
        assert last != first
    finally:
        crew.close()
    with pytest.raises(ProcessLookupError):
        os.kill(last, 0)


def pid_of(crew: Crew) -> int:
    assert crew._networks is not None
    process = crew._networks._processes._children[0]._process
    assert process is not None
    assert process.pid is not None
    return process.pid


def serve_badly(
    plan: Plan, keys: dict[str, FeatureKey], endpoint: Endpoint, threads: int, notify: Any
) -> None:
    """As :func:`.network_process.serve` on a device that some clips are too much for."""
    statistics = network_process._Service._statistics

    def bad(self: network_process._Service, parts: list[Any]) -> Tensor:
        lengths = {len(part.request.arrays[0]) for part in parts}
        if FATAL in lengths:
            os.kill(os.getpid(), signal.SIGKILL)
        if BROKEN in lengths:
            raise RuntimeError("CUDA error: an illegal memory access was encountered\nmore")
        return statistics(self, parts)

    network_process._Service._statistics = bad  # type: ignore[method-assign]
    network_process.serve(plan, keys, endpoint, threads, notify)


@pytest.mark.slow
def test_a_clip_that_kills_or_breaks_the_network_process_fails_alone(
    make_clip: MakeClip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(ROOT))  # for the processes
    monkeypatch.setattr(network_process, "serve", serve_badly)
    counts = {"kills": FATAL, "breaks": BROKEN, "a": 3, "b": 4, "c": 12}
    clips = [
        Clip(name, "all", str(make_clip(tmp_path / f"{name}.mp4", frames=count, sound=False)))
        for name, count in counts.items()
    ]
    plan = Plan(device="cpu", precision="fp32", view_sets=("none",), batch=36)
    results, _ = done(clips, tmp_path / "s", plan, workers=2, network_processes=True)
    failures = {name: result.failure for name, result in results.items() if result.failure}
    assert failures.keys() == {"kills", "breaks"}
    assert "failed on it twice (the network process on cpu ended)" in failures["kills"]
    assert "failed on it twice (CUDA error: an illegal memory access was en" in failures["breaks"]


def serve_never(
    plan: Plan, keys: dict[str, FeatureKey], endpoint: Endpoint, threads: int, notify: Any
) -> None:
    raise DeviceError("CUDA error: no kernel image is available")


def test_a_device_on_which_no_network_process_starts_ends_the_run(
    make_clip: MakeClip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(ROOT))
    monkeypatch.setattr(network_process, "serve", serve_never)
    networks = crew_module.NetworkProcesses(QUICK, ("cpu",), 1, 300)
    try:
        with pytest.raises(
            ExtractError, match=r"on cpu failed \(CUDA error: no kernel.*\), 3 times in a row"
        ):
            networks.wait_ready()
    finally:
        networks.close()


def test_networks_that_are_not_those_of_the_keys_are_refused() -> None:
    keys = keys_of(Plan(device="cpu", precision="bf16"))
    with pytest.raises(ExtractError, match="precision: bf16 / fp32"):
        network_process.serve(Plan(device="cpu", precision="fp32"), keys, Endpoint("cpu", "", b""), 1, print)


def test_images_and_spectrograms_are_answered_too(tmp_path: Path) -> None:
    torch.manual_seed(0)
    torch.save(alexnet(weights=None).state_dict(), tmp_path / "alexnet.pt")
    plan = Plan(
        device="cpu",
        precision="fp32",
        backbones=(),
        segment_backbones=("ferplusnet",),
        audio_backbones=(f"alexnet@{tmp_path / 'alexnet.pt'}",),
    )
    endpoint, ended = Endpoint("cpu", crew_module._address(), b"secret"), Event()

    def notify(*_: str) -> None:
        if ended.is_set():
            raise NothingLeft

    def run() -> None:
        with suppress(NothingLeft):
            network_process.serve(plan, keys_of(plan), endpoint, torch.get_num_threads(), notify)

    thread = Thread(target=run)
    thread.start()
    try:
        client = NetworkClient([endpoint])
        rng = np.random.default_rng(0)
        (planned,), (network,) = planned_segment_networks(plan), segment_networks(plan)
        images = rng.integers(0, 256, (3, network.spec.input_size, network.spec.input_size, 3)).astype(
            np.uint8
        )
        np.testing.assert_array_equal(RemoteBackbone(client, planned)(images), network(images).numpy())
        (planned,), (audio,) = planned_audio_networks(plan), audio_networks(plan)
        remote = RemoteAudioBackbone(client, planned)
        spectrogram = np.asfortranarray(rng.uniform(-80, 0, (200, 150)).astype(np.float32))
        for got, expected in zip(remote(spectrogram), audio(spectrogram), strict=True):
            np.testing.assert_array_equal(got, expected.numpy())
        with pytest.raises(ClipError, match="ValueError: expected a spectrogram"):
            remote(spectrogram[:10])
        remote(spectrogram)  # it goes on
    finally:
        ended.set()
        thread.join()


WITHOUT_TORCH = """
import sys
from avemo.extract.apart import Endpoint
from avemo.extract.crew import _prepare
from avemo.extract.networks import face_networks_at_hand, use_threads
from avemo.extract.plan import Plan
from avemo.extract.streams.registry import keys_of
plan = Plan(device="cuda:1")
_prepare(plan, [Endpoint("cuda:1", "", b"")], {"cuda:1": True})
use_threads(1)
(network,) = face_networks_at_hand(plan)
precision = keys_of(plan)["ferplusnet/default"].settings["precision"]
print(precision, network.spec.input_size, "torch" in sys.modules)
"""


def test_a_worker_needs_neither_torch_nor_a_gpu_to_know_its_networks() -> None:
    done = subprocess.run([sys.executable, "-c", WITHOUT_TORCH], capture_output=True, text=True, check=True)
    size = load_backbone("ferplusnet", "cpu").spec.input_size
    assert done.stdout.split() == ["bf16", str(size), "False"]


def test_who_waits_for_an_answer_shows_that_it_lives() -> None:
    watch, future = Stopwatch(), Future[tuple[int, float]]()
    Timer(1.0, future.set_result, ((7, 0.25),)).start()
    with watch.running():
        before = watch.steps
        assert NetworkClient([]).result(future) == 7
        assert watch.steps - before >= 4
    assert watch.spent[NETWORK].wall >= 0.9
    assert watch.spent[NETWORK].device == 0.25


def test_a_batch_too_large_for_the_device_is_computed_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    service = network_process._Service(QUICK)
    network, batches = service._faces["ferplusnet"], []
    features = Backbone._features

    def small(self: Backbone, views: Tensor) -> Tensor:
        batches.append(len(views))
        if len(views) > 2:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory.")
        return features(self, views)

    monkeypatch.setattr(Backbone, "_features", small)
    size = network.spec.input_size
    arrays = [np.zeros((5, size, size, 3), np.uint8), np.tile(np.eye(2, 3), (5, 1, 1, 1))]
    connection = WorkerConnection()
    service.put(
        network_process._Request(connection, 3, NetworkCall("views", "ferplusnet", ("none",)), arrays)
    )
    work(service)
    ((number, error, got, _),) = connection.sent
    assert (number, error, got.shape) == (3, None, (5, 1, network.spec.features))
    assert batches == [5, 2, 2, 1]


@pytest.fixture
def _three_gpus(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    def present(device: str) -> str:
        if device not in ("cuda", "cuda:0", "cuda:1", "cuda:2"):
            raise ExtractError(f"there is no device {device!r} here")
        return device

    monkeypatch.setattr("avemo.extract.devices._require_device", present)
    yield


@pytest.mark.usefixtures("_three_gpus")
@pytest.mark.parametrize(
    ("text", "devices"),
    [
        ("cpu", ("cpu",)),
        ("cuda", ("cuda",)),
        ("cuda:1", ("cuda:1",)),
        ("cuda:0,1", ("cuda:0", "cuda:1")),
        ("cuda:2,0", ("cuda:2", "cuda:0")),
    ],
)
def test_devices(text: str, devices: tuple[str, ...]) -> None:
    assert torch_devices(text) == devices


@pytest.mark.usefixtures("_three_gpus")
@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("cpu:0,1", "there is only one cpu or mps"),
        ("cpu,cuda", "written as cuda:0,1"),
        ("cuda:0,cuda:1", "written as cuda:0,1"),
        ("cuda:0,", "written as cuda:0,1"),
        ("cuda:1,1", "names a device twice"),
        ("cuda:1,01", "names a device twice"),
        ("cuda:0,7", "there is no device 'cuda:7'"),
    ],
)
def test_devices_that_are_refused(text: str, why: str) -> None:
    with pytest.raises(ExtractError, match=why):
        torch_devices(text)


def test_several_devices_are_for_stage_one_alone() -> None:
    for command in (["predict", "clip.mp4"], ["recipe", "run", "zhou2019-fusion", "x"]):
        result = CliRunner().invoke(main, [*command, "--device", "cuda:0,1"])
        assert result.exit_code == 2
        assert "'cuda:0,1': several devices are for avemo-extract; name one" in result.output
    with pytest.raises(ExtractError, match="are for avemo-extract; name one"):
        torch_device("cuda:0,1")
