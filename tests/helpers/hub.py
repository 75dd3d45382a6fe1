"""A stand-in of the hub's HTTP interface, as far as `urbankit push` and `urbankit pull` call it."""

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Files = dict[str, bytes]
TOKEN = "hf_of_a_test"


@dataclass
class Repository:
    """A repository: its commits in their order, each with all files."""

    private: bool
    commits: dict[str, Files] = field(default_factory=dict)

    @property
    def head(self) -> str:
        return list(self.commits)[-1]

    def commit(self, files: Files) -> str:
        sha = hashlib.sha1(f"{len(self.commits)}{sorted(files)}".encode()).hexdigest()
        self.commits[sha] = files
        return sha


@dataclass
class Hub:
    """The stand-in.

    Attributes:
        repositories: By name.
        answers: For requests whose method and path match a pattern, a status and headers in place of the answer.
        cut: By how many bytes the content of a file is shorter than announced before, by the name of the file.
        requests: The requests so far.
    """

    url: str
    repositories: dict[str, Repository] = field(default_factory=dict)
    answers: dict[str, tuple[int, dict[str, str]]] = field(default_factory=dict)
    cut: dict[str, int] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    stored: dict[str, bytes] = field(default_factory=dict)

    def put(self, name: str, files: Files) -> str:
        """Make or change a public repository, and return the commit."""
        return self.repositories.setdefault(name, Repository(private=False)).commit({".gitattributes": b"", **files})

    def files(self, name: str) -> Files:
        repository = self.repositories[name]
        return repository.commits[repository.head]


@contextmanager
def running() -> Iterator[Hub]:
    """Serve a hub on a free port of this machine."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.hub = Hub(f"http://127.0.0.1:{server.server_port}")  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server.hub  # type: ignore[attr-defined]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


NO_REPOSITORY = (404, {"X-Error-Code": "RepoNotFound"})
NO_REVISION = (404, {"X-Error-Code": "RevisionNotFound"})


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._answer()

    do_HEAD = do_POST = do_PUT = do_GET

    def log_message(self, *args: Any) -> None:
        pass

    def _answer(self) -> None:
        hub: Hub = self.server.hub  # type: ignore[attr-defined]
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        request = f"{self.command} {self.path.split('?')[0]}"
        hub.requests.append(request)
        for pattern, (status, headers) in hub.answers.items():
            if re.search(pattern, request):
                return self._send(status, headers=headers)
        for pattern, route in ROUTES.items():
            if match := re.fullmatch(pattern, request):
                return route(self, hub, body, *match.groups())
        self._send(404)

    def _send(self, status: int, content: Any = b"", headers: dict[str, str] | None = None) -> None:
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(data)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def _may_write(self) -> bool:
        if self.headers.get("Authorization") == f"Bearer {TOKEN}":
            return True
        self._send(401, headers={"X-Error-Message": "Invalid credentials in Authorization header"})
        return False

    def _readable(self, hub: Hub, name: str) -> Repository | None:
        repository = hub.repositories.get(name)
        hidden = repository and repository.private and self.headers.get("Authorization") != f"Bearer {TOKEN}"
        if repository is None or hidden:
            self._send(NO_REPOSITORY[0], headers=NO_REPOSITORY[1])
            return None
        return repository

    def create(self, hub: Hub, body: bytes) -> None:
        if not self._may_write():
            return
        asked = json.loads(body)
        name = f"{asked['organization']}/{asked['name']}"
        if name in hub.repositories:
            return self._send(409, {"url": f"{hub.url}/{name}"})
        hub.repositories[name] = Repository(private=asked.get("visibility") == "private" or bool(asked.get("private")))
        hub.repositories[name].commit({".gitattributes": b""})
        self._send(200, {"url": f"{hub.url}/{name}"})

    def info(self, hub: Hub, body: bytes, name: str, revision: str | None = None) -> None:
        if (repository := self._readable(hub, name)) is None:
            return
        sha = repository.head if revision in (None, "main") else revision
        if sha not in repository.commits:
            return self._send(NO_REVISION[0], headers=NO_REVISION[1])
        siblings = [{"rfilename": file} for file in repository.commits[sha]]
        self._send(200, {"id": name, "sha": sha, "siblings": siblings, "private": repository.private})

    def validate(self, hub: Hub, body: bytes) -> None:
        self._send(200, {"errors": [], "warnings": []})

    def preupload(self, hub: Hub, body: bytes, name: str) -> None:
        if self._may_write():
            large = [file["path"].endswith(".safetensors") for file in json.loads(body)["files"]]
            files = [
                {"path": file["path"], "uploadMode": "lfs" if lfs else "regular", "shouldIgnore": False}
                for file, lfs in zip(json.loads(body)["files"], large, strict=True)
            ]
            self._send(200, {"files": files})

    def batch(self, hub: Hub, body: bytes, name: str) -> None:
        if self._may_write():
            objects = [
                {**one, "actions": {"upload": {"href": f"{hub.url}/lfs/{one['oid']}"}}}
                for one in json.loads(body)["objects"]
            ]
            self._send(200, {"transfer": "basic", "objects": objects})

    def store(self, hub: Hub, body: bytes, oid: str) -> None:
        assert hashlib.sha256(body).hexdigest() == oid
        hub.stored[oid] = body
        self._send(200)

    def commit(self, hub: Hub, body: bytes, name: str) -> None:
        if not self._may_write():
            return
        lines = [json.loads(line) for line in body.splitlines()]
        [header] = [line["value"] for line in lines if line["key"] == "header"]
        repository = hub.repositories[name]
        if header.get("parentCommit", repository.head) != repository.head:
            return self._send(412)
        files = dict(repository.commits[repository.head])
        for line in lines:
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = hub.stored[value["oid"]]
        sha = repository.commit(files)
        self._send(200, {"commitUrl": f"{hub.url}/{name}/commit/{sha}", "commitOid": sha})

    def file(self, hub: Hub, body: bytes, name: str, sha: str, file: str) -> None:
        if (repository := self._readable(hub, name)) is None:
            return
        content = repository.commits[sha][file]
        headers = {"ETag": f'"{hashlib.sha1(content).hexdigest()}"', "X-Repo-Commit": sha}
        if self.command == "HEAD":
            headers["Content-Length"] = str(len(content))
        else:
            content = content[: len(content) - hub.cut.get(file, 0)]
        self._send(200, content, headers)


NAME = r"([^/]+/[^/]+)"
ROUTES = {
    "POST /api/repos/create": _Handler.create,
    f"GET /api/models/{NAME}": _Handler.info,
    f"GET /api/models/{NAME}/revision/([^/]+)": _Handler.info,
    "POST /api/validate-yaml": _Handler.validate,
    f"POST /api/models/{NAME}/preupload/main": _Handler.preupload,
    rf"POST /{NAME}\.git/info/lfs/objects/batch": _Handler.batch,
    "PUT /lfs/([0-9a-f]+)": _Handler.store,
    f"POST /api/models/{NAME}/commit/main": _Handler.commit,
    f"(?:GET|HEAD) /{NAME}/resolve/([^/]+)/(.+)": _Handler.file,
}
