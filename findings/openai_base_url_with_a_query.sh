#!/usr/bin/env bash
# openai 3.57.0: of a base_url with a query, requests go to the root with the path glued to the query's value.
#
# Gateways hand out addresses such as http://host/v1?api-version=2. The client asks for /v1/?api-version=2models, gets a 404 or
# the gateway's start page, and nothing says why. default_query does it right. (ictc splits the query off.)
# Seen: models.list() asks for /v1/?api-version=2models; with default_query for /v1/models?api-version=2.
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf -- "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet openai==3.57.0
"$folder/venv/bin/python" - <<'PYTHON'
import http.server
import threading

import openai

paths = []


class Models(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        paths.append(self.path)
        body = b'{"object": "list", "data": []}'
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Models)
threading.Thread(target=server.serve_forever, daemon=True).start()
base = f"http://127.0.0.1:{server.server_port}/v1"
openai.OpenAI(base_url=f"{base}?api-version=2", api_key="none").models.list()
openai.OpenAI(base_url=base, default_query={"api-version": "2"}, api_key="none").models.list()
print(paths)
assert paths == ["/v1/?api-version=2models", "/v1/models?api-version=2"], "the behavior has changed"
PYTHON
