"""A Hub on this machine, to download from and upload to without the internet, and to fail as networks do.

with hub(tmp_path) as server:
    server.add_repo("org/name", {"config.json": b"{}", "model.safetensors": data})
    server.fault("cut", "model.safetensors", n=1000)
    hf_hub_download("org/name", "model.safetensors")
    assert [request.path for request in server.requests if request.method == "GET"]
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal, Self
from urllib.parse import unquote

import huggingface_hub
import pytest
from huggingface_hub import constants, file_download, hf_api
from huggingface_hub.utils import _cache_assets, _cache_manager, _http

from hub_repos import Files, Reply, Repo, Repos, Request, sha256

Kind = Literal["status", "cut", "stall", "short", "long", "corrupt", "wrong_etag"]


@dataclass
class Fault:
    """What goes wrong with the next `times` requests (None: with all) whose path contains `match`.

    A GET of a large file fails where its bytes come from, on the CDN, and not where the Hub redirects there.

    status: another answer, with `status` and `headers`, and nothing done.
    cut: the connection closes after `n` bytes of the body, though more were announced.
    stall: nothing more comes after `n` bytes, for `seconds` or until the server closes.
    short: as if the file ended after `n` bytes; X-Linked-Size still says the truth.
    long: announces `n` bytes more than there are.
    corrupt: byte `n` is another one.
    wrong_etag: X-Linked-Etag names the sha256 of something else; on every answer that has one.

    n: by default half of the body. On a HEAD, `cut` and `stall` leave out the headers too.
    """

    kind: Kind
    match: str
    times: int | None
    method: str | None
    n: int | None
    status: int
    headers: dict[str, str]
    seconds: float

    def takes(self, request: Request, reply: Reply | None) -> bool:
        if self.times == 0 or self.match not in unquote(request.path):
            return False
        if self.kind == "wrong_etag":
            return reply is not None and "X-Linked-Etag" in reply.headers
        redirects = request.method == "GET" and reply is not None and reply.status == 302
        return self.method in (None, request.method) and not redirects

    def change(self, reply: Reply) -> Reply:
        """The reply of a server that believes in it; what breaks on the way is the handler's part."""
        body, headers, n = reply.body, reply.headers, self.count(reply.body)
        if self.kind == "short":
            body = body[:n]
        elif self.kind == "corrupt":
            body = body[:n] + bytes([body[n] ^ 0xFF]) + body[n + 1 :]
        elif self.kind == "wrong_etag":
            headers = headers | {"X-Linked-Etag": f'"{sha256(b"something else")}"'}
        return Reply(reply.status, body, headers)

    def count(self, body: bytes) -> int:
        return len(body) // 2 if self.n is None else self.n


class HubServer(Repos):
    """Serves while its `with` block runs.

    endpoint: its address. The CDN is the same server under another host name.
    requests: all that came in, in order.
    waits: the seconds that huggingface_hub would have slept before it tried again; see `hub`.
    tokens: those that may read everything and write everywhere.
    """

    def __init__(self) -> None:
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Handler, self))
        port = self._http.server_address[1]
        super().__init__(endpoint=f"http://127.0.0.1:{port}", cdn=f"http://localhost:{port}")
        self.requests: list[Request] = []
        self.waits: list[float] = []
        self.closing = threading.Event()
        self._faults: list[Fault] = []
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.closing.set()
        self._http.shutdown()
        self._http.server_close()

    def add_repo(
        self, name: str, files: Files, *, private: bool = False, gated: bool = False, title: str = "files"
    ) -> str:
        """Let main of `name`, new or not, be exactly these files; the commit's hash. Older hashes stay."""
        repo = self.repos.setdefault(name, Repo(name))
        repo.private, repo.gated = private, gated
        return repo.commit(files, title)

    def files(self, name: str, revision: str = "main") -> Files:
        return dict(self.repos[name].at(revision).files)

    def fault(
        self,
        kind: Kind,
        match: str = "",
        times: int | None = 1,
        method: str | None = "GET",
        *,
        n: int | None = None,
        status: int = 500,
        headers: dict[str, str] | None = None,
        seconds: float = 3600,
    ) -> Fault:
        """Let something go wrong, see `Fault`. Of several that fit, the one announced first comes first."""
        fault = Fault(kind, match, times, method, n, status, headers or {}, seconds)
        self._faults.append(fault)
        return fault

    def reply(self, request: Request) -> tuple[Reply, Fault | None]:
        reply = self.answer(request) if request.method in ("GET", "HEAD") else None
        with self._lock:
            fault = next((fault for fault in self._faults if fault.takes(request, reply)), None)
            if fault is not None and fault.times is not None:
                fault.times -= 1
        if fault is not None and fault.kind == "status":
            return Reply(fault.status, b"", fault.headers), None
        reply = reply or self.answer(request)
        return fault.change(reply) if fault else reply, fault

    def environment(self, folder: Path, *, timeout: int = 10) -> dict[str, str]:
        """What a child process needs, on top of `os.environ`, to take this for the Hub, with an empty cache."""
        on = {f"HF_HUB_DISABLE_{what}": "1" for what in ("XET", "TELEMETRY", "PROGRESS_BARS", "UPDATE_CHECK")}
        waits = {f"HF_HUB_{what}_TIMEOUT": str(timeout) for what in ("DOWNLOAD", "ETAG")}
        home = str(folder / "hf")
        places = {"HF_HOME": home, "HF_HUB_CACHE": f"{home}/hub", "HF_ASSETS_CACHE": f"{home}/assets"}
        empty = {"HF_TOKEN": "", "HUGGING_FACE_HUB_TOKEN": "", "HF_HUB_OFFLINE": "0", "TRANSFORMERS_OFFLINE": "0"}
        return {
            "HF_ENDPOINT": self.endpoint,
            "HF_TOKEN_PATH": f"{home}/token",
            "NO_PROXY": "127.0.0.1,localhost",
            **places,
            **on,
            **waits,
            **empty,
        }


@contextmanager
def hub(folder: Path, *, timeout: int = 10, token: str | None = None) -> Iterator[HubServer]:
    """A server that this process takes for the Hub, with its cache and its token under `folder`.

    huggingface_hub reads the environment once, when it is imported, so its constants are what changes here. It
    does not sleep between its retries: `server.waits` says how long it would have.

    timeout: seconds that a download, or a look at a file's name, waits for the next byte.
    token: as if logged in with it.
    """
    with HubServer() as server, pytest.MonkeyPatch.context() as patch:
        home = folder / "hf"
        for variable, text in server.environment(folder, timeout=timeout).items():
            patch.setenv(variable, text)
        changes = {
            "ENDPOINT": server.endpoint,
            "HUGGINGFACE_CO_URL_TEMPLATE": server.endpoint + "/{repo_id}/resolve/{revision}/{filename}",
            "HF_HOME": str(home),
            "HF_HUB_CACHE": str(home / "hub"),
            "HUGGINGFACE_HUB_CACHE": str(home / "hub"),
            "HF_ASSETS_CACHE": str(home / "assets"),
            "HF_TOKEN_PATH": str(home / "token"),
            "HF_STORED_TOKENS_PATH": str(home / "stored_tokens"),
            "HF_HUB_OFFLINE": False,
            "HF_HUB_DISABLE_XET": True,
            "HF_HUB_DISABLE_TELEMETRY": True,
            "HF_HUB_DISABLE_IMPLICIT_TOKEN": False,
            "HF_HUB_DOWNLOAD_TIMEOUT": timeout,
            "HF_HUB_ETAG_TIMEOUT": timeout,
        }
        for name, value in changes.items():
            patch.setattr(constants, name, value)
        patch.setattr(_cache_manager, "HF_HUB_CACHE", str(home / "hub"))
        patch.setattr(_cache_assets, "HF_ASSETS_CACHE", str(home / "assets"))
        patch.setattr(hf_api.api, "endpoint", server.endpoint)  # behind huggingface_hub.model_info and the like
        clock = SimpleNamespace(**vars(time) | {"sleep": server.waits.append})
        for module in (_http, file_download):
            patch.setattr(module, "time", clock)
        if token is not None:
            patch.setenv("HF_TOKEN", token)
        huggingface_hub.close_session()  # one may have been opened under other settings
        yield server
    huggingface_hub.close_session()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def __init__(self, hub: HubServer, *args: Any) -> None:
        self.hub = hub
        super().__init__(*args)

    def do_GET(self) -> None:
        self.close_connection = True
        host, authorization, asked = (self.headers.get(name) for name in ("Host", "Authorization", "Range"))
        request = Request(self.command, self.path, host or "", authorization, asked, self._body())
        self.hub.requests.append(request)
        reply, fault = self.hub.reply(request)
        broken = fault if fault and fault.kind in ("cut", "stall") else None
        with suppress(ConnectionError):  # the client may not wait for the end
            if not (broken and self.command == "HEAD"):
                body = self._head(request, reply, fault)
                if self.command != "HEAD":
                    self.wfile.write(body[: broken.count(body)] if broken else body)
        if broken and broken.kind == "stall":
            self.hub.closing.wait(broken.seconds)

    do_HEAD = do_POST = do_PUT = do_GET  # noqa: N815

    def _head(self, request: Request, reply: Reply, fault: Fault | None) -> bytes:
        """Send the status and the headers; the body that they announce."""
        status, body, headers = reply.status, reply.body, dict(reply.headers)
        asked = re.fullmatch(r"bytes=(\d*)-(\d*)", request.range or "")
        if asked and "Accept-Ranges" in headers and status == 200:
            first, last = asked.groups()
            start = int(first) if first else max(len(body) - int(last), 0)
            stop = min(int(last) + 1, len(body)) if first and last else len(body)
            status, headers["Content-Range"] = (206, f"bytes {start}-{stop - 1}/{len(body)}")
            body = body[start:stop]
            if not body:
                status, headers["Content-Range"] = 416, f"bytes */{len(reply.body)}"
        claimed = len(body) + (fault.count(body) if fault and fault.kind == "long" else 0)
        request.status = status
        self.send_response(status)
        for name, value in (headers | {"Content-Length": str(claimed), "Connection": "close"}).items():
            self.send_header(name, value)
        self.end_headers()
        return body

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        chunks = []
        while size := int(self.rfile.readline(), 16):
            chunks.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(chunks)

    def log_message(self, *_: object) -> None:
        pass
