#!/usr/bin/env bash
# fsspec 2026.9.0: cat() of a list takes names as patterns, so a name with brackets gives the content of another file.
#
# "ad[1].jpg" is asked for, "ad1.jpg" is returned, under its own name and without a warning; where there is no such file,
# the one asked for is missing from the answer. cat_file() is literal. (ictc reads objects one by one with cat_file.)
# Seen: cat(["/b/ad[1].jpg", "/b/c.jpg"]) gives {'/b/ad1.jpg': b'other', '/b/c.jpg': b'c'}.
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf -- "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet fsspec==2026.9.0
"$folder/venv/bin/python" - <<'PYTHON'
import fsspec

files = fsspec.filesystem("memory")
files.pipe({"/b/ad[1].jpg": b"asked for", "/b/ad1.jpg": b"other", "/b/c.jpg": b"c", "/b/lone[2].jpg": b"lone"})
two, lone = files.cat(["/b/ad[1].jpg", "/b/c.jpg"]), files.cat(["/b/lone[2].jpg", "/b/c.jpg"])
literal = files.cat_file("/b/ad[1].jpg")
print(two, lone, literal)
assert two == {"/b/ad1.jpg": b"other", "/b/c.jpg": b"c"}, "the behavior has changed"
assert lone == {"/b/c.jpg": b"c"}, "the behavior has changed"
assert literal == b"asked for", "the behavior has changed"
PYTHON
