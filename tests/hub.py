"""A stand-in for the Hugging Face hub: a server on this machine that keeps repositories in memory.

It answers what huggingface_hub 2.4 asks: repositories are made, get commits of regular and of LFS files, and are listed
and fetched by branch or commit. Tokens are looked at, rights are not.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

TOKEN = "hf_stand_in"


@dataclass
class Repository:
    """A repository: its commits, oldest first, each all files by name."""

    private: bool
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)

    @property
    def head(self) -> str:
        """The newest commit."""
        return next(reversed(self.commits))

    def commit(self, changed: dict[str, bytes]) -> str:
        """Add a commit; return its id."""
        files = {**(self.commits[self.head] if self.commits else {}), **changed}
        content = repr(
            [len(self.commits), *sorted((name, hashlib.sha1(one).hexdigest()) for name, one in files.items())]
        )
        oid = hashlib.sha1(content.encode()).hexdigest()
        self.commits[oid] = files
        return oid

    def at(self, revision: str) -> str | None:
        """Return the commit that a branch or an id names."""
        return self.head if revision == "main" else revision if revision in self.commits else None


@dataclass
class Hub:
    """The server's address, its repositories, and what it was asked."""

    url: str = ""
    repositories: dict[str, Repository] = field(default_factory=dict)
    uploaded: dict[str, bytes] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    def environment(self, cache: Any, **more: str) -> dict[str, str]:
        """Return the variables by which huggingface_hub uses it, and keeps what it fetches in a folder."""
        return {"HF_ENDPOINT": self.url, "HF_HOME": str(cache), "HF_HUB_DISABLE_XET": "1", **more}


class _Answers(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        """Print nothing."""

    def do_GET(self) -> None:
        self._read(whole=True)

    def do_HEAD(self) -> None:
        self._read(whole=False)

    def do_PUT(self) -> None:
        self.hub.uploaded[self.path.rpartition("/")[2]] = self._body()
        self._answer(200)

    def do_POST(self) -> None:
        body, path = self._body(), urlsplit(self.path).path
        self.hub.asked.append(f"POST {path}")
        if path == "/api/validate-yaml":
            return self._json({"errors": [], "warnings": []})
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return self._answer(401)
        if path == "/api/repos/create":
            asked = json.loads(body)
            name = f"{asked['organization']}/{asked['name']}"
            if name in self.hub.repositories:
                return self._json({"error": "You already created this repo", "url": f"{self.hub.url}/{name}"}, 409)
            self.hub.repositories[name] = Repository(asked.get("private", asked.get("visibility") == "private"))
            self.hub.repositories[name].commit({".gitattributes": b"*.safetensors filter=lfs\n"})
            return self._json({"url": f"{self.hub.url}/{name}"})
        if path.endswith(".git/info/lfs/objects/batch"):
            actions = {"upload": {"href": f"{self.hub.url}/lfs/OID"}}
            objects = json.loads(body)["objects"]
            answers = [
                {**one, "actions": {"upload": {"href": actions["upload"]["href"].replace("OID", one["oid"])}}}
                for one in objects
            ]
            return self._json({"transfer": "basic", "objects": answers})
        _, _, _, owner, name, verb, *_ = path.split("/")
        repository = self.hub.repositories[f"{owner}/{name}"]
        if verb == "preupload":
            files = [one["path"] for one in json.loads(body)["files"]]
            modes = [
                {"path": one, "uploadMode": "lfs" if one.endswith(".safetensors") else "regular", "shouldIgnore": False}
                for one in files
            ]
            return self._json({"files": modes})
        assert verb == "commit"
        oid = repository.commit(dict(self._committed(body)))
        return self._json(
            {"commitUrl": f"{self.hub.url}/{owner}/{name}/commit/{oid}", "commitOid": oid, "success": True}
        )

    def _committed(self, body: bytes) -> Iterator[tuple[str, bytes]]:
        for line in map(json.loads, body.splitlines()):
            value = line["value"]
            if line["key"] == "file":
                yield value["path"], base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                yield value["path"], self.hub.uploaded[value["oid"]]

    def _read(self, whole: bool) -> None:
        path = unquote(urlsplit(self.path).path)
        self.hub.asked.append(f"{self.command} {path}")
        parts = path.strip("/").split("/")
        owner_name = parts[2:4] if parts[0] == "api" else parts[:2]
        repository = self.hub.repositories.get("/".join(owner_name))
        if repository is None:
            return self._answer(404, **{"X-Error-Code": "RepoNotFound"})
        if parts[0] == "api":
            commit = repository.at(parts[5] if len(parts) > 5 else "main")
            if commit is None:
                return self._answer(404, **{"X-Error-Code": "RevisionNotFound"})
            if len(parts) > 4 and parts[4] == "tree":
                return self._json([self._listed(*one) for one in repository.commits[commit].items()])
            return self._json({"id": "/".join(owner_name), "sha": commit, "private": repository.private})
        commit, name = repository.at(parts[3]), "/".join(parts[4:])
        if commit is None or name not in repository.commits[commit]:
            return self._answer(404, **{"X-Error-Code": "EntryNotFound"})
        content = repository.commits[commit][name]
        etag = f'"{hashlib.sha1(content).hexdigest()}"'
        return self._answer(200, content, whole, ETag=etag, **{"X-Repo-Commit": commit})

    @staticmethod
    def _listed(name: str, content: bytes) -> dict[str, Any]:
        return {"type": "file", "path": name, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}

    def _body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def _json(self, content: Any, code: int = 200) -> None:
        self._answer(code, json.dumps(content).encode(), **{"Content-Type": "application/json"})

    def _answer(self, code: int, content: bytes = b"", whole: bool = True, **headers: str) -> None:
        self.send_response(code)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        if whole:
            self.wfile.write(content)


@contextlib.contextmanager
def serving() -> Iterator[Hub]:
    """Serve a hub in the block."""
    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Answers", (_Answers,), {"hub": hub}))
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
