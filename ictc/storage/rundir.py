"""The folder of one run: where everything lies, and which key each step's result carries.

    OUT/
    ├── *.json, results.parquet   exports (`ictc.stages.export`), made from the state below
    ├── run.json, prompts.json    how the run was made
    ├── logs/
    └── state/
        ├── manifest.jsonl
        └── <stage>/
            ├── current.json          key of the result in use
            └── <digest of a key>/    a journal, or definitions.json; forced.json while it is made anew on demand

Results of other keys stay beside the current one: going back to an earlier criterion or K costs nothing.
"""

from __future__ import annotations

import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import orjson

from ictc.records import ClusterDefinition, StageName
from ictc.storage.atomic import storage_errors, write_atomic
from ictc.storage.journal import Journal
from ictc.storage.json_files import write_json
from ictc.storage.keys import StageKey, digest

FORCED = "forced.json"
LABELS_READ = "labels_read.json"


class RunDirectory:
    """The folder of one run."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def manifest_path(self) -> Path:
        return self.path / "state" / "manifest.jsonl"

    def current_key(self, stage: StageName) -> dict[str, Any] | None:
        """Return the key of the result in use, None if the stage never started."""
        key: dict[str, Any] | None = self._load_json(self._stage_path(stage) / "current.json")
        return key

    def start_stage(self, stage: StageName, key: StageKey, *, afresh: bool = False) -> None:
        """Make `key` the stage's current one, before any of its work: a crash must not orphan results (D2).

        Args:
            afresh: throw away what the stage already has under this key, and remember that until `forget_forced`.
        """
        path = self.result_path(stage, key)
        with storage_errors(path):
            if afresh and path.is_dir():
                shutil.rmtree(path)
            path.mkdir(parents=True, exist_ok=True)
        if afresh:
            write_atomic(path / FORCED, b"{}")
        if self.current_key(stage) != key:
            write_atomic(self._stage_path(stage) / "current.json", orjson.dumps(key, option=orjson.OPT_INDENT_2))

    def was_forced(self, stage: StageName, key: StageKey) -> bool:
        """Whether the stage began afresh under this key, in a command that has not finished since."""
        return (self.result_path(stage, key) / FORCED).is_file()

    def forget_forced(self) -> None:
        """Note that the command has finished, so that forcing a stage once more begins afresh again."""
        for path in (self.path / "state").glob(f"*/*/{FORCED}"):
            with storage_errors(path):
                path.unlink()

    def open_journal(self, stage: StageName, key: StageKey, *, sync_records: int = 1000) -> Journal:
        """Open the journal of a map stage's result under `key`."""
        return Journal(self.result_path(stage, key), sync_records=sync_records)

    def load_definitions(self, key: StageKey) -> tuple[ClusterDefinition, ...] | None:
        """Return the definitions that Step 2b made under `key`, None if there are none."""
        rows = self._load_json(self.result_path("synthesize", key) / "definitions.json")
        return None if rows is None else tuple(ClusterDefinition(**row) for row in rows)

    def save_definitions(
        self, key: StageKey, definitions: tuple[ClusterDefinition, ...], *, labels_read: int | None = None
    ) -> None:
        """Keep the definitions of Step 2b.

        Args:
            labels_read: how many labels they were made from, None for all that the step may read.
        """
        path = self.result_path("synthesize", key)
        if labels_read is not None or (path / LABELS_READ).exists():
            write_atomic(path / LABELS_READ, orjson.dumps(labels_read))
        write_atomic(path / "definitions.json", orjson.dumps([asdict(definition) for definition in definitions]))

    def load_labels_read(self, key: StageKey) -> int | None:
        """Return how many labels the definitions under `key` were made from, None for all that the step may read."""
        count: int | None = self._load_json(self.result_path("synthesize", key) / LABELS_READ)
        return count

    def load_run_info(self) -> dict[str, Any]:
        """Return `run.json` of the run before, {} if there was none."""
        return self._load_json(self.path / "run.json") or {}

    def save_json(self, name: str, value: Any) -> None:
        """Write a small, readable JSON file into the folder."""
        write_json(self.path / name, value)

    def _stage_path(self, stage: StageName) -> Path:
        return self.path / "state" / stage

    def result_path(self, stage: StageName, key: StageKey) -> Path:
        """Return where the result of `stage` under `key` lies: a journal, or definitions.json."""
        return self._stage_path(stage) / digest(key)

    @staticmethod
    def _load_json(path: Path) -> Any:
        try:
            return orjson.loads(path.read_bytes())
        except (FileNotFoundError, orjson.JSONDecodeError):
            return None
