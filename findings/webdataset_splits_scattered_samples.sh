#!/usr/bin/env bash
# webdataset 1.0.2: a sample whose members are not side by side in the tar becomes two samples, each with half of it.
#
# A tar of all pictures and then all descriptions, as `tar --append` makes it, gives pictures without descriptions and descriptions
# without pictures, without a warning. And of pictures whose names have dots before the suffix (ad.1.jpg, ad.2.jpg) all are
# one sample. (ictc joins the members of a key wherever they stand, and tells how many further pictures it leaves out.)
# Seen: 001.jpg 002.jpg 001.json 002.json give 4 samples of one member; ad.1.jpg ad.2.jpg give one sample of two.
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf -- "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet webdataset==1.0.2 numpy==2.4.6
cd -- "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import io
import tarfile

import webdataset


def members(path: str, names: list[str]) -> list[set[str]]:
    with tarfile.open(path, "w") as tar:
        for name in names:
            info = tarfile.TarInfo(name)
            info.size = 2
            tar.addfile(info, io.BytesIO(b"{}"))
    samples = webdataset.WebDataset(path, shardshuffle=False)
    return [{name for name in sample if not name.startswith("__")} for sample in samples]


scattered = members("scattered.tar", ["001.jpg", "002.jpg", "001.json", "002.json"])
dotted = members("dotted.tar", ["ad.1.jpg", "ad.2.jpg"])
print(scattered, [sorted(sample) for sample in dotted])
assert scattered == [{"jpg"}, {"jpg"}, {"json"}, {"json"}], "the behavior has changed"
assert dotted == [{"1.jpg", "2.jpg"}], "the behavior has changed"
PYTHON
