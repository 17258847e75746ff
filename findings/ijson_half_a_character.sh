#!/usr/bin/env bash
# ijson 3.6.0: its fast backend turns half a character into "?", without an error; its pure one keeps it, as json.loads() does.
#
# The grammar of JSON allows an escape such as \ud83d alone, and programs that cut texts at a number of UTF-16 units write it. With
# the backend that is taken where a wheel has it (yajl2_c), names that differ in such a half are one name afterwards, so that of two
# entries of an object the second replaces the first. (ictc streams JSON by the decoder of the standard library.)
# Seen: {"ad \ud83d": 1, "ad \ud83c": 2} has two entries by the backend "python", one ("ad ?") by "yajl2_c".
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf -- "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet ijson==3.6.0
"$folder/venv/bin/python" - <<'PYTHON'
import io
import json

import ijson

document = rb'{"ad \ud83d": 1, "ad \ud83c": 2}'
read = {name: dict(ijson.get_backend(name).kvitems(io.BytesIO(document), "")) for name in ("python", "yajl2_c")}
print(ijson.backend_name, ascii(read), ascii(json.loads(document)))
assert ijson.backend_name == "yajl2_c", "another backend is taken"
assert read["python"] == json.loads(document) == {"ad \ud83d": 1, "ad \ud83c": 2}, "the behavior has changed"
assert read["yajl2_c"] == {"ad ?": 2}, "the behavior has changed"
PYTHON
