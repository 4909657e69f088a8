"""Downloads one file by HTTP, with resumption; it appears only when complete and verified."""

from __future__ import annotations

import http.client
import socket
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import filelock

from ... import __version__
from ...cache import durable
from ..errors import DownloadError

ATTEMPTS = 5
TIMEOUT_SECONDS = 30
_BLOCK = 1 << 16
_PASSING = {408, 425, 429, 500, 502, 503, 504}  # temporary HTTP errors, worth a retry


class _BrokenOff(Exception):
    """The connection failed. Received data is kept, and the next attempt continues from there."""


class _AllHere(Exception):
    """The data is complete; the last call was stopped before the check."""


def download(
    url: str,
    target: Path,
    check: Callable[[Path], None],
    on_start: Callable[[int, int | None], None] = lambda done, total: None,
    on_bytes: Callable[[int], None] = lambda count: None,
    attempts: int = ATTEMPTS,
) -> None:
    """Download ``url`` to ``target``, creating its folder if needed.

    Data is received into ``NAME.partial`` beside the target, passed to ``check``, and then renamed. Failed
    connections are retried. Each attempt, and the next call, continues where the last one stopped, if the
    server still has the same file.

    Args:
        url: an http or https address.
        target: the file to write.
        check: called with the complete file; if it raises, the data is deleted.
        on_start: called at each attempt with the bytes already received and the total, None if unknown.
        on_bytes: called with the number of new bytes.
        attempts: maximum number of consecutive failures without new data.

    Raises:
        DownloadError: the server does not have the file, sends a web page or cannot be reached, or another
            process is downloading the same file.
    """
    if urllib.parse.urlsplit(url).scheme not in ("http", "https"):
        raise DownloadError(f"{url}: expected an address that begins with https:// or http://")
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f"{target.name}.partial")
    with _alone(target):
        failures = 0
        while True:
            before = _size(partial)
            try:
                _go_on(url, partial, on_start, on_bytes)
                break
            except _AllHere:
                break
            except _BrokenOff as error:
                failures = 0 if _size(partial) > before else failures + 1
                if failures >= attempts:
                    raise DownloadError(f"{url}: {error}, {attempts} times in a row") from error
                time.sleep(min(2.0**failures, 30))
        try:
            check(partial)
        except Exception:
            _throw_away(partial)
            raise
        durable.put(partial, target)
        _throw_away(partial)


def _go_on(
    url: str, partial: Path, on_start: Callable[[int, int | None], None], on_bytes: Callable[[int], None]
) -> None:
    """Download the missing rest of ``partial``."""
    with _opened(url, partial) as response:
        if response.headers.get_content_type() in ("text/html", "application/xhtml+xml"):
            raise DownloadError(f"{url} gives a web page instead of the file")
        resumed = response.status == http.HTTPStatus.PARTIAL_CONTENT
        done = _size(partial) if resumed else 0
        if resumed and not response.headers.get("Content-Range", "").startswith(f"bytes {done}-"):
            _throw_away(partial)
            raise _BrokenOff("the server sent a different part than requested")
        length = response.headers.get("Content-Length")
        total = done + int(length) if length else None
        on_start(done, total)
        with partial.open("ab" if resumed else "wb") as file:
            _version_file(partial).write_text(_version(response.headers), encoding="ascii", errors="ignore")
            for block in _blocks(response):
                file.write(block)
                done += len(block)
                on_bytes(len(block))
    if total is not None and done < total:
        raise _BrokenOff(f"the connection broke off after {done} of {total} bytes")


@contextmanager
def _opened(url: str, partial: Path) -> Iterator[http.client.HTTPResponse]:
    """Open a request for the rest of ``partial``, or for the whole file if it cannot be resumed."""
    headers = {"User-Agent": f"avemo/{__version__}", "Accept-Encoding": "identity"}
    version = _version_file(partial).read_text(encoding="ascii") if _version_file(partial).exists() else ""
    if version and _size(partial):
        # Without the version, parts of two versions of a file could be joined.
        headers |= {"Range": f"bytes={_size(partial)}-", "If-Range": version}
    try:
        response = urllib.request.urlopen(
            urllib.request.Request(url, headers=headers), timeout=TIMEOUT_SECONDS
        )
    except urllib.error.HTTPError as error:
        if error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            if error.headers.get("Content-Range") == f"bytes */{_size(partial)}":
                raise _AllHere from error
            _throw_away(partial)
            raise _BrokenOff("the file on the server is shorter than the part received so far") from error
        if error.code in _PASSING:
            raise _BrokenOff(f"the server answers {error.code} {error.reason}") from error
        raise DownloadError(f"{url}: the server answers {error.code} {error.reason}") from error
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", error)
        if isinstance(reason, socket.gaierror):
            raise DownloadError(f"{url} cannot be reached: there is no network, or no such host") from error
        raise _BrokenOff(f"no connection ({reason})") from error
    with response:
        yield response


def _blocks(response: http.client.HTTPResponse) -> Iterator[bytes]:
    while True:
        try:
            block = response.read(_BLOCK)
        except (OSError, http.client.HTTPException) as error:
            raise _BrokenOff(f"the connection broke off ({error or type(error).__name__})") from error
        if not block:
            return
        yield block


@contextmanager
def _alone(target: Path) -> Iterator[None]:
    file = target.with_name(f".{target.name}.lock")
    try:
        lock = filelock.FileLock(file, timeout=0).acquire()
    except filelock.Timeout as error:
        raise DownloadError(f"{target.name} is being fetched by another process; wait for it") from error
    with lock:
        try:
            yield
        finally:
            with suppress(OSError):  # Windows cannot delete an open file
                file.unlink()


def _version(headers: http.client.HTTPMessage) -> str:
    """Return an identifier of the file's version: a strong ETag, else its date, else an empty string."""
    tag = headers.get("ETag", "")
    return headers.get("Last-Modified", "") if not tag or tag.startswith("W/") else tag


def _version_file(partial: Path) -> Path:
    return partial.with_name(f"{partial.name}.version")


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _throw_away(partial: Path) -> None:
    partial.unlink(missing_ok=True)
    _version_file(partial).unlink(missing_ok=True)
