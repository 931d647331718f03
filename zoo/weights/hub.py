"""Fetch files from the Hugging Face Hub into huggingface_hub's own cache. Files are verified and complete.

HF_HOME, HF_HUB_CACHE, HF_ENDPOINT, HF_TOKEN and HF_HUB_OFFLINE have the same meaning as for huggingface_hub.
"""

from __future__ import annotations

import hashlib
import os
import re
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from zoo.files import FileError, cache_folder, local_path, sha256_of, write_whole
from zoo.printable import one_line
from zoo.weights import text_folder
from zoo.weights.container import CONFIG, INDEX, MAX_CONFIG, PICKLES, PREPROCESSOR, WEIGHTS, shard_names
from zoo.weights.hub_errors import Absent, explained, http_answer, is_absent
from zoo.weights.hub_errors import HubError as HubError
from zoo.weights.json_text import read_object
from zoo.weights.patience import AsksToWait, patient

SCHEMES = ("hf-hub:", "hf_hub:")
ATTEMPTS = 3  # for a whole file; within one attempt huggingface_hub resumes broken downloads
PAUSE = 1.0  # seconds before the second attempt, doubled before the next

_PART = r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,94}[A-Za-z0-9])?"
_REPO = re.compile(rf"{_PART}/{_PART}")
_REVISION = re.compile(r"[A-Za-z0-9_](?:[^\s\\~^:?*\[\x00-\x1f]{0,198}[^\s\\~^:?*\[\x00-\x1f/.])?")  # git's rules
_SHA256 = re.compile(r"[0-9a-f]{64}")
_COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True)
class Address:
    """A repository of the Hub, and its branch, tag or commit; an empty `revision` is the main branch."""

    repo: str
    revision: str = ""

    def __str__(self) -> str:
        return f"hf-hub:{self.repo}" + (f"@{self.revision}" if self.revision else "")


def read_address(text: str | os.PathLike[str]) -> Address | None:
    """Parse "hf-hub:org/name[@revision]", or "org/name" if no such path exists; None for any other source.

    Raises HubError if "hf-hub:" stands before an impossible name of a repository.
    """
    if not isinstance(text, str):
        return None
    scheme = next((scheme for scheme in SCHEMES if text.startswith(scheme)), "")
    repo, at, revision = text.removeprefix(scheme).partition("@")
    proper = _REPO.fullmatch(repo) and ".." not in repo and "--" not in repo
    if proper and (_REVISION.fullmatch(revision) and ".." not in revision if at else True):
        if scheme or not (local_path(text).exists() or repo.endswith(".safetensors")):
            return Address(repo, revision)
    elif scheme:
        raise HubError(
            f"{text!r} is no address; write 'hf-hub:organisation/name' or 'hf-hub:organisation/name@revision'."
        )
    return None


def folder_of(source: str | os.PathLike[str], *, cache_dir: str | Path | None = None) -> Path | None:
    """Fetch an address and return its folder; None for a path. Raises HubError."""
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
    """Fetch the repository's configuration and safetensors files and verify them; returns their folder in the cache.

    Cached files are not fetched again. With `fresh` the Hub is asked whether the branch has moved; if the Hub cannot be
    reached, the cache serves. `sha256` is the required hash of model.safetensors. Raises HubError.
    """
    files = _Files(address, None if cache_dir is None else local_path(cache_dir), fresh)
    config = files.get(CONFIG, needed=False)
    if config is not None:
        files = files.at(config.parent.name)
        small = config.stat().st_size <= MAX_CONFIG
        if small and b'"model_type"' in config.read_bytes():  # transformers has a file for preprocessing
            for name in text_folder.BESIDE if _of_text(config) else (PREPROCESSOR,):
                files.get(name, needed=False)
            for name in text_folder.module_files(config.parent):
                files.get(name, needed=False)
    weights = files.get(WEIGHTS, needed=False, sha256=sha256)
    if weights is not None:
        return weights.parent
    index = None if sha256 else files.get(INDEX, needed=False)  # a pinned hash is the hash of one file
    if index is None:
        raise HubError(f"{address}: has no {WEIGHTS}{files.what_is_there()}")
    files = files.at(index.parent.name)
    for name in shard_names(index):
        files.get(name)
    return index.parent


def _of_text(config: Path) -> bool:
    try:
        return read_object(config).get("model_type") in text_folder.KINDS
    except (FileError, TypeError):
        return False


@dataclass(frozen=True)
class _Files:
    """The files of one revision."""

    address: Address
    cache_dir: Path | None
    fresh: bool

    def at(self, commit: str) -> _Files:
        return replace(self, address=replace(self.address, revision=commit), fresh=False)

    def get(self, name: str, *, needed: bool = True, sha256: str = "") -> Path | None:
        """The path in the cache; None if the repository lacks a file that is not `needed`."""
        pause, force = PAUSE, False
        for attempt in range(1, ATTEMPTS + 1):
            try:
                path = None if force else self._cached(name)
                wanted = sha256
                if path is None:
                    with patient():
                        path = self._download(name, force)
                        wanted = wanted or _promised(path) or self._asked(name, path)
                if problem := _unverified(path, wanted or _promised(path)):
                    _discard(path)
                    raise _Broken(problem)
                return path
            except AsksToWait as error:
                if not force and (path := self._in_the_cache(name)):
                    return path
                raise explained(error, self.address, name) from error
            except Exception as error:
                if not needed and (is_absent(error) or self._was_absent(name)):
                    return None
                if attempt == ATTEMPTS or not _may_pass(error):
                    raise explained(error, self.address, name) from error
                force = isinstance(error, _Broken)
            time.sleep(pause)
            pause *= 2
        raise AssertionError

    def what_is_there(self) -> str:
        """The end of a sentence about a repository without readable weights: the files that it has instead."""
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
        """The cached file, if no request is needed.

        huggingface_hub has `try_to_load_from_cache`, but its import takes longer than loading a network.
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
            raise Absent(name)
        file = repo / "snapshots" / commit / name
        return file if file.is_file() else None

    def _in_the_cache(self, name: str) -> Path | None:
        """The cached file to use while the Hub does not answer."""
        path = replace(self, fresh=False)._cached(name)
        return None if path is None or _unverified(path, _promised(path)) else path

    def _was_absent(self, name: str) -> bool:
        """Whether the repository had no such file at the last request."""
        try:
            replace(self, fresh=False)._cached(name)
        except Absent:
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
        """Ask the Hub for the SHA-256 of a large file, if no link in the cache has it (Windows)."""
        from huggingface_hub import constants, get_hf_file_metadata, hf_hub_url

        if path.is_symlink() or constants.HF_HUB_OFFLINE:
            return ""
        etag = get_hf_file_metadata(hf_hub_url(self.address.repo, name, revision=path.parent.name)).etag or ""
        return etag if _SHA256.fullmatch(etag) else ""


class _Broken(Exception):
    """A complete download whose SHA-256 is not the SHA-256 that the Hub states."""


def _blob(path: Path) -> Path | None:
    """The blob that the link `path` leads to; None if the link leads out of the repository's own blobs."""
    blob = path.resolve()
    own = blob.parent.name == "blobs" and blob.parent.parent in path.parent.resolve().parents
    return blob if own else None


def _promised(path: Path) -> str:
    """The SHA-256 that the Hub states for a large file, which is the name of the file's blob in the cache."""
    blob = _blob(path)
    return blob.name if blob and _SHA256.fullmatch(blob.name) else ""


def _discard(path: Path) -> None:
    with suppress(OSError):
        blob = _blob(path)
        path.unlink()
        if blob:
            blob.unlink(missing_ok=True)


def _unverified(path: Path, wanted: str) -> str:
    """Why the file does not have the SHA-256 `wanted`, or "". An unchanged file is read only once."""
    if not wanted:
        return ""
    place, stat = path.resolve(), path.stat()
    mark = f"{wanted} {stat.st_size} {stat.st_mtime_ns} {stat.st_ctime_ns} {stat.st_ino} {place}"
    note = cache_folder("verified") / hashlib.sha256(str(place).encode()).hexdigest()
    with suppress(OSError, ValueError):
        if note.read_text(encoding="utf-8") == mark:
            return ""
    found = sha256_of(path)
    if found != wanted:
        return f"its SHA-256 is {found[:12]}..., and {wanted[:12]}... was promised"
    with suppress(OSError, FileError):  # without a writable cache the file is read each time
        note.parent.mkdir(parents=True, exist_ok=True)
        write_whole(note, (mark.encode(),))
    return ""


def file_sha256(path: Path) -> str:
    """The SHA-256 of a file: the name of its blob in the cache if there is one, else computed."""
    return _promised(path) or sha256_of(path)


def _may_pass(error: Exception) -> bool:
    """Whether another attempt may help. After a lost connection huggingface_hub itself has tried several times."""
    status, method = http_answer(error)
    cut = type(error).__name__ == "RemoteProtocolError" or "Consistency check" in str(error)
    return isinstance(error, _Broken) or cut or (status >= 500 and method == "GET")
