"""What huggingface_hub's file system asks a Hub for, served on loopback: whether a dataset exists, its tree, its files.

The Hub itself is not to be had, so this follows what its client sends and reads (huggingface_hub 2.4, `hf_api.py`,
`utils/_http.py`): status, headers and fields are the Hub's as far as the client looks at them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path, PurePosixPath
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

ENTRIES_PER_PAGE = 7
TOKEN = "hf_hush"
NOT_FOUND = {"X-Error-Code": "EntryNotFound"}
ROUTE = re.compile(
    r"(?P<api>/api)?/datasets/(?P<dataset>team/[\w-]+)(/(?P<kind>revision|tree|resolve)/main(/(?P<path>.+))?)?"
)


@contextmanager
def hub_server(folders: Mapping[str, Path]) -> Iterator[str]:
    """Serve folders as datasets by their names, and yield the endpoint.

    Without the token, a name that ends in "-private" is not there, and the files of one in "-gated" are not given.
    """
    datasets = {name: Dataset.of(folder) for name, folder in folders.items()}
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(HubHandler, datasets)) as server:
        server.daemon_threads = True
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@dataclass(frozen=True)
class Dataset:
    """The files of a dataset, by path."""

    files: Mapping[str, bytes]

    @classmethod
    def of(cls, folder: Path) -> Dataset:
        """Read a folder."""
        paths = [path for path in folder.rglob("*") if path.is_file()]
        return cls({path.relative_to(folder).as_posix(): path.read_bytes() for path in paths})

    def list_below(self, folder: str, *, is_deep: bool) -> list[dict[str, object]]:
        """Return the folders and files below a folder, or right below it, as the Hub lists them."""
        folders = {str(parent) for path in self.files for parent in PurePosixPath(path).parents} - {"."}
        sizes = dict.fromkeys(folders, 0) | {path: len(content) for path, content in self.files.items()}
        start = f"{folder}/" if folder else ""
        return [
            {"type": "directory" if path in folders else "file", "path": path, "oid": "0" * 40, "size": size}
            for path, size in sorted(sizes.items())
            if path.startswith(start) and (is_deep or "/" not in path.removeprefix(start))
        ]


class HubHandler(BaseHTTPRequestHandler):
    """Answers one request after the other of a connection."""

    protocol_version = "HTTP/1.1"

    def __init__(self, datasets: Mapping[str, Dataset], *connection: Any) -> None:
        self._datasets = datasets
        super().__init__(*connection)

    def do_GET(self) -> None:
        """Answer a request."""
        url = urlsplit(self.path)
        found = ROUTE.fullmatch(url.path)
        assert found is not None, url.path
        name, kind, path = found["dataset"], found["kind"], unquote(found["path"] or "")
        is_known = self.headers.get("Authorization") == f"Bearer {TOKEN}"
        if name not in self._datasets or (name.endswith("-private") and not is_known):
            # Over https the client takes every 401 for this; over http it wants the header.
            self._send(401, {"error": "Invalid username or password."}, {"X-Error-Code": "RepoNotFound"})
        elif kind == "tree":
            self._send_tree(self._datasets[name], path, parse_qs(url.query))
        elif kind != "resolve":
            self._send(200, {"id": name, "sha": "0" * 40, "private": False})
        elif name.endswith("-gated") and not is_known:
            self._send(401, {"error": "Access to this dataset is restricted."}, {"X-Error-Code": "GatedRepo"})
        else:
            self._send_file(self._datasets[name].files.get(path))

    def _send_tree(self, dataset: Dataset, folder: str, query: Mapping[str, list[str]]) -> None:
        entries = dataset.list_below(folder, is_deep=query["recursive"] == ["true"])
        if not entries:
            self._send(404, {"error": "no such folder"}, NOT_FOUND)
            return
        start = int(query.get("cursor", ["0"])[0])
        end = start + ENTRIES_PER_PAGE
        next_page = f"http://{self.headers['Host']}{self.path.partition('&cursor=')[0]}&cursor={end}"
        links = {"Link": f'<{next_page}>; rel="next"'} if end < len(entries) else {}
        self._send(200, entries[start:end], links)

    def _send_file(self, content: bytes | None) -> None:
        span = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if content is None:
            self._send(404, {"error": "no such file"}, NOT_FOUND)
        elif span is None:
            self._send(200, content, {})
        else:
            start, end = int(span[1]), int(span[2] or len(content) - 1)
            self._send(206, content[start : end + 1], {"Content-Range": f"bytes {start}-{end}/{len(content)}"})

    def _send(self, status: int, body: object, headers: Mapping[str, str] | None = None) -> None:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Say nothing."""
