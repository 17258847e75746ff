"""Google Cloud Storage on loopback, in this process: an emulator, and a service that knows nobody."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from fsspec.config import conf
from gcp_storage_emulator.server import create_server

from ictc.dataset.fetching.remote import open_filesystem

BUCKET = "ads-bucket"
REFUSAL = {"error": {"code": 401, "message": "Anonymous caller does not have storage.objects.list access"}}


@dataclass(frozen=True)
class Gcs:
    """The emulator's only bucket."""

    files: Any

    def put_tree(self, folder: Path, prefix: str) -> str:
        """Copy a folder into the bucket and return its URL there."""
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                self.files.pipe_file(f"{BUCKET}/{prefix}/{path.relative_to(folder).as_posix()}", path.read_bytes())
        return f"gs://{BUCKET}/{prefix}"

    def read_folder(self, prefix: str) -> dict[str, bytes]:
        """Return the content of each object right below a prefix, by name."""
        self.files.invalidate_cache()
        found = self.files.find(f"{BUCKET}/{prefix}", maxdepth=1)
        return {Path(name).name: self.files.cat_file(name) for name in found}


@contextmanager
def gcs_server() -> Iterator[Gcs]:
    """Start an emulator with an empty bucket; what runs here finds it by the usual environment."""
    logging.getLogger("gcp_storage_emulator").setLevel(logging.CRITICAL)  # it would talk on the command's terminal
    server = create_server("127.0.0.1", 0, in_memory=True, default_bucket=BUCKET)
    server.start()
    try:
        with found_at(server._api._httpd.server_port) as files:
            yield Gcs(files)
    finally:
        server.stop()


@contextmanager
def gcs_for_nobody() -> Iterator[None]:
    """Start a service that answers as Google does to who has no credentials."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps(REFUSAL).encode()
            self.send_response(401)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        with found_at(server.server_port):
            yield
        server.shutdown()


@contextmanager
def found_at(port: int) -> Iterator[Any]:
    """Have gcsfs find the service at a port of this machine, and look for no credentials: it would ask the network."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{port}")
        patch.setitem(conf, "gs", {"token": "anon"})
        files, _ = open_filesystem(f"gs://{BUCKET}")
        yield files
        files.clear_instance_cache()  # the next server is another one
