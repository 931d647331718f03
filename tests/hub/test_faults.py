"""Whatever goes wrong ends in an attempt that works or in one clear error, and half a file never passes for whole."""

from __future__ import annotations

import errno
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import constants, file_download

import zoo
from hub_server import HubServer, hub
from zoo.weights import hub as fetching
from zoo.weights.patience import LONGEST

FILE = "model.safetensors"
X = torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
LOAD = "import zoo; print(float(zoo.load('me/small')(__import__('torch').ones(1, 3, 32, 32)).sum()))"


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    """With one small network, me/small."""
    monkeypatch.setattr(fetching, "PAUSE", 0.0)
    zoo.save(zoo.create("mobilenet-pruned-int8"), tmp_path / "own")
    with hub(tmp_path, timeout=1) as server:
        server.add_repo("me/small", {file.name: file.read_bytes() for file in (tmp_path / "own").iterdir()})
        yield server


def whole() -> bool:
    return torch.equal(zoo.load("me/small")(X), zoo.create("mobilenet-pruned-int8")(X))


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("status", {"status": 500}),
        ("status", {"status": 503}),
        ("status", {"status": 429, "headers": {"Retry-After": "1"}}),
        ("status", {"status": 429, "method": "HEAD"}),
        ("status", {"status": 500, "method": "HEAD"}),
        ("cut", {}),
        ("cut", {"n": 0}),
        ("cut", {"method": "HEAD"}),
        ("stall", {}),
        ("short", {}),
        ("long", {"n": 10}),
        ("corrupt", {}),
        ("corrupt", {"n": 3}),
    ],
)
def test_a_fault_that_passes_is_mended(server: HubServer, kind: Any, options: dict[str, Any]) -> None:
    server.fault(kind, FILE, times=1, **options)
    assert whole()


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        ("status", {"status": 500}, r"answered 500\. Call again later"),
        ("status", {"status": 500, "method": "HEAD"}, r"answered 500\. Call again later"),
        ("status", {"status": 429}, "asks to wait"),
        ("status", {"status": 401, "method": None}, "no such repository .* or it is private.*HF_TOKEN"),
        ("status", {"status": 403, "method": None}, "access is restricted. Ask for it at"),
        ("status", {"status": 404}, "answered 404|is not there"),
        ("cut", {}, "did not come whole"),
        ("stall", {}, "did not come whole"),
        ("short", {}, "did not come whole: Consistency check failed"),
        ("long", {"n": 10}, "did not come whole"),
        ("corrupt", {}, "did not come whole: its SHA-256 is"),
        ("wrong_etag", {}, "did not come whole: its SHA-256 is"),
    ],
)
def test_a_fault_that_stays_is_one_clear_error_and_leaves_nothing(
    server: HubServer, kind: Any, options: dict[str, Any], message: str
) -> None:
    fault = server.fault(kind, FILE, times=None, **options)
    with pytest.raises(zoo.HubError, match=message) as caught:
        zoo.load("me/small")
    assert str(caught.value).count("\n") == 0 and len(str(caught.value)) < 500
    cached = [path for path in Path(constants.HF_HUB_CACHE).rglob("*") if path.is_file()]
    assert not [path for path in cached if path.stat().st_size > 50_000]
    fault.times = 0
    assert whole()


LONG = [{"Retry-After": "86400"}, {"RateLimit": '"api";r=0;t=86400'}]


@pytest.mark.parametrize("headers", LONG, ids=["Retry-After", "RateLimit"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("status", [429, 503])
def test_nobody_waits_for_hours(server: HubServer, status: int, method: str, headers: dict[str, str]) -> None:
    fault = server.fault("status", FILE, None, method, status=status, headers=headers)
    with pytest.raises(
        zoo.HubError, match=rf"asks to wait 86,400 seconds \({status}\).*more than 120.*Call again later"
    ):
        zoo.load("me/small")
    assert max(server.waits, default=0) <= LONGEST
    fault.times = 0
    assert whole()
    fault.times = None
    assert whole(), "what is in the cache is used while the Hub is busy"


@pytest.mark.parametrize("asked", ["7", "soon", "-5", "1e9", "", "Wed, 21 Oct 2065 07:28:00 GMT"])
def test_a_short_wait_is_waited_and_an_odd_one_is_none(server: HubServer, asked: str) -> None:
    server.fault("status", FILE, 1, "GET", status=429, headers={"Retry-After": asked})
    assert whole()
    assert server.waits and max(server.waits) == (8 if asked == "7" else 1)


def test_a_push_does_not_wait_for_hours(server: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_right")
    server.fault("status", "/preupload/", None, "POST", status=429, headers=LONG[0])
    with pytest.raises(zoo.HubError, match="asks to wait 86,400 seconds"):
        zoo.push_to_hub(zoo.create("mobilenet-pruned-int8"), "me/new")
    assert max(server.waits, default=0) <= LONGEST


def test_a_corrupt_file_that_was_cached_by_others_is_fetched_again(server: HubServer) -> None:
    """huggingface_hub checks lengths alone, so another program may have left it there."""
    from huggingface_hub import hf_hub_download

    server.fault("corrupt", FILE)
    hf_hub_download("me/small", FILE)
    assert whole()


def test_without_links_in_the_cache_the_hash_is_asked_for(server: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on Windows."""
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_SYMLINKS", True)
    monkeypatch.setattr(file_download, "are_symlinks_supported", lambda cache_dir=None: False)
    server.fault("corrupt", FILE)
    assert whole() and not list(Path(constants.HF_HUB_CACHE).rglob("blobs/" + "?" * 64))
    server.fault("corrupt", FILE, times=None)
    server.add_repo("me/small", {**server.files("me/small"), "news.txt": b"news"})
    with pytest.raises(zoo.HubError, match="its SHA-256 is"):
        zoo.load("me/small")


def test_nobody_listens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as bound, hub(tmp_path, timeout=1):
        bound.bind(("127.0.0.1", 0))  # a port of its own that never listens; a port that was freed may be given again
        endpoint = f"http://127.0.0.1:{bound.getsockname()[1]}"
        monkeypatch.setattr(constants, "ENDPOINT", endpoint)
        template = endpoint + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(file_download, "HUGGINGFACE_CO_URL_TEMPLATE", template, raising=False)
        with pytest.raises(zoo.HubError, match=r"cannot be reached\. Check the network"):
            zoo.load("me/small")


def test_what_is_cached_is_used_while_the_hub_is_down(server: HubServer) -> None:
    assert whole()
    server.fault("status", status=503, times=None, method=None)
    assert whole()


def test_private_and_gated(server: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    files = server.files("me/small")
    server.add_repo("me/private", files, private=True)
    server.add_repo("me/gated", files, gated=True)
    with pytest.raises(zoo.HubError, match="or it is private"):
        zoo.load("me/private")
    with pytest.raises(zoo.HubError, match=r"access is restricted. Ask for it at http://.*/me/gated"):
        zoo.load("me/gated")
    monkeypatch.setenv("HF_TOKEN", "hf_right")
    server.requests.clear()
    for repo in ("me/private", "me/gated"):
        assert zoo.load(repo).spec == zoo.load("me/small").spec
    told = [request for request in server.requests if request.authorization]
    assert told and all(request.host.startswith("127.0.0.1") for request in told)
    assert any(request.host.startswith("localhost") for request in server.requests)  # where the bytes came from


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk(server: HubServer, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    def full(url: str, file: Any, **options: Any) -> None:
        file.write(b"half")
        raise OSError(code, os.strerror(code))

    with monkeypatch.context() as patch:
        patch.setattr(file_download, "http_get", full)
        with pytest.raises(zoo.HubError, match=r"the disk is full\. Make room, or name another place by HF_HUB_CACHE"):
            zoo.load("me/small")
    assert whole()


def _child(server: HubServer, folder: Path, code: str = LOAD) -> subprocess.Popen[str]:
    environment = {**os.environ, **server.environment(folder)}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen([sys.executable, "-W", "ignore", "-c", code], env=environment, text=True, **pipes)  # type: ignore[call-overload]


@pytest.mark.multiprocess
@pytest.mark.slow
def test_two_processes_fill_one_cache(server: HubServer, tmp_path: Path) -> None:
    children = [_child(server, tmp_path / "both") for _ in range(2)]
    answers = [child.communicate(timeout=120) for child in children]
    assert answers[0][0] and answers[0][0] == answers[1][0], answers


@pytest.mark.multiprocess
@pytest.mark.slow
def test_a_kill_in_the_middle(server: HubServer, tmp_path: Path) -> None:
    fault = server.fault("stall", FILE, times=1)
    child = _child(server, tmp_path / "killed")
    deadline = time.monotonic() + 60
    while fault.times and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.2)
    child.send_signal(signal.SIGKILL)
    child.wait(10)
    out, err = _child(server, tmp_path / "killed").communicate(timeout=120)
    assert float(out), err
