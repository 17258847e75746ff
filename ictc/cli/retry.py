"""`ictc retry`: tries again what a run rejected."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from ictc.cli.terminal import Terminal
from ictc.errors import ConfigError
from ictc.interface.session import run_images
from ictc.runs.reader import find_run_directories
from ictc.runs.retrying import explain_refusal, settings_to_retry


def retry(*directories: Path, ads_dir: Path | None = None) -> None:
    """Try again what a run rejected or found broken, with its settings; the same as its command with --retry_rejected.

    What follows from the images that now succeed is made again as well. Of results that other commands made from those
    of a run, it says which commands to repeat. Examples:

    ictc retry out

    ictc retry out/shard_0 --ads_dir /mnt/moved/ads

    Args:
        directories: --output_dir of the runs; shards and tracks below are found.
        ads_dir: Where the images are now, if they were moved.
    """
    found = find_run_directories(directories or [Path()])
    refusals = {directory: refusal for directory in found if (refusal := explain_refusal(directory, found))}
    todo = [directory for directory in found if directory not in refusals]
    if not todo:
        raise ConfigError("; ".join(refusals.values()))
    overrides: dict[str, Any] = {"retry_rejected": True, "force_steps": None}
    if ads_dir is not None:
        overrides["ads_dir"] = ads_dir
    for settings in list(settings_to_retry(todo, **overrides)):  # all of them are valid, or none is run
        run_images(settings, Terminal())
    for refusal in refusals.values():
        print(refusal, file=sys.stderr)
