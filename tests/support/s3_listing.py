"""Many objects behind S3's list requests: what a large bucket looks like to a client, at little cost.

moto's server takes most of a minute for this many keys, so only the pages are here, as the real service sends them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from urllib.parse import parse_qs, urlsplit

import pytest
from s3fs import S3FileSystem

KEYS_PER_PAGE = 1000
ENTRY = (
    "<Contents><Key>many/{:06d}.jpg</Key><LastModified>2024-05-01T00:00:00.000Z</LastModified>"
    "<ETag>&quot;0&quot;</ETag><Size>7</Size><StorageClass>STANDARD</StorageClass></Contents>"
)
PAGE = (
    '<?xml version="1.0" encoding="UTF-8"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
    "<IsTruncated>{}</IsTruncated><NextContinuationToken>{}</NextContinuationToken>{}</ListBucketResult>"
)


@contextmanager
def many_keys(num_keys: int, fail_at: int | None = None) -> Iterator[str]:
    """Serve objects `000000.jpg`, … of seven bytes, and yield the URL that they lie below.

    Args:
        fail_at: access is denied from this object on.
    """

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            query = parse_qs(urlsplit(self.path).query)
            start = int(query.get("continuation-token", ["0"])[0])
            end = min(start + KEYS_PER_PAGE, num_keys)
            if start == fail_at:
                self.send_error(403)
                return
            entries = "".join(map(ENTRY.format, range(start, end)))
            body = PAGE.format("true" if end < num_keys else "false", end, entries).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/xml")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server, pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_port}")
        patch.setenv("AWS_ACCESS_KEY_ID", "somebody")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "hush")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        S3FileSystem.clear_instance_cache()  # another server's
        server.daemon_threads = True
        Thread(target=server.serve_forever, daemon=True).start()
        yield "s3://large-bucket/many"
        server.shutdown()
        S3FileSystem.clear_instance_cache()
