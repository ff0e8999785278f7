"""A hub on this host that speaks what huggingface_hub asks: what a model consists of, and its files, whole or from a byte on."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub(ThreadingHTTPServer):
    """One model's files.

    Attributes:
        name: the model's id; there is no other.
        files: its files.
        token: what a gated model asks for.
        cut_at: bytes after which the connection breaks off, by file; once, or each time where `cut_always`.
        fetched: the files that were asked for, with the byte from which on.
        url: for `HF_ENDPOINT`.
    """

    daemon_threads = True

    def __init__(self, name: str, files: dict[str, bytes]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.name, self.files, self.token = name, files, ""
        self.cut_at: dict[str, int] = {}
        self.cut_always = False
        self.fetched: list[tuple[str, int]] = []
        self.url = f"http://127.0.0.1:{self.server_port}"

    def listing(self) -> list[dict[str, Any]]:
        return [
            {"type": "file", "path": file, "size": len(data), "oid": _sha(data)} for file, data in self.files.items()
        ]

    def information(self) -> dict[str, Any]:
        siblings = [{"rfilename": file, "size": len(data), "blobId": _sha(data)} for file, data in self.files.items()]
        return {"id": self.name, "sha": COMMIT, "siblings": siblings}


@contextmanager
def running_hub(name: str, files: dict[str, bytes]) -> Iterator[Hub]:
    with Hub(name, files) as hub:
        thread = threading.Thread(target=hub.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        yield hub
        hub.shutdown()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    server: Hub  # pyright: ignore[reportIncompatibleVariableOverride]  no other server has this handler
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self._file(with_body=False)

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        if not path.startswith("/api/models/"):
            self._file(with_body=True)
        elif not path.startswith(f"/api/models/{self.server.name}"):
            self._refuse(404, "RepoNotFound")
        else:
            self._json(self.server.listing() if "/tree/" in path else self.server.information())

    def _file(self, *, with_body: bool) -> None:
        file = urlsplit(self.path).path.partition(f"/resolve/{COMMIT}/")[2]
        if self.server.token and self.headers["Authorization"] != f"Bearer {self.server.token}":
            self._refuse(401, "GatedRepo")
            return
        data = self.server.files[file]
        start = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").partition("-")[0])
        self.send_response(206 if start else 200)
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("ETag", f'"{_sha(data)}"')
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        self.send_header("Content-Length", str(len(data) - start))
        self.end_headers()
        if with_body:
            self._send(file, data, start)

    def _send(self, file: str, data: bytes, start: int) -> None:
        self.server.fetched.append((file, start))
        end = self.server.cut_at.get(file, len(data))
        self.wfile.write(data[start:end])
        if end < len(data):
            self.close_connection = True
            if not self.server.cut_always:
                del self.server.cut_at[file]

    def _json(self, said: object) -> None:
        body = json.dumps(said).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _refuse(self, status: int, code: str) -> None:
        self.send_response(status)
        self.send_header("X-Error-Code", code)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the base class's
        """Nothing: pytest shows what matters."""


def _sha(data: bytes) -> str:
    return hashlib.sha1(data, usedforsecurity=False).hexdigest()
