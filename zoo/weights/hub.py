"""Files from the Hugging Face Hub: fetched by huggingface_hub into its own cache, verified, and never half.

HF_HOME, HF_HUB_CACHE, HF_ENDPOINT, HF_TOKEN and HF_HUB_OFFLINE mean here what they mean there.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from zoo.weights import text_folder
from zoo.weights.header import (
    CONFIG,
    INDEX,
    MAX_CONFIG,
    PICKLES,
    PREPROCESSOR,
    WEIGHTS,
    FileError,
    one_line,
    shard_names,
)

SCHEMES = ("hf-hub:", "hf_hub:")
ATTEMPTS = 3  # of a whole file; within each huggingface_hub goes on from where a connection broke
PAUSE = 1.0  # seconds before the second attempt, doubled before the next

_PART = r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,94}[A-Za-z0-9])?"
_REPO = re.compile(rf"{_PART}/{_PART}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_COMMIT = re.compile(r"[0-9a-f]{40}")


class HubError(FileError):
    """The Hub cannot be reached, refuses, or gives something else than it promised."""


@dataclass(frozen=True)
class Address:
    """A repository, and a branch, tag or commit of it; the main branch where that is empty."""

    repo: str
    revision: str = ""

    def __str__(self) -> str:
        return f"hf-hub:{self.repo}" + (f"@{self.revision}" if self.revision else "")


def read_address(text: str | os.PathLike[str]) -> Address | None:
    """The address that "hf-hub:org/name[@revision]" is, or "org/name" where no such path exists; None for others.

    Raises HubError for "hf-hub:" before something that cannot be a repository.
    """
    if not isinstance(text, str):
        return None
    scheme = next((scheme for scheme in SCHEMES if text.startswith(scheme)), "")
    repo, at, revision = text.removeprefix(scheme).partition("@")
    if _REPO.fullmatch(repo) and ".." not in repo and "--" not in repo and bool(at) == bool(revision):
        if scheme or not (os.path.exists(text) or repo.endswith(".safetensors")):
            return Address(repo, revision)
    elif scheme:
        raise HubError(
            f"{text!r} is no address; write 'hf-hub:organisation/name' or 'hf-hub:organisation/name@revision'."
        )
    return None


def folder_of(source: str | os.PathLike[str], *, cache_dir: str | Path | None = None) -> Path | None:
    """The folder of what is an address, fetched; None for what is a path. Raises HubError."""
    address = read_address(source)
    if address is None:
        return None
    try:
        return fetch(address, cache_dir=cache_dir)
    except HubError as error:
        if str(source).startswith(SCHEMES):
            raise
        raise HubError(f"{source}: no such file or folder is here, and as a repository {error}") from error


def fetch(address: Address, *, sha256: str = "", cache_dir: str | Path | None = None, fresh: bool = True) -> Path:
    """The folder of the cache that holds the repository's configuration and safetensors files, whole and verified.

    What is cached already is not fetched again; with `fresh` the Hub is asked whether a branch has moved, unless it
    cannot be reached. `sha256` is what model.safetensors must have, whatever the Hub says. Raises HubError.
    """
    files = _Files(address, cache_dir, fresh)
    config = files.get(CONFIG, needed=False)
    if config is not None:
        files = files.at(config.parent.name)
        small = config.stat().st_size <= MAX_CONFIG
        if small and b'"model_type"' in config.read_bytes():  # transformers keeps how inputs are prepared apart
            for name in text_folder.BESIDE if _of_text(config) else (PREPROCESSOR,):
                files.get(name, needed=False)
    weights = files.get(WEIGHTS, needed=False, sha256=sha256)
    if weights is not None:
        return weights.parent
    index = None if sha256 else files.get(INDEX, needed=False)  # a pinned hash is of one file
    if index is None:
        raise HubError(f"{address}: has no {WEIGHTS}{files.what_is_there()}")
    files = files.at(index.parent.name)
    for name in shard_names(index):
        files.get(name)
    return index.parent


def _of_text(config: Path) -> bool:
    try:
        found = json.loads(config.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(found, dict) and found.get("model_type") in text_folder.KINDS


@dataclass(frozen=True)
class _Files:
    """The files of one revision."""

    address: Address
    cache_dir: str | Path | None
    fresh: bool

    def at(self, commit: str) -> _Files:
        return replace(self, address=replace(self.address, revision=commit), fresh=False)

    def get(self, name: str, *, needed: bool = True, sha256: str = "") -> Path | None:
        """The path in the cache; None for a file that is not there, where it is not `needed`."""
        pause, force = PAUSE, False
        for attempt in range(1, ATTEMPTS + 1):
            try:
                path = None if force else self._cached(name)
                wanted = sha256
                if path is None:
                    path = self._download(name, force)
                    wanted = wanted or _promised(path) or self._asked(name, path)
                if problem := _unverified(path, wanted or _promised(path)):
                    _discard(path)
                    raise _Broken(problem)
                return path
            except Exception as error:
                if not needed and (_is_absent(error) or self._was_absent(name)):
                    return None
                if attempt == ATTEMPTS or not _may_pass(error):
                    raise explained(error, self.address, name) from error
                force = isinstance(error, _Broken)
            time.sleep(pause)
            pause *= 2
        raise AssertionError

    def what_is_there(self) -> str:
        """The end of a sentence: what a repository holds instead of weights that can be read."""
        from huggingface_hub import HfApi

        try:
            names = sorted(HfApi().list_repo_files(self.address.repo, revision=self.address.revision or None))
        except Exception:  # the sentence is an error already
            return "."
        others = [name for name in names if name.endswith(".safetensors")]
        if others:
            return f", but {others[:5]}; download one of these files and load it by its own path."
        if pickles := [name for name in names if name.endswith(PICKLES)]:
            those = one_line(", ".join(pickles[:5]))
            return (
                f", only pickles ({those}), which can run code when they are opened, so they are "
                "refused. Ask for a safetensors file, or download one that you trust and run `zoo convert`."
            )
        return f"; it holds {names[:8] or 'nothing'}."

    def _cached(self, name: str) -> Path | None:
        """The file if no request is needed for it.

        huggingface_hub's own `try_to_load_from_cache` takes longer to import than the network to load.
        """
        from huggingface_hub import constants

        if self.fresh and not _COMMIT.fullmatch(self.address.revision):
            return None
        repo = Path(self.cache_dir or constants.HF_HUB_CACHE) / f"models--{self.address.repo.replace('/', '--')}"
        branch, commit = repo / "refs" / (self.address.revision or "main"), self.address.revision
        if not _COMMIT.fullmatch(commit):
            commit = branch.read_text(encoding="utf-8") if branch.is_file() else ""
        if not _COMMIT.fullmatch(commit):
            return None
        if (repo / ".no_exist" / commit / name).is_file():
            raise _Absent(name)
        file = repo / "snapshots" / commit / name
        return file if file.is_file() else None

    def _was_absent(self, name: str) -> bool:
        """Whether the repository had no such file when it was last asked."""
        try:
            replace(self, fresh=False)._cached(name)
        except _Absent:
            return True
        return False

    def _download(self, name: str, force: bool) -> Path:
        from huggingface_hub import hf_hub_download

        import zoo

        return Path(
            hf_hub_download(
                self.address.repo,
                name,
                revision=self.address.revision or None,
                cache_dir=self.cache_dir,
                force_download=force,
                library_name="zoo",
                library_version=zoo.__version__,
            )
        )

    def _asked(self, name: str, path: Path) -> str:
        """The SHA-256 that the Hub promises for a large file, where the cache has no link that tells (Windows)."""
        from huggingface_hub import constants, get_hf_file_metadata, hf_hub_url

        if path.is_symlink() or constants.HF_HUB_OFFLINE:
            return ""
        etag = get_hf_file_metadata(hf_hub_url(self.address.repo, name, revision=path.parent.name)).etag or ""
        return etag if _SHA256.fullmatch(etag) else ""


class _Absent(Exception):
    """A file that the Hub is known not to have."""


class _Broken(Exception):
    """Bytes that came whole but are not those that were promised."""


def _promised(path: Path) -> str:
    """The cache names large files by the SHA-256 that the Hub promised for them."""
    name = path.resolve().name
    return name if _SHA256.fullmatch(name) else ""


def _discard(path: Path) -> None:
    with suppress(OSError):
        blob = path.resolve()
        path.unlink()
        blob.unlink(missing_ok=True)


def _unverified(path: Path, wanted: str) -> str:
    """Why the file does not have the SHA-256 `wanted`; empty where it has. It is read once while it stays the same."""
    if not wanted:
        return ""
    place, stat = path.resolve(), path.stat()
    mark = f"{wanted} {stat.st_size} {stat.st_mtime_ns} {place}"
    note = cache_folder("verified") / hashlib.sha256(str(place).encode()).hexdigest()
    if note.exists() and note.read_text(encoding="utf-8") == mark:
        return ""
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != wanted:
        return f"its SHA-256 is {found[:12]}..., and {wanted[:12]}... was promised"
    with suppress(OSError):  # a cache that cannot be written is read again
        note.parent.mkdir(parents=True, exist_ok=True)
        note.write_text(mark, encoding="utf-8")
    return ""


def file_sha256(path: Path) -> str:
    """By the cache's own name of the file where that tells, else read."""
    with path.open("rb") as file:
        return _promised(path) or hashlib.file_digest(file, "sha256").hexdigest()


def cache_folder(what: str) -> Path:
    """The zoo's own folder in Hugging Face's cache of assets (HF_HOME, HF_ASSETS_CACHE)."""
    from huggingface_hub import constants

    return Path(constants.HF_ASSETS_CACHE) / "zoo" / "weights" / what


def _is_absent(error: Exception) -> bool:
    """Whether the repository is there, and has no such file."""
    if isinstance(error, _Absent):
        return True
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    return isinstance(error, EntryNotFoundError) and not isinstance(error, LocalEntryNotFoundError)


def _may_pass(error: Exception) -> bool:
    """Whether another attempt may help; of lost connections huggingface_hub has made several by now."""
    status, method = http_answer(error)
    cut = type(error).__name__ == "RemoteProtocolError" or "Consistency check" in str(error)
    return isinstance(error, _Broken) or cut or (status >= 500 and method == "GET")


def http_answer(error: BaseException | None) -> tuple[int, str]:
    """(HTTP status, method of the request), or (0, "") where the error is no answer of a server."""
    response = getattr(error, "response", None)
    status = getattr(response, "status_code", 0)
    return (status, response.request.method) if status else (0, "")  # type: ignore[union-attr]


def explained(error: Exception, address: Address, name: str) -> HubError:
    """One clear error for whatever went wrong with the file called `name`."""
    from huggingface_hub import constants
    from huggingface_hub.errors import (
        GatedRepoError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    what, where = f"{address}: {name}", constants.ENDPOINT
    if isinstance(error, LocalEntryNotFoundError):  # nobody answered, or not what is needed
        if constants.HF_HUB_OFFLINE:
            return HubError(
                f"{what} is not in the cache, and HF_HUB_OFFLINE is set. Unset it, or run `zoo pull` first where "
                "there is a network; weights=None gives fresh weights."
            )
        status = http_answer(error.__cause__)[0]
        if not status:
            return HubError(
                f"{what} is not in the cache, and {where} cannot be reached. Check the network (or HF_ENDPOINT) and "
                "call again; `zoo pull` fetches ahead of time, weights=None gives fresh weights."
            )
    else:
        status = http_answer(error)[0]
    if isinstance(error, GatedRepoError) or status == 403:
        return HubError(
            f"{address}: access is restricted. Ask for it at {where}/{address.repo}, then give a token of that "
            "account by HF_TOKEN or `hf auth login`."
        )
    if isinstance(error, RepositoryNotFoundError) or status == 401:
        return HubError(
            f"{address}: no such repository at {where}, or it is private: check the name, and give a token by "
            "HF_TOKEN or `hf auth login`."
        )
    if isinstance(error, RevisionNotFoundError):
        return HubError(f"{address}: has no such branch, tag or commit; {where}/{address.repo} shows them.")
    if _is_absent(error):
        return HubError(f"{what} is not there.")
    if status == 429:
        return HubError(f"{what}: {where} asks to wait (429, too many requests). Call again later, with a token.")
    if status:
        return HubError(f"{what}: {where} answered {status}. Call again later.")
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return HubError(f"{what}: the disk is full. Make room, or name another place by HF_HUB_CACHE or cache_dir.")
    reason = one_line(str(error)) or type(error).__name__
    return HubError(f"{what} did not come whole: {reason}. It was not put in the cache; call again.")
