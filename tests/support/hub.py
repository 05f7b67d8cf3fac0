"""A Hugging Face hub on this machine, one folder per repository, for the real client to talk to."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

LARGE = (".safetensors", ".bin")  # kept in git LFS there, so that the hub knows their sha256


class Hub(ThreadingHTTPServer):
    """Serves ``root/organisation/name``; the revision of a repository is made of its content.

    Attributes
    ----------
    requests : list of str
        Method and path of every request so far.
    lies : dict of str to bytes
        File names and what is sent instead of them.
    """

    def __init__(self, root: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.root = root
        self.requests: list[str] = []
        self.lies: dict[str, bytes] = {}
        self.old: dict[str, dict[str, bytes]] = {}

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def files(self, repository: str) -> dict[str, bytes]:
        folder = self.root / repository
        return {file.name: file.read_bytes() for file in sorted(folder.iterdir())}

    def revision(self, repository: str) -> str:
        """Return the current commit, which stays available when the content changes."""
        files = self.files(repository)
        digest = hashlib.sha1(b"".join(name.encode() + data for name, data in files.items())).hexdigest()
        self.old[digest] = files
        return digest


class _Handler(BaseHTTPRequestHandler):
    server: Hub
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, body: bool) -> None:
        self.server.requests.append(f"{self.command} {self.path}")
        parts = self.path.split("?")[0].strip("/").split("/")
        headers, content = {"Content-Type": "application/json"}, b""
        status = 404
        if parts[:2] == ["api", "models"] and (self.server.root / "/".join(parts[2:4])).is_dir():
            repository = "/".join(parts[2:4])
            siblings = [
                {"rfilename": name, "size": len(data)}
                | (
                    {"lfs": {"sha256": _sha(data), "size": len(data), "pointerSize": 1}}
                    if _large(name)
                    else {}
                )
                for name, data in self.server.files(repository).items()
            ]
            info = {"id": repository, "sha": self.server.revision(repository), "siblings": siblings}
            status, content = 200, json.dumps(info).encode()
        elif len(parts) == 5 and parts[2] == "resolve":
            data = self.server.old.get(parts[3], {}).get(parts[4])
            if data is not None:
                status, content = 200, self.server.lies.get(parts[4], data)
                headers = {"X-Repo-Commit": parts[3], "ETag": f'"{_sha(data)}"'}
            else:
                headers |= {"X-Error-Code": "EntryNotFound"}
        self.send_response(status)
        for name, value in (headers | {"Content-Length": str(len(content))}).items():
            self.send_header(name, value)
        self.end_headers()
        if body:
            self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        """Print nothing: the requests are in `Hub.requests`."""


def _sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _large(name: str) -> bool:
    return name.endswith(LARGE)


@contextmanager
def running(root: Path) -> Iterator[Hub]:
    """Serve a folder of repositories."""
    hub = Hub(root)
    thread = threading.Thread(target=hub.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield hub
    finally:
        hub.shutdown()
        thread.join()
        hub.server_close()
