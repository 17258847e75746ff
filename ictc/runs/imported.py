"""What can't be done in a run directory whose captions were imported: there are no images to look at."""

from __future__ import annotations

import shlex

from ictc.storage.manifest import find_manifest
from ictc.storage.rundir import RunDirectory


def is_imported(directory: RunDirectory) -> bool:
    """Whether what lies in a run directory goes back to an import."""
    manifest = find_manifest(directory.manifest_path)
    return manifest is not None and "imported" in manifest.key


def own_command(directory: RunDirectory) -> str:
    """Return the command that goes on with the results in a run directory which goes back to an import."""
    info, path = directory.load_run_info(), str(directory.path)
    if source := info.get("reclustered_from"):
        return shlex.join(["ictc", "recluster", "--source_dir", source, "--output_dir", path])
    if shards := info.get("merged_from"):
        return shlex.join(["ictc", "merge", *shards, "--output_dir", path])
    return shlex.join(["ictc", "import", info.get("imported_from", "SOURCE"), "--output_dir", path])
