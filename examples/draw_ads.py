"""Draw the example collection: `python examples/draw_ads.py OUT_DIR [--seed 42]`.

Needs Pillow and PyYAML only. The same seed gives the same bytes on each machine with the same Pillow.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from pathlib import Path

from adset.collection import draw_collection


def main() -> None:
    parser = argparse.ArgumentParser(description="Draw a collection of invented ads, with a table of what they are.")
    parser.add_argument("out_dir", type=Path, help="folder for ads/ and truth.csv; made if missing")
    parser.add_argument("--seed", type=int, default=42, help="decides ids, metadata, formats and decoration (42)")
    arguments = parser.parse_args()
    try:
        rows = draw_collection(arguments.out_dir, arguments.seed)
    except OSError as error:
        sys.exit(f"draw_ads: {error}")
    kinds = Counter(row["kind"] for row in rows)
    categories = {row["category"] for row in rows if row["category"]}
    print(
        f"{kinds['ad']} ads in {len(categories)} categories, {kinds['ui_only']} interface screens and "
        f"{kinds['broken']} broken files in {arguments.out_dir / 'ads'}; the truth is in truth.csv beside it."
    )


if __name__ == "__main__":
    main()
