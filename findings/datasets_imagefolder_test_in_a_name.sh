#!/usr/bin/env bash
# datasets 5.2.0: load_dataset("imagefolder") drops every image but those with a word such as "test" in their path.
#
# Splits are looked for in names before anything else: one picture called test-drive.jpg, or one folder called "my test",
# and the data set is that alone, without a warning. The same goes for train, eval, val, dev. A folder train/ at the top
# with all images in it is read whole, whatever the names in it (`ictc export` writes that).
# Seen: 4 pictures of which one is called test-drive.jpg give {'test': 1}; in a folder train/ they give {'train': 4}.
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf -- "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet datasets==5.2.0 pillow==13.0.0
HF_HUB_OFFLINE=1 HF_HOME="$folder/cache" "$folder/venv/bin/python" - "$folder" <<'PYTHON'
import sys
from pathlib import Path

from datasets import load_dataset
from PIL import Image


def sizes(root: Path, prefix: str, names: list[str]) -> dict[str, int]:
    for name in names:
        path = root / prefix / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8)).save(path)
    loaded = load_dataset("imagefolder", data_dir=str(root), drop_labels=True)
    return {split: len(rows) for split, rows in loaded.items()}


folder, names = Path(sys.argv[1]), ["one.jpg", "two.jpg", "summer/three.jpg", "test-drive.jpg"]
flat, in_train = sizes(folder / "flat", "", names), sizes(folder / "split", "train", names)
print(f"{len(names)} pictures: {flat}; below train/: {in_train}")
assert flat == {"test": 1} and in_train == {"train": 4}, "the behavior has changed"
PYTHON
