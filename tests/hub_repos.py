"""Model repositories held in memory, and what the Hub answers to a request about them."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlsplit

LFS_NAMES = (".safetensors", ".bin", ".pth", ".pt", ".onnx", ".zip")
LFS_BYTES = 10 * 2**20
USER = "someone"  # whom every right token belongs to
DATE = "2026-01-01T00:00:00.000Z"
REPO = r"([^/]+/[^/]+)"
READ = "GET|HEAD"

Files = dict[str, bytes]


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def blob_id(data: bytes) -> str:
    """Git's own name for these bytes."""
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def is_lfs(name: str, size: int) -> bool:
    return size >= LFS_BYTES or (size > 0 and name.endswith(LFS_NAMES))


@dataclass
class Request:
    """One entry of the log; `status` is 0 until the answer starts."""

    method: str
    path: str  # with the query, as it came
    host: str
    authorization: str | None
    range: str | None
    body: bytes = field(repr=False)
    status: int = 0

    @property
    def token(self) -> str | None:
        return self.authorization.removeprefix("Bearer ") if self.authorization else None

    @property
    def query(self) -> dict[str, str]:
        return {key: values[-1] for key, values in parse_qs(urlsplit(self.path).query).items()}


@dataclass
class Reply:
    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)


class Refusal(Exception):
    """Answers with a status and what huggingface_hub reads the reason from; `code` may be empty."""

    def __init__(self, status: int, code: str, message: str, **headers: str) -> None:
        named = {"X-Error-Code": code, "X-Error-Message": message} if code else {"X-Error-Message": message}
        self.reply = Reply(status, _json({"error": message}), {**named, **headers})


@dataclass(frozen=True)
class Commit:
    sha: str
    title: str
    files: Files
    parent: str | None


@dataclass
class Repo:
    name: str
    private: bool = False
    gated: bool = False
    commits: dict[str, Commit] = field(default_factory=dict)  # by sha, of all branches, oldest first
    refs: dict[str, str] = field(default_factory=dict)  # "main" and "refs/pr/1" to the newest sha

    def at(self, revision: str = "main") -> Commit:
        sha = self.refs.get(revision, revision)
        if sha not in self.commits:
            raise Refusal(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        return self.commits[sha]

    def titles(self, revision: str = "main") -> list[str]:
        """The commit messages that lead to `revision`, oldest first."""
        commit: Commit | None = self.at(revision)
        found = []
        while commit is not None:
            found.append(commit.title)
            commit = self.commits[commit.parent] if commit.parent else None
        return found[::-1]

    def commit(self, files: Files, title: str, ref: str = "main", parent: str | None = None) -> str:
        """Let `ref` point to exactly these files; the new commit's hash."""
        parent = parent or self.refs.get(ref)
        content = [self.name, parent, title, ref, {name: sha256(data) for name, data in files.items()}]
        sha = hashlib.sha1(_json(content)).hexdigest()
        self.commits[sha] = Commit(sha, title, dict(files), parent)
        self.refs[ref] = sha
        return sha


class Repos:
    """The Hub without its network: `answer` takes a request and gives a reply.

    endpoint: what it calls itself.
    cdn: where large files come from and go to; another host, which must never see a token.
    """

    def __init__(self, endpoint: str, cdn: str) -> None:
        self.endpoint, self.cdn = endpoint, cdn
        self.repos: dict[str, Repo] = {}
        self.objects: dict[str, bytes] = {}  # large files by sha256
        self.tokens = {"hf_right"}

    def answer(self, request: Request) -> Reply:
        path = urlsplit(request.path).path
        try:
            for methods, pattern, name in ROUTES:
                if request.method in methods.split("|") and (match := re.fullmatch(pattern, path)):
                    groups = [unquote(group) if group else group for group in match.groups()]
                    reply = getattr(self, name)(request, *groups)
                    return reply if isinstance(reply, Reply) else Reply(200, _json(reply))
            raise Refusal(404, "", f"No such route: {request.method} {path}")
        except Refusal as refusal:
            return refusal.reply

    def _find(self, request: Request, name: str, *, write: bool = False) -> Repo:
        if write:
            self._must_be_right(request, "RepoNotFound")
        repo = self.repos.get(name)
        if repo is None or (repo.private and request.token not in self.tokens):
            if request.token is None:  # the Hub does not tell strangers whether it exists
                raise Refusal(401, "RepoNotFound", "Invalid username or password.")
            raise Refusal(404, "RepoNotFound", "Repository not found")
        return repo

    def _must_be_right(self, request: Request, code: str = "") -> None:
        if request.token is None:
            raise Refusal(401, code, "Invalid username or password.")
        if request.token not in self.tokens:
            raise Refusal(401, "", "Invalid credentials in Authorization header")

    # Downloads

    def _resolve(self, request: Request, name: str, revision: str, file: str) -> Reply:
        repo = self._find(request, name)
        if repo.gated and request.token not in self.tokens:
            raise Refusal(403 if request.token else 401, "GatedRepo", f"Access to model {name} is restricted.")
        commit = repo.at(revision)
        if file not in commit.files:
            raise Refusal(404, "EntryNotFound", "Entry not found", **{"X-Repo-Commit": commit.sha})
        data, headers = commit.files[file], {"X-Repo-Commit": commit.sha, "Accept-Ranges": "bytes"}
        if not is_lfs(file, len(data)):
            return Reply(200, data, {**headers, "ETag": f'"{blob_id(data)}"'})
        digest = sha256(data)
        self.objects[digest] = data
        headers["X-Linked-Etag"], headers["X-Linked-Size"] = f'"{digest}"', str(len(data))
        headers["Location"] = f"{self.cdn}/cdn/{name}/{digest}/{quote(file)}"
        return Reply(302, b"", headers)

    def _cdn(self, request: Request, name: str, digest: str, file: str) -> Reply:
        if digest not in self.objects:
            raise Refusal(404, "", "NoSuchKey")
        return Reply(200, self.objects[digest], {"ETag": f'"{digest[:32]}"', "Accept-Ranges": "bytes"})

    def _info(self, request: Request, name: str, revision: str | None) -> dict[str, Any]:
        repo = self._find(request, name)
        commit, blobs = repo.at(revision or "main"), "blobs" in request.query
        files = commit.files.items()
        siblings = [{"rfilename": file} | (_sibling(file, data) if blobs else {}) for file, data in files]
        gated = "manual" if repo.gated else False
        named = {"id": name, "modelId": name, "author": name.split("/")[0], "sha": commit.sha, "tags": []}
        return named | {"lastModified": DATE, "private": repo.private, "gated": gated, "siblings": siblings}

    def _tree(self, request: Request, name: str, revision: str, folder: str | None) -> list[dict[str, Any]]:
        files = self._find(request, name).at(revision).files
        prefix = f"{folder}/" if folder else ""
        inside = {file: data for file, data in files.items() if file.startswith(prefix)}
        if prefix and not inside:
            raise Refusal(404, "EntryNotFound", f"{folder} does not exist on {revision}")
        if request.query.get("recursive", "").lower() == "true":
            return [_entry(file, data) for file, data in inside.items()]
        folders = {prefix + file[len(prefix) :].split("/")[0] for file in inside if "/" in file[len(prefix) :]}
        named = [{"type": "directory", "path": path, "oid": "0" * 40, "size": 0} for path in sorted(folders)]
        return named + [_entry(file, data) for file, data in inside.items() if "/" not in file[len(prefix) :]]

    def _paths(self, request: Request, name: str, revision: str) -> list[dict[str, Any]]:
        files = self._find(request, name).at(revision).files
        wanted = parse_qs(request.body.decode()).get("paths", [])
        return [_entry(file, files[file]) for file in wanted if file in files]

    def _whoami(self, request: Request) -> dict[str, Any]:
        self._must_be_right(request)
        return {"type": "user", "name": USER, "orgs": []}

    # Uploads

    def _create(self, request: Request) -> Reply:
        self._must_be_right(request)
        asked = json.loads(request.body)
        name = f"{asked.get('organization') or USER}/{asked['name']}"
        url = f"{self.endpoint}/{name}"
        if name in self.repos:
            error = "You already created this model repo"
            return Reply(409, _json({"error": error, "url": url}), {"X-Error-Message": error})
        private = asked.get("visibility") == "private" or bool(asked.get("private"))
        self.repos[name] = Repo(name, private=private)
        rules = "".join(f"*{suffix} filter=lfs diff=lfs merge=lfs -text\n" for suffix in LFS_NAMES)
        self.repos[name].commit({".gitattributes": rules.encode()}, "initial commit")
        return Reply(200, _json({"url": url, "name": name, "id": "0" * 24}))

    def _validate(self, request: Request) -> dict[str, Any]:
        return {"errors": [], "warnings": []}

    def _preupload(self, request: Request, name: str, revision: str) -> dict[str, Any]:
        here = self._find(request, name, write=True).at(revision).files
        files: list[dict[str, Any]] = []
        for file in json.loads(request.body)["files"]:
            path, mode = file["path"], "lfs" if is_lfs(file["path"], file["size"]) else "regular"
            files.append({"path": path, "uploadMode": mode, "shouldIgnore": False})
            if path in here:
                files[-1]["oid"] = (sha256 if is_lfs(path, len(here[path])) else blob_id)(here[path])
        return {"files": files}

    def _batch(self, request: Request, name: str) -> dict[str, Any]:
        self._find(request, name, write=True)
        objects = json.loads(request.body)["objects"]
        for item in objects:
            if item["oid"] not in self.objects:
                verify = {"href": f"{self.endpoint}/{name}.git/info/lfs/verify"}
                item["actions"] = {"upload": {"href": f"{self.cdn}/cdn/{item['oid']}"}, "verify": verify}
        return {"transfer": "basic", "objects": objects}

    def _put(self, request: Request, digest: str) -> Reply:
        if sha256(request.body) != digest:
            raise Refusal(400, "", "XAmzContentSHA256Mismatch")
        self.objects[digest] = request.body
        return Reply()

    def _verify(self, request: Request, name: str) -> dict[str, Any]:
        self._find(request, name, write=True)
        self._object(json.loads(request.body)["oid"])
        return {"success": True}

    def _commit(self, request: Request, name: str, revision: str) -> dict[str, Any]:
        repo = self._find(request, name, write=True)
        base, ref, title = repo.at(revision), revision, ""
        files = dict(base.files)
        for line in request.body.splitlines():
            item = json.loads(line)
            key, value = item["key"], item["value"]
            if key == "header":
                title = value["summary"]
                if value.get("parentCommit", base.sha) != base.sha:
                    raise Refusal(412, "", "A commit has happened since. Please refresh and try again.")
            elif key == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif key == "lfsFile":
                files[value["path"]] = self._object(value["oid"])
            else:  # deletedFile, deletedFolder
                gone = value["path"].rstrip("/")
                files = {path: data for path, data in files.items() if path != gone and not path.startswith(f"{gone}/")}
        answer: dict[str, Any] = {"success": True}
        if "create_pr" in request.query:
            number = 1 + sum(ref.startswith("refs/pr/") for ref in repo.refs)
            ref = f"refs/pr/{number}"
            answer["pullRequestUrl"] = f"{self.endpoint}/{name}/discussions/{number}"
        sha = repo.commit(files, title, ref, parent=base.sha)
        return answer | {"commitOid": sha, "commitUrl": f"{self.endpoint}/{name}/commit/{sha}"}

    def _object(self, digest: str) -> bytes:
        if digest not in self.objects:
            raise Refusal(400, "", f"LFS object {digest} was never uploaded")
        return self.objects[digest]


ROUTES = (
    (READ, rf"/{REPO}/resolve/([^/]+)/(.+)", "_resolve"),
    (READ, rf"/cdn/{REPO}/([0-9a-f]{{64}})/(.+)", "_cdn"),
    ("GET", rf"/api/models/{REPO}(?:/revision/([^/]+))?", "_info"),
    ("GET", rf"/api/models/{REPO}/tree/([^/]+)(?:/(.+))?", "_tree"),
    ("POST", rf"/api/models/{REPO}/paths-info/([^/]+)", "_paths"),
    ("GET", "/api/whoami-v2", "_whoami"),
    ("POST", "/api/repos/create", "_create"),
    ("POST", "/api/validate-yaml", "_validate"),
    ("POST", rf"/api/models/{REPO}/preupload/([^/]+)", "_preupload"),
    ("POST", rf"/{REPO}\.git/info/lfs/objects/batch", "_batch"),
    ("PUT", r"/cdn/([0-9a-f]{64})", "_put"),
    ("POST", rf"/{REPO}\.git/info/lfs/verify", "_verify"),
    ("POST", rf"/api/models/{REPO}/commit/([^/]+)", "_commit"),
)


def _json(value: Any) -> bytes:
    return json.dumps(value).encode()


def _entry(file: str, data: bytes) -> dict[str, Any]:
    entry: dict[str, Any] = {"type": "file", "path": file, "size": len(data), "oid": blob_id(data)}
    if is_lfs(file, len(data)):
        entry["lfs"] = {"oid": sha256(data), "size": len(data), "pointerSize": 130}
    return entry


def _sibling(file: str, data: bytes) -> dict[str, Any]:
    sibling: dict[str, Any] = {"size": len(data), "blobId": blob_id(data)}
    if is_lfs(file, len(data)):
        sibling["lfs"] = {"sha256": sha256(data), "size": len(data), "pointerSize": 130}
    return sibling
