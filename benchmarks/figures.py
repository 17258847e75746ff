"""Time the 20 figures of a study of 86,446 images: `python benchmarks/figures.py [--output_dir OUT]`.

Makes a synthetic study with the margins of the reference study, then runs both scripts of `analysis/`, each in a
process of its own. Prints a table and a JSON line. Needs the extra analysis.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from repository import REPOSITORY, import_test_support

SCRIPTS = ("eda_and_findings", "research_findings")
NUM_FIGURES = 20

study_support = import_test_support("study")


def time_script(name: str, study: list[Path], figures: Path) -> float:
    """Run a script over the study and return the seconds that it took."""
    started = time.perf_counter()
    script = REPOSITORY / "analysis" / f"{name}.py"
    subprocess.run([sys.executable, script, *study, "--output_dir", figures], check=True)
    return time.perf_counter() - started


def main() -> None:
    """Make the study, time the scripts and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output_dir", type=Path, help="keep the study and the figures there")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        out = arguments.output_dir or Path(temporary)
        started = time.perf_counter()
        study = study_support.write_study(out)
        seconds = {"making the study": time.perf_counter() - started}
        seconds |= {name: time_script(name, study, out / "figures") for name in SCRIPTS}
        drawn = len(list((out / "figures").glob("*.png")))
    print("\n".join(f"  {name:20} {value:6.1f} s" for name, value in seconds.items()))
    rounded = {name: round(value, 1) for name, value in seconds.items()}
    print(json.dumps({"images": study_support.NUM_IMAGES, "figures": drawn, "seconds": rounded}))
    sys.exit(0 if drawn == NUM_FIGURES else 1)


if __name__ == "__main__":
    main()
