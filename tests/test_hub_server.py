"""huggingface_hub takes the Hub of these tests for the Hub, in fair weather and foul."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import huggingface_hub
import pytest
from huggingface_hub import HfApi, hf_hub_download
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from hub_server import HubServer, hub

NAME = "org/name"
LARGE, SMALL = "model.safetensors", "config.json"
FILES = {SMALL: b"{}", LARGE: bytes(range(256)) * 100, "docs/notes.txt": b"one\n"}
RIGHT = "hf_right"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[HubServer]:
    with hub(tmp_path, timeout=1) as server:
        server.add_repo(NAME, FILES)
        yield server


def get(file: str = LARGE, **options: object) -> bytes:
    return Path(hf_hub_download(NAME, file, **options)).read_bytes()


@pytest.mark.parametrize("file", FILES)
def test_files_arrive(server: HubServer, tmp_path: Path, file: str) -> None:
    assert get(file) == FILES[file]
    assert (tmp_path / "hf" / "hub").is_dir()


def test_a_commit_stays_and_is_asked_for_once(server: HubServer) -> None:
    old = server.repos[NAME].refs["main"]
    new = server.add_repo(NAME, {LARGE: b"new"})
    assert (get(revision=old), get(revision=new), get()) == (FILES[LARGE], b"new", b"new")
    server.requests.clear()
    assert get(revision=old) == FILES[LARGE]
    assert server.requests == []


def test_what_the_hub_says_about_files(server: HubServer) -> None:
    siblings = {entry.rfilename: entry for entry in huggingface_hub.model_info(NAME, files_metadata=True).siblings}
    assert siblings[LARGE].lfs.sha256 == hashlib.sha256(FILES[LARGE]).hexdigest()
    assert siblings[SMALL].lfs is None and siblings[SMALL].size == 2
    assert huggingface_hub.list_repo_files(NAME) == list(FILES)
    (info,) = HfApi().get_paths_info(NAME, [LARGE, "absent"])
    assert info.lfs.size == len(FILES[LARGE])
    assert {entry.path for entry in HfApi().list_repo_tree(NAME)} == {"docs", SMALL, LARGE}


def test_what_is_absent(server: HubServer) -> None:
    with pytest.raises(EntryNotFoundError):
        get("absent.json")
    with pytest.raises(RevisionNotFoundError):
        get(revision="absent")
    for token in (None, RIGHT):
        with pytest.raises(RepositoryNotFoundError):
            hf_hub_download("org/absent", SMALL, token=token)


def test_private_and_gated(server: HubServer) -> None:
    server.add_repo(NAME, FILES, private=True)
    for token in (None, "hf_wrong"):
        with pytest.raises(RepositoryNotFoundError):
            get(token=token)
    assert get(token=RIGHT) == FILES[LARGE]
    server.add_repo("org/gated", FILES, gated=True)
    for token in (None, "hf_wrong"):
        with pytest.raises(GatedRepoError):
            hf_hub_download("org/gated", SMALL, token=token)


def test_the_token_stays_with_the_hub(tmp_path: Path) -> None:
    with hub(tmp_path, token=RIGHT) as server:
        server.add_repo(NAME, FILES, private=True)
        assert get() == FILES[LARGE]
        HfApi().upload_file(path_or_fileobj=b"more", path_in_repo="more.bin", repo_id=NAME)
    sent = {(request.host.split(":")[0], request.authorization) for request in server.requests}
    assert sent == {("127.0.0.1", f"Bearer {RIGHT}"), ("localhost", None)}


def test_a_cut_download_starts_again(server: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    server.fault("cut", LARGE, times=2, n=1000)
    assert get() == FILES[LARGE]
    assert [(request.range, request.status) for request in server.requests[1:]] == [(None, 200)] * 3
    assert server.waits == [1, 1]
    # Only whole chunks of the usual 10 MiB count as received; smaller ones show how it resumes.
    monkeypatch.setattr(huggingface_hub.constants, "DOWNLOAD_CHUNK_SIZE", 100)
    server.requests.clear()
    server.fault("cut", LARGE, n=1000)
    assert get(force_download=True) == FILES[LARGE]
    assert [(request.range, request.status) for request in server.requests[1:]] == [(None, 200), ("bytes=1000-", 206)]


def test_a_stalled_download_starts_again(server: HubServer) -> None:
    fault = server.fault("stall", LARGE)
    assert get() == FILES[LARGE]
    assert fault.times == 0 and server.waits == [1]


def test_wrong_bytes(server: HubServer) -> None:
    server.fault("short", LARGE, n=10)
    with pytest.raises(OSError, match="should be of size 25600 but has size 10"):
        get()
    server.fault("long", LARGE, times=None)
    with pytest.raises(Exception, match="peer closed connection"):
        get()
    server.fault("corrupt", SMALL, n=0)
    assert get(SMALL) == b"\x84}"  # huggingface_hub compares lengths, never hashes


def test_a_wrong_hash_names_the_wrong_bytes(server: HubServer) -> None:
    server.fault("wrong_etag", LARGE, times=None)
    assert Path(hf_hub_download(NAME, LARGE)).resolve().name == hashlib.sha256(b"something else").hexdigest()


@pytest.mark.parametrize(
    ("method", "status", "number", "error"),
    [
        ("GET", 403, 1, HfHubHTTPError),
        ("GET", 500, 1, HfHubHTTPError),
        ("GET", 429, 6, HfHubHTTPError),
        ("HEAD", 403, 1, LocalEntryNotFoundError),
        ("HEAD", 500, 7, LocalEntryNotFoundError),
        ("HEAD", 429, 7, LocalEntryNotFoundError),
    ],
)
def test_refusals(server: HubServer, method: str, status: int, number: int, error: type[Exception]) -> None:
    server.fault("status", LARGE, None, method, status=status, headers={"Retry-After": "3"})
    with pytest.raises(error):
        get()
    assert [request.status for request in server.requests if request.method == method] == [status] * number
    assert set(server.waits) <= {4}  # what the header asks for, and one


def test_what_goes_up_comes_down(server: HubServer, tmp_path: Path) -> None:
    api, folder = HfApi(token=RIGHT), tmp_path / "folder"
    for file, data in {**FILES, "README.md": b"---\nlicense: apache-2.0\n---\n"}.items():
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_bytes(data)
    assert api.create_repo("org/new", private=True).repo_id == "org/new"
    api.create_repo("org/new", exist_ok=True)
    with pytest.raises(HfHubHTTPError, match="409"):
        api.create_repo("org/new")
    commit = api.upload_folder(repo_id="org/new", folder_path=folder, commit_message="All of it")
    assert server.repos["org/new"].private
    assert server.repos["org/new"].titles() == ["initial commit", "All of it"]
    assert server.files("org/new").keys() == {".gitattributes", "README.md", *FILES}
    for file, data in FILES.items():
        assert server.files("org/new")[file] == data
        assert Path(hf_hub_download("org/new", file, revision=commit.oid, token=RIGHT)).read_bytes() == data
    again = api.upload_folder(repo_id="org/new", folder_path=folder)
    assert again.oid == commit.oid  # nothing new


def test_a_pull_request_leaves_main_alone(server: HubServer, tmp_path: Path) -> None:
    (tmp_path / LARGE).write_bytes(b"better")
    options = {"repo_id": NAME, "folder_path": tmp_path, "allow_patterns": LARGE, "token": RIGHT}
    commit = HfApi().upload_folder(**options, create_pr=True, commit_message="Better")
    assert (commit.pr_num, commit.pr_revision) == (1, "refs/pr/1")
    assert server.files(NAME) == FILES
    assert server.files(NAME, "refs/pr/1") == {**FILES, LARGE: b"better"}
    assert server.repos[NAME].titles("refs/pr/1")[-1] == "Better"
    assert get(revision="refs/pr/1") == b"better"


@pytest.mark.parametrize("token", [False, "hf_wrong"])
def test_uploads_need_the_token(server: HubServer, token: str | bool) -> None:
    with pytest.raises(HfHubHTTPError, match="401"):
        HfApi(token=token).create_repo("org/new")
    with pytest.raises(HfHubHTTPError, match="401"):
        HfApi(token=token).upload_file(path_or_fileobj=b"", path_in_repo="a", repo_id=NAME)
    assert server.repos.keys() == {NAME} and server.files(NAME) == FILES


def test_timm_takes_it_for_the_hub(server: HubServer) -> None:
    timm = pytest.importorskip("timm")
    model = timm.create_model("test_vit")
    timm.models.push_to_hf_hub(model, "org/vit", token=RIGHT)
    loaded = timm.create_model("hf-hub:org/vit", pretrained=True)
    assert all((mine == theirs).all() for mine, theirs in zip(model.parameters(), loaded.parameters(), strict=True))


@pytest.mark.multiprocess
def test_a_child_takes_it_for_the_hub(tmp_path: Path) -> None:
    with HubServer() as server:
        server.add_repo(NAME, FILES, private=True)
        code = f"from huggingface_hub import hf_hub_download; print(hf_hub_download('{NAME}', '{LARGE}'))"
        environment = os.environ | server.environment(tmp_path) | {"HF_TOKEN": RIGHT}
        child = subprocess.run(
            [sys.executable, "-c", code], env=environment, check=True, capture_output=True, text=True
        )
        assert Path(child.stdout.strip()).read_bytes() == FILES[LARGE]
        assert child.stdout.startswith(str(tmp_path))
        assert [request.method for request in server.requests] == ["HEAD", "GET"]
