"""``avemo weights``: listing, fetching from a real server, verifying, adding; and its exit codes."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import shutil
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import safetensors.torch
import torch
import torchvision.models as models
from click.testing import CliRunner, Result
from torch import Tensor

from avemo.extract.backbones import get, load_backbone
from avemo.extract.backbones.weights import load_state
from avemo.extract.detectors.yunet import YuNetDetector
from avemo.extract.digest import sha256_of
from avemo.pipelines.cli.main import main
from avemo.pipelines.detector_choice import choose_detector
from avemo.pipelines.errors import DownloadError
from avemo.pipelines.weights import download as downloads
from avemo.pipelines.weights.check import check
from avemo.pipelines.weights.download import download

YUNET = "ebafce4e3c118d6554634be5c27ab333b4c047a9a8c3faf1d7cf93101c22f0f0"
"""Other projects record this sum, 229,738 bytes and OpenCV's model zoo for the file."""
MOBILEFACENET = "90a00ba1d8b0b688af3deb731ed53dca582e6106805d1bc3cfdef55f570493f4"


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, ["weights", *map(str, arguments)])


@pytest.fixture(autouse=True)
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of weights that is not there yet, in place of the user's own."""
    path = tmp_path / "weights"
    monkeypatch.setenv("AVEMO_WEIGHTS", str(path))
    return path


@pytest.fixture(scope="session")
def mobilefacenet(shared: Path) -> Path:
    return shared / "weights/mobilefacenet.pt"


def checkpoint(path: Path, name: str = "ferresnet", seed: int = 0) -> Path:
    """A checkpoint of a network of our own, of random values."""
    torch.manual_seed(seed)
    torch.save(get(name).build().state_dict(), path)
    return path


# ---- list and show


def test_list_says_what_there_is_and_whether_it_is_here() -> None:
    result = run("list")
    assert result.exit_code == 0
    rows = {line.split()[0]: line for line in result.stdout.splitlines()}
    assert next(iter(rows)) == "name"
    assert "in a package" in rows["dlib"] and "150 rgb" in rows["dlib"]
    assert "missing" in rows["irse50@ms1m"] and rows["irse50@ms1m"].endswith("fetch")
    assert rows["ir50@ms1m"].endswith("by hand") and "112 rgb" in rows["ir50@ms1m"]
    order = list(rows)[1:]
    assert order.index("ir50@ms1m") < order.index("irse50@ms1m") < order.index("resnet18@ms1m")
    assert order.index("resnet18@ms1m") < order.index("resnet50@vggface2")


def test_list_by_pattern_as_text_and_as_json() -> None:
    assert run("list", "ferplus").stdout.count("@ferplus") == 3
    found = json.loads(run("list", "onnx@enet_b0*", "--json").stdout)
    assert [record["name"] for record in found] == [
        "onnx@enet_b0_8_best_afew",
        "onnx@enet_b0_8_best_vgaf",
        "onnx@enet_b0_8_va_mtl",
    ]
    assert found[0]["classes"][0] == "Anger" and found[0]["path"] is None
    refused = run("list", "nothing-like-it")
    assert refused.exit_code == 2 and "nothing-like-it" in refused.stderr


def test_show_says_everything_with_the_preprocessing_of_the_network() -> None:
    text = run("show", "irse50@ms1m").stdout
    for expected in (
        "112 × 112 BGR, (0-255 - 127.5) / 127.5",
        "512 features",
        "MIT",
        "https://github.com/TreB1eN/InsightFace_Pytorch",
        "sha256:a035c768",
        "--backbone irse50@ms1m",
        "no: `avemo weights fetch irse50@ms1m`",
    ):
        assert expected in text
    assert "(129.186, 104.762, 93.594)" in run("show", "vggface@vggface").stdout
    assert "neutral, happiness, surprise, sadness" in run("show", "resnet50@ferplus").stdout
    assert "licence       not known" in run("show", "resnet50@ferplus").stdout


def test_show_of_weights_that_are_here_looks_into_them() -> None:
    text = run("show", "dlib").stdout
    assert "55533b28a95800a5" in text and "(in a package)" in text and "ok: dlib" in text


def test_a_card_that_cannot_be_read_costs_its_own_row_only(weights: Path) -> None:
    weights.mkdir()
    (weights / "onnx@mine.onnx").touch()
    (weights / "onnx@mine.json").write_text("{")
    (weights / "ferresnet@mine.safetensors").touch()
    (weights / "ferresnet@mine.json").write_text("{")
    result = run("list", "mine")
    assert result.exit_code == 0 and len(result.stdout.splitlines()) == 3
    assert "the card of onnx@mine.onnx" in run("show", "onnx@mine").stdout
    assert run("verify").exit_code == 1


def test_a_wrong_name_gets_the_nearest() -> None:
    refused = run("show", "ir50@msceleb")
    assert refused.exit_code == 2 and "ir50@ms1m" in refused.stderr and len(refused.stderr.splitlines()) == 1


# ---- downloading, from a server of our own


class Server(ThreadingHTTPServer):
    """Serves one file, ``content``; the other attributes are its bad habits."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.content = os.urandom(300_000)
        self.tag = '"1"'
        self.ranges = True
        self.page = False
        self.statuses: list[int] = []
        self.break_after: list[int] = []
        self.pause = 0.0
        self.requests: list[str | None] = []

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing of a client that has hung up: a later test's stderr would have it."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/file"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def log_message(self, *arguments: object) -> None:
        pass

    def do_GET(self) -> None:
        server, wanted = self.server, self.headers.get("Range")
        server.requests.append(wanted)
        if server.statuses:
            self.send_error(server.statuses.pop(0))
            return
        content = b"<!DOCTYPE html><title>Sign in</title>" if server.page else server.content
        start, whole = 0, len(content)
        if wanted and server.ranges and self.headers.get("If-Range") == server.tag:
            start = int(wanted.removeprefix("bytes=").rstrip("-"))
            if start >= whole:
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{whole}")
                self.end_headers()
                return
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{whole - 1}/{whole}")
        else:
            self.send_response(200)
        self.send_header("Content-Type", "text/html" if server.page else "application/octet-stream")
        self.send_header("Content-Length", str(whole - start))
        if server.tag:
            self.send_header("ETag", server.tag)
        self.end_headers()
        body = content[start:]
        if server.break_after:
            body = body[: server.break_after.pop(0)]
            self.close_connection = True
        for first in range(0, len(body), 50_000):
            self.wfile.write(body[first : first + 50_000])
            self.wfile.flush()
            time.sleep(server.pause)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(downloads.time, "sleep", lambda seconds: None)
    for variable in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(variable, raising=False)
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def fetched(server: Server, target: Path) -> list[tuple[int, int | None]]:
    """Download without any check; how many bytes were here, of how many, at the start of each attempt."""
    starts: list[tuple[int, int | None]] = []
    download(server.url, target, lambda path: None, lambda done, total: starts.append((done, total)))
    assert target.read_bytes() == server.content
    assert [path.name for path in target.parent.iterdir()] == [target.name]
    return starts


def test_a_whole_file_at_once(server: Server, weights: Path) -> None:
    assert fetched(server, weights / "file") == [(0, 300_000)]


def test_a_connection_that_breaks_off_is_taken_up_where_it_stopped(server: Server, weights: Path) -> None:
    server.break_after = [100_000, 50_000]
    assert fetched(server, weights / "file") == [(0, 300_000), (100_000, 300_000), (150_000, 300_000)]
    assert server.requests == [None, "bytes=100000-", "bytes=150000-"]


def test_the_next_call_goes_on_after_a_kill(server: Server, weights: Path) -> None:
    def stop(count: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        download(server.url, weights / "file", lambda path: None, on_bytes=stop)
    partial = weights / "file.partial"
    assert 0 < partial.stat().st_size < 300_000 and not (weights / "file").exists()
    first = partial.stat().st_size
    assert fetched(server, weights / "file") == [(first, 300_000)]


def test_stopped_before_the_check_nothing_is_fetched_again(server: Server, weights: Path) -> None:
    def stop(path: Path) -> None:
        raise SystemExit

    (weights / "x").mkdir(parents=True)
    with pytest.raises(SystemExit):
        download(server.url, weights / "x/file", stop)
    assert (weights / "x/file.partial").stat().st_size == 300_000
    assert fetched(server, weights / "x/file") == []
    assert server.requests == [None, "bytes=300000-"]


def test_a_file_that_changed_meanwhile_is_fetched_from_its_start(server: Server, weights: Path) -> None:
    server.break_after = [100_000] + [0] * 4
    with pytest.raises(DownloadError, match="after 100000 of 300000 bytes, 4 times in a row"):
        download(server.url, weights / "file", lambda path: None, attempts=4)
    server.break_after = []
    server.content, server.tag = os.urandom(300_000), '"2"'
    assert fetched(server, weights / "file") == [(0, 300_000)]


@pytest.mark.parametrize(("ranges", "tag"), [(False, '"1"'), (True, ""), (True, 'W/"1"')])
def test_a_server_that_cannot_resume_sends_all_again(
    server: Server, weights: Path, ranges: bool, tag: str
) -> None:
    server.ranges, server.tag = ranges, tag
    server.break_after = [100_000]
    assert fetched(server, weights / "file") == [(0, 300_000), (0, 300_000)]


def test_a_server_that_is_busy_is_asked_again(server: Server, weights: Path) -> None:
    server.statuses = [503, 429]
    fetched(server, weights / "file")
    assert len(server.requests) == 3


@pytest.mark.parametrize("status", [404, 403, 410])
def test_a_dead_link_is_told_at_once(server: Server, weights: Path, status: int) -> None:
    server.statuses = [status]
    with pytest.raises(DownloadError, match=f"the server answers {status}"):
        fetched(server, weights / "file")
    assert len(server.requests) == 1 and list(weights.iterdir()) == []


def test_a_web_page_is_no_file(server: Server, weights: Path) -> None:
    server.page = True
    with pytest.raises(DownloadError, match="gives a web page instead of the file"):
        fetched(server, weights / "file")
    assert list(weights.iterdir()) == []


def test_what_the_check_refuses_is_thrown_away_and_what_was_there_is_kept(
    server: Server, weights: Path
) -> None:
    weights.mkdir()
    (weights / "file").write_bytes(b"old")

    def refuse(path: Path) -> None:
        raise DownloadError("wrong sum")

    with pytest.raises(DownloadError, match="wrong sum"):
        download(server.url, weights / "file", refuse)
    assert (weights / "file").read_bytes() == b"old" and len(list(weights.iterdir())) == 1


def test_two_processes_do_not_write_into_one_file(server: Server, weights: Path) -> None:
    def other(path: Path) -> None:
        with pytest.raises(DownloadError, match="by another process"):
            download(server.url, weights / "file", lambda path: None)

    download(server.url, weights / "file", other)


def test_a_slow_server_is_waited_for(server: Server, weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()  # the server really sleeps
    server.pause = 0.05
    counts: list[int] = []
    download(server.url, weights / "file", lambda path: None, on_bytes=counts.append)
    assert sum(counts) == 300_000 and len(counts) > 3


def test_a_server_that_stops_sending_is_given_up(
    server: Server, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    monkeypatch.setattr(downloads, "TIMEOUT_SECONDS", 0.2)
    server.pause = 1.0
    with pytest.raises(DownloadError, match="timed out"):
        download(server.url, weights / "file", lambda path: None, attempts=0)


def test_other_addresses_are_not_opened(weights: Path) -> None:
    with pytest.raises(DownloadError, match=r"expected an address that begins with https://"):
        download("file:///etc/passwd", weights / "file", lambda path: None)


# ---- avemo weights fetch


def test_fetch_gets_checks_and_makes_usable(server: Server, weights: Path, mobilefacenet: Path) -> None:
    server.content = mobilefacenet.read_bytes()
    result = run("fetch", "mobilefacenet@ms1m", "--url", server.url)
    assert result.exit_code == 0, result.stderr
    assert f"fetched {weights / 'mobilefacenet.pt'}" in result.stdout and "Apache-2.0" in result.stdout
    assert "4.14M" in result.stderr  # the bar
    assert load_backbone("mobilefacenet").label == "mobilefacenet@ms1m"
    again = run("fetch", "mobilefacenet@ms1m", "--url", server.url)
    assert again.exit_code == 0 and "is here" in again.stdout and len(server.requests) == 1
    assert run("fetch", "mobilefacenet@ms1m", "--again", "--url", server.url).exit_code == 0
    assert len(server.requests) == 2


def test_fetch_of_the_detector_by_its_name_alone(
    server: Server, weights: Path, shared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)  # it is checked also without this package
    whole = (shared / "weights/face_detection_yunet_2026may.onnx").read_bytes()
    for other in (whole[:-1000], whole[:-1] + bytes([whole[-1] ^ 1]), b"<html>Sign in</html>"):
        server.content = other
        refused = run("fetch", "yunet", "--url", server.url)
        assert refused.exit_code == 2 and not list(weights.glob("*.onnx")), refused.output
    assert choose_detector("auto").text == "dlib"
    server.content = whole
    result = run("fetch", "yunet", "--url", server.url)
    assert result.exit_code == 0, result.output
    target = weights / "face_detection_yunet_2026may.onnx"
    assert f"fetched {target}; licence: MIT" in result.stdout and sha256_of(target) == YUNET
    assert choose_detector("auto").text == "yunet@2026may"
    assert YuNetDetector().settings() == YuNetDetector(target).settings()
    assert "ok" in run("verify", "yunet@2026may").stdout
    text = run("show", "yunet").stdout
    assert "MIT" in text and "229,738 bytes" in text and "--detector yunet@2026may" in text
    assert "did you mean facenet@" in run("fetch", "facenet").stderr  # there are two


def test_add_of_a_detector(weights: Path, shared: Path, tmp_path: Path) -> None:
    whole = shared / "weights/face_detection_yunet_2026may.onnx"
    added = run("add", whole)
    assert added.exit_code == 0 and "use it as --detector yunet@2026may" in added.stdout, added.output
    onnx = pytest.importorskip("onnx")
    model = onnx.load(whole)
    model.doc_string = "another file"
    onnx.save(model, tmp_path / "face_detection_yunet_2023mar.onnx")
    mine = run("add", tmp_path / "face_detection_yunet_2023mar.onnx", "--as", "yunet@mine")
    assert mine.exit_code == 0 and "use it as --detector yunet@mine" in mine.stdout, mine.output
    assert json.loads(run("show", "yunet@mine", "--json").stdout)[0]["kind"] == "face detector"
    assert {row.split()[0] for row in run("list", "yunet").stdout.splitlines()[1:]} == {
        "yunet@2026may",
        "yunet@mine",
    }
    assert choose_detector("auto").text == "yunet@2026may"
    (weights / whole.name).unlink()
    assert choose_detector("auto").text == "yunet@mine"
    assert YuNetDetector().settings()["detector.weights"] == sha256_of(weights / "yunet@mine.onnx")


def test_fetch_refuses_a_wrong_sum(server: Server, weights: Path, tmp_path: Path) -> None:
    server.content = checkpoint(tmp_path / "other.pt", "mobilefacenet").read_bytes()
    refused = run("fetch", "mobilefacenet@ms1m", "--url", server.url)
    assert refused.exit_code == 2
    assert f"expected sha256 {MOBILEFACENET}, found" in refused.stderr
    assert "get mobilefacenet.pt from https://github.com/foamliu/MobileFaceNet" in refused.stderr
    assert not (weights / "mobilefacenet.pt").exists()


def test_fetch_refuses_weights_of_another_network_where_no_sum_is_known(
    server: Server, tmp_path: Path
) -> None:
    server.content = checkpoint(tmp_path / "other.pt", "mobilefacenet").read_bytes()
    refused = run("fetch", "resnet50@ferplus", "--url", server.url)
    assert refused.exit_code == 2 and "expected resnet50@ferplus, but it is mobilefacenet" in refused.stderr


def test_fetch_runs_nothing_in_what_it_gets(server: Server, tmp_path: Path, weights: Path) -> None:
    proof = tmp_path / "proof"
    server.content = pickle.dumps(Intruder(proof))
    refused = run("fetch", "resnet50@ferplus", "--url", server.url)
    assert refused.exit_code == 2 and "would run code" in refused.stderr
    assert not proof.exists() and not list(weights.glob("resnet50*"))


def test_fetch_without_a_direct_link_says_what_to_do(weights: Path) -> None:
    refused = run("fetch", "ir50@ms1m")
    assert refused.exit_code == 2
    assert "there is no direct link" in refused.stderr and str(weights) in refused.stderr
    assert (
        "get backbone_ir50_ms1m_epoch120.pth from https://github.com/ZhaoJ9014/face.evoLVe" in refused.stderr
    )


def test_fetch_without_a_network_says_what_to_do(weights: Path) -> None:
    refused = run("fetch", "irse50@ms1m", "--url", "https://no-such-host.invalid/model_ir_se50.pth")
    assert refused.exit_code == 2 and "no network, or no such host" in refused.stderr
    message = refused.stderr.splitlines()[-1]
    assert (
        f"get model_ir_se50.pth from https://github.com/TreB1eN/InsightFace_Pytorch and put it into {weights}"
        in message
    )


def test_fetch_of_several_goes_on_after_one_that_fails(weights: Path) -> None:
    result = run("fetch", "dlib", "ir50@ms1m")
    assert result.exit_code == 1
    assert "dlib is here" in result.stdout and "ir50@ms1m cannot be fetched" in result.stderr
    assert run("fetch", "dlib", "ir50@ms1m", "--url", "http://localhost/x").exit_code == 2


# ---- verify


class Intruder:
    """Unpickling it would make a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str, int]]:
        return os.open, (str(self.path), os.O_CREAT)


def test_verify_of_the_real_files(shared: Path) -> None:
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    folder = shared / "weights"
    result = run("verify", *sorted(folder.iterdir()), "--json")
    assert result.exit_code == 0, result.stdout
    found = {Path(verdict["path"]).name: verdict for verdict in json.loads(result.stdout)}
    assert {name: (verdict["state"], verdict["name"]) for name, verdict in found.items()} == {
        "MobileFaceNet.onnx": ("ok", None),
        "MobileFaceNet.onnx.data": ("other", None),
        "face_detection_yunet_2026may.onnx": ("ok", "yunet@2026may"),
        "mobilefacenet.pt": ("ok", "mobilefacenet@ms1m"),
        "version-RFB-320.onnx": ("other", None),
    }
    assert "112 × 112, 128 features" in found["MobileFaceNet.onnx"]["what"]
    assert "MobileFaceNet.onnx, which holds all of its own" in found["MobileFaceNet.onnx.data"]["what"]
    rfb = "input 1 × 3 × 240 × 320 to scores 1 × 4420 × 2, boxes 1 × 4420 × 4"
    assert rfb in found["version-RFB-320.onnx"]["what"]
    assert found["mobilefacenet.pt"]["sha256"] == MOBILEFACENET
    assert found["mobilefacenet.pt"]["checksum"] == "as published"


def test_verify_without_arguments_looks_at_all_that_is_here(weights: Path, mobilefacenet: Path) -> None:
    weights.mkdir()
    shutil.copy(mobilefacenet, weights)
    result = run("verify")
    assert result.exit_code == 0
    for name in ("dlib", "dlib-points", "mobilefacenet@ms1m"):
        assert any(name in line.split() and " ok " in line for line in result.stdout.splitlines())
    by_name = run("verify", "dlib")
    assert by_name.exit_code == 0 and len(by_name.stdout.splitlines()) == 2


def bad_files(folder: Path, good: Path) -> dict[str, str]:
    """Files of all kinds that are no weights, and what is to be said of each."""
    content = good.read_bytes()
    (folder / "page.pth").write_bytes(b"\n<!DOCTYPE html><html>Virus scan warning</html>")
    (folder / "empty.pth").touch()
    (folder / "cut.pth").write_bytes(content[: len(content) // 2])
    (folder / "lfs.pth").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")
    (folder / "archive.tar.gz").write_bytes(b"\x1f\x8b\x08\x00" + bytes(60))
    (folder / "plain.pkl").write_bytes(pickle.dumps({"conv1.weight": [1.0]}, protocol=2))
    (folder / "text.pth").write_text("hello")
    (folder / "folder.pth").mkdir()
    torch.save({"weight": Intruder(folder / "proof")}, folder / "evil.pth")
    torch.save(models.resnet34().state_dict(), folder / "resnet34.pth")
    state = load_state(good)
    state[next(iter(state))][0] = float("nan")
    torch.save(state, folder / "nan.pth")
    (folder / "cut.onnx").write_bytes(b"\x08\x07\x12\x07pytorch" + bytes(50))
    return {
        "page.pth": "a web page",
        "empty.pth": "the file is empty",
        "cut.pth": "damaged or truncated",
        "lfs.pth": "git lfs pull",
        "archive.tar.gz": "an archive (gzip); unpack it",
        "plain.pkl": "would run code",
        "text.pth": "begins with b'hello'",
        "folder.pth": "a folder",
        "evil.pth": "would run code",
        "resnet34.pth": "The nearest networks are resnet18",
        "nan.pth": "1 tensors hold values that are not finite",
        "cut.onnx": "ONNX",
        "absent.pth": "there is no such file",
    }


def test_verify_says_in_one_line_what_is_wrong_with_each_file(tmp_path: Path) -> None:
    good = checkpoint(tmp_path / "good.pth")
    expected = bad_files(tmp_path, good)
    result = run("verify", good, *(tmp_path / name for name in expected))
    assert result.exit_code == 1
    problems = dict(line.split(": ", 1) for line in result.stderr.splitlines())
    assert problems.keys() == {str(tmp_path / name) for name in expected}
    for name, text in expected.items():
        assert text in problems[str(tmp_path / name)], name
    assert not (tmp_path / "proof").exists()
    assert "good.pth" in result.stdout and "ferresnet, " in result.stdout


def test_verify_compares_with_the_card_beside_the_file(tmp_path: Path) -> None:
    path = checkpoint(tmp_path / "mine.pth")
    card = tmp_path / "mine.json"
    assert check(path).checksum == "not known"
    card.write_text(json.dumps(["a list of something else"]))
    assert check(path).checksum == "not known"
    card.write_text(json.dumps({"sha256": sha256_of(path)}))
    assert check(path).checksum == "as its card says"
    card.write_text(json.dumps({"sha256": "0" * 64}))
    assert check(path).state == "problem" and "its card says SHA-256 000" in check(path).what
    card.write_text("{")
    assert check(path).state == "problem" and "not a weights card" in check(path).what


def test_verify_tells_a_file_that_only_bears_the_name_of_a_published_one(tmp_path: Path) -> None:
    verdict = check(checkpoint(tmp_path / "mobilefacenet.pt", "mobilefacenet"))
    assert verdict.state == "problem" and "is not the file published as mobilefacenet@ms1m" in verdict.what


# ---- add


def test_add_keeps_a_checkpoint_as_safetensors_with_its_card(tmp_path: Path, weights: Path) -> None:
    source = checkpoint(tmp_path / "my net.pth.tar")
    result = run("add", source, "--as", "ferresnet@rafdb", "--licence", "research only")
    assert result.exit_code == 0, result.stderr
    target = weights / "ferresnet@rafdb.safetensors"
    assert str(target) in result.stdout and "--backbone ferresnet@rafdb" in result.stdout
    assert sorted(path.name for path in weights.iterdir()) == ["ferresnet@rafdb.json", target.name]
    card = json.loads((weights / "ferresnet@rafdb.json").read_text())
    assert card == {
        "format": 1,
        "architecture": "ferresnet",
        "source": "my net.pth.tar",
        "source_sha256": hashlib.sha256(source.read_bytes()).hexdigest(),
        "sha256": hashlib.sha256(target.read_bytes()).hexdigest(),
        "licence": "research only",
    }
    same: dict[str, Tensor] = safetensors.torch.load_file(target)
    for key, value in load_state(source).items():
        assert torch.equal(same[key], value)
    assert load_backbone("ferresnet@rafdb", precision="fp32").label == "ferresnet@rafdb"
    assert check(target).checksum == "as its card says"
    row = next(line for line in run("list", "rafdb").stdout.splitlines() if "rafdb" in line)
    assert "cached" in row and "your own: my net.pth.tar" in row
    assert "research only" in run("show", "ferresnet@rafdb").stdout


def test_add_names_a_file_after_what_it_is(tmp_path: Path, weights: Path, mobilefacenet: Path) -> None:
    assert run("add", checkpoint(tmp_path / "my net.pth")).exit_code == 0
    assert (weights / "ferresnet@my-net.safetensors").is_file()
    assert run("add", mobilefacenet).exit_code == 0
    assert (weights / "mobilefacenet@ms1m.safetensors").is_file()
    assert run("verify").exit_code == 0
    assert load_backbone("mobilefacenet").label == "mobilefacenet@ms1m"


def test_add_keeps_what_the_source_card_says(tmp_path: Path, weights: Path) -> None:
    source = tmp_path / "mine.safetensors"
    safetensors.torch.save_file(get("ferresnet").build().state_dict(), source)
    card = {"format": 1, "classes": ["Happy", "Sad"], "sha256": sha256_of(source)}
    source.with_suffix(".json").write_text(json.dumps(card))
    assert run("add", source, "--as", "ferresnet@two").exit_code == 0
    assert json.loads((weights / "ferresnet@two.json").read_text())["classes"] == ["Happy", "Sad"]
    assert "Happy, Sad" in run("show", "ferresnet@two").stdout


def test_add_asks_where_two_networks_fit(tmp_path: Path, weights: Path) -> None:
    torch.save(models.resnet18(num_classes=7).state_dict(), tmp_path / "emotions.pth")
    refused = run("add", tmp_path / "emotions.pth")
    assert refused.exit_code == 2 and "--as resnet18 or --as resnet18-imagenet" in refused.stderr
    assert run("add", tmp_path / "emotions.pth", "--as", "resnet18-imagenet").exit_code == 0
    assert (weights / "resnet18-imagenet@emotions.safetensors").is_file()


def test_an_onnx_file_is_added_if_it_needs_no_other(tmp_path: Path, weights: Path, shared: Path) -> None:
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    source = shared / "weights/MobileFaceNet.onnx"
    assert run("add", source).exit_code == 0
    assert (weights / "onnx@MobileFaceNet.onnx").read_bytes() == source.read_bytes()
    assert load_backbone("onnx@MobileFaceNet").label == "onnx@MobileFaceNet"

    apart = tmp_path / "apart.onnx"
    onnx.save(onnx.load(source), apart, save_as_external_data=True, location="apart.onnx.data")
    verdicts = [check(apart), check(tmp_path / "apart.onnx.data")]
    assert [verdict.state for verdict in verdicts] == ["ok", "ok"]
    assert "weights of apart.onnx" in verdicts[1].what
    for path, text in ((apart, "has its weights in other files"), (verdicts[1].path, "not a backbone")):
        refused = run("add", path)
        assert refused.exit_code == 2 and text in refused.stderr


def test_add_refuses(tmp_path: Path, weights: Path) -> None:
    source = checkpoint(tmp_path / "mine.pth")

    def refused(*arguments: str | Path) -> str:
        result = run("add", *arguments)
        assert result.exit_code == 2 and len(result.stderr.splitlines()) == 1, result.output
        return result.stderr

    assert "not weights of ir50, but of ferresnet" in refused(source, "--as", "ir50@mine")
    assert "no backbone is called 'resnet'" in refused(source, "--as", "resnet")
    assert "a tag has letters" in refused(source, "--as", "ferresnet@a/b")
    impostor = checkpoint(tmp_path / "impostor.pth", "mobilefacenet")
    assert "whose checksum is known" in refused(impostor, "--as", "mobilefacenet@ms1m")
    torch.save({"weight": Intruder(tmp_path / "proof")}, tmp_path / "evil.pth")
    assert "would run code" in refused(tmp_path / "evil.pth") and not (tmp_path / "proof").exists()
    assert "no such file" in refused(tmp_path / "absent.pth")
    assert not weights.exists()
    assert run("add", source).exit_code == 0
    assert "is there already" in refused(source)


def test_help_answers_without_importing_torch() -> None:
    import subprocess
    import sys

    code = (
        "import sys; from click.testing import CliRunner; from avemo.pipelines.cli.main import main; "
        "result = CliRunner().invoke(main, ['weights', '--help']); "
        "assert result.exit_code == 0 and 'avemo weights fetch irse50@ms1m' in result.output; "
        "assert 'torch' not in sys.modules"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
