"""`ictc retry`: tries again what a run rejected."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ictc.cli.run import execute
from ictc.runs.reader import find_run_directories
from ictc.runs.settings import load_settings


def retry(*directories: Path, ads_dir: Path | None = None) -> None:
    """Try again what a run rejected or found broken, with its settings; the same as its command with --retry_rejected.

    What follows from the images that now succeed is made again as well. Examples:

    ictc retry out

    ictc retry out/shard_0 --ads_dir /mnt/moved/ads

    Args:
        directories: --output_dir of the runs; shards and tracks below are found.
        ads_dir: Where the images are now, if they were moved.
    """
    for directory in find_run_directories(directories or [Path()]):
        overrides: dict[str, Any] = {"retry_rejected": True, "force_steps": None}
        if ads_dir is not None:
            overrides["ads_dir"] = ads_dir
        execute(load_settings(directory, **overrides))
