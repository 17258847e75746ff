"""`ictc run`: images in, named clusters out."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

from cyclopts import Group, Parameter

from ictc.cli.terminal import Terminal
from ictc.config import RunSettings
from ictc.interface.session import run_images
from ictc.runs.shards import resolve_shard


def run(
    *,
    settings: Annotated[RunSettings, Parameter(name="*")],
    config: Annotated[Path | None, Parameter(group=Group("Control", sort_key=5))] = None,
) -> None:
    """Caption every image, label it, make K named clusters of the labels and assign every image to one.

    The same command again resumes; what is up to date is never redone. Examples:

    ictc run --ads_dir ads --output_dir out

    ictc run --ads_dir ads --output_dir out --num_clusters 8 --steps 2b,3

    ictc run --ads_dir photos --output_dir out --criterion "the musical instrument" --engine lite

    Args:
        config: YAML file with any of these flags; the command line wins.
    """
    run_images(resolve_shard(settings, os.environ), Terminal())
