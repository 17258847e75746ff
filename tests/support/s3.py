"""A real S3 server on loopback, in this process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import boto3
import pytest
from moto.server import ThreadedMotoServer
from s3fs import S3FileSystem

BUCKET = "ads-bucket"


@dataclass(frozen=True)
class S3:
    """The server's only bucket."""

    client: Any

    def put_tree(self, folder: Path, prefix: str) -> str:
        """Copy a folder into the bucket and return its URL there."""
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                key = f"{prefix}/{path.relative_to(folder).as_posix()}"
                self.client.put_object(Bucket=BUCKET, Key=key, Body=path.read_bytes())
        return f"s3://{BUCKET}/{prefix}"

    def read_folder(self, prefix: str) -> dict[str, bytes]:
        """Return the content of each object right below a prefix, by name."""
        found = self.client.list_objects_v2(Bucket=BUCKET, Prefix=f"{prefix}/", Delimiter="/").get("Contents", [])
        keys = [entry["Key"] for entry in found]
        return {
            key.removeprefix(f"{prefix}/"): self.client.get_object(Bucket=BUCKET, Key=key)["Body"].read()
            for key in keys
        }


@contextmanager
def s3_server() -> Iterator[S3]:
    """Start a server with an empty bucket; what runs here finds it by the usual environment."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        urlopen(Request(f"http://{host}:{port}/moto-api/reset", method="POST")).close()  # what earlier servers kept
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
            patch.setenv("AWS_ACCESS_KEY_ID", "somebody")
            patch.setenv("AWS_SECRET_ACCESS_KEY", "hush")
            patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
            client = boto3.client("s3")
            client.create_bucket(Bucket=BUCKET)
            yield S3(client)
            client.close()
            S3FileSystem.clear_instance_cache()  # the next server is another one
    finally:
        server.stop()
