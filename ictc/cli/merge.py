"""`ictc merge`: shards in, one clustered collection out."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

from cyclopts import Group, Parameter

from ictc.cli.terminal import Terminal
from ictc.config import ClusteringSettings, ControlSettings, EngineSettings
from ictc.config.base import explicit
from ictc.interface.session import run_in_session
from ictc.merge import MergeRequest, find_shards, merge_shards

OWN = Group("Merge", sort_key=0)


def merge(
    *shards: Path,
    output_dir: Annotated[Path, Parameter(group=OWN)],
    allow_missing: Annotated[bool, Parameter(group=OWN)] = False,
    no_cluster: Annotated[bool, Parameter(group=OWN)] = False,
    clustering: Annotated[ClusteringSettings | None, Parameter(name="*", group=Group("Clusters", sort_key=3))] = None,
    engine: Annotated[EngineSettings | None, Parameter(name="*", group=Group("Models", sort_key=4))] = None,
    control: Annotated[ControlSettings | None, Parameter(name="*", group=Group("Control", sort_key=5))] = None,
) -> None:
    """Put the shards of a collection together, and make clusters of all of it: what one machine would have given.

    Refuses shards of different collections or made in different ways, gaps, overlaps, and shards that are not
    finished. The shards are only read. Settings that are not given are those of the shards. Examples:

    ictc merge out/shard_0 out/shard_1 --output_dir out/merged

    ictc merge out --output_dir merged --num_clusters 8 --gpu_id 0

    ictc merge out/shard_0 out/shard_2 --output_dir partial --allow_missing

    Args:
        shards: --output_dir of the shards; those below are found.
        output_dir: Folder for the merged results; the same command again resumes.
        allow_missing: Go on without missing shards and unfinished images; the results say so.
        no_cluster: Only merge: no Steps 2b and 3.
    """
    overrides = {**explicit(clustering), **explicit(engine), **explicit(control)}
    request = MergeRequest(
        shards=shards,
        output_dir=output_dir,
        allow_missing=allow_missing,
        cluster=not no_cluster,
        overrides=overrides,
    )
    found = find_shards(request)
    run_in_session(
        output_dir,
        partial(merge_shards, found, request),
        Terminal(),
        verbose=bool(overrides.get("verbose")),
    )
