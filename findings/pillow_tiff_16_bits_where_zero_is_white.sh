#!/usr/bin/env bash
# Pillow 13.0.0: a gray TIFF in which zero is white comes out right with 8 bits a level, and as its negative with 16.
#
# PhotometricInterpretation 0 (WhiteIsZero) is what scanners and X-ray devices write. Pillow inverts such levels of 8 bits while it
# loads them and leaves those of 16 as they are, without a word. (ictc inverts the latter itself.)
# Seen: the levels [0, highest], zero white, give [255, 0] with 8 bits and [0, 65535] with 16.
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf -- "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet pillow==13.0.0 tifffile==2026.3.3 numpy==2.4.6
cd -- "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import numpy as np
import tifffile
from PIL import Image

levels = {}
for kind in ("uint8", "uint16"):
    tifffile.imwrite("negative.tif", np.array([[0, np.iinfo(kind).max]], dtype=kind), photometric="miniswhite")
    with Image.open("negative.tif") as image:
        levels[kind] = np.asarray(image).tolist()[0]
print(levels)
assert levels == {"uint8": [255, 0], "uint16": [0, 65535]}, "the behavior has changed"
PYTHON
