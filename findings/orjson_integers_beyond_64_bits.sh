#!/usr/bin/env bash
# orjson 3.13.0: loads() turns an integer beyond 64 bits into a float, where json.loads() keeps every digit.
#
# An id of 20 or more digits (a snowflake with a prefix, a hash in decimal) comes back as another number without an error, and
# ids that differ in their last digits become equal. (ictc reads ids of tables in a way that keeps their digits.)
# Seen: 18446744073709551615 is an int, 18446744073709551616 and …617 are both the float 1.8446744073709552e+19.
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf -- "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet orjson==3.13.0
"$folder/venv/bin/python" - <<'PYTHON'
import json

import orjson

texts = ["18446744073709551615", "18446744073709551616", "18446744073709551617"]
ours, theirs = [orjson.loads(text) for text in texts], [json.loads(text) for text in texts]
print(ours, theirs)
assert ours == [2**64 - 1, float(2**64), float(2**64)] and isinstance(ours[1], float), "the behavior has changed"
assert theirs == [2**64 - 1, 2**64, 2**64 + 1], "the behavior has changed"
PYTHON
