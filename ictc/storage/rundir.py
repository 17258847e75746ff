"""The folder of one run: where everything lies, and which key each step's result carries.

    OUT/
    ├── *.json, results.parquet   exports (`ictc.steps.exports`), made from the state below
    ├── run.json, prompts.json    how the run was made
    ├── logs/
    └── state/
        ├── manifest.jsonl
        └── <name of a step>/
            ├── current.json          key of the result in use, null once the step is not wanted any more
            └── <digest of a key>/    a journal or a reduced result; forced.json while it is made anew on demand

Results of other keys stay beside the current one: going back to an earlier criterion or K costs nothing.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import orjson

from ictc.storage.atomic import make_directory, storage_errors, write_atomic
from ictc.storage.journal import Journal
from ictc.storage.json_files import write_json
from ictc.storage.keys import StageKey, digest

FORCED = "forced.json"
RETIRED = b"null"


class RunDirectory:
    """The folder of one run."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def manifest_path(self) -> Path:
        return self.path / "state" / "manifest.jsonl"

    def current_key(self, stage: str) -> dict[str, Any] | None:
        """Return the key of the result in use, None if the stage never started."""
        key: dict[str, Any] | None = self._load_json(self._stage_path(stage) / "current.json")
        return key

    def start_stage(self, stage: str, key: StageKey, *, afresh: bool = False) -> None:
        """Make `key` the stage's current one, before any of its work: a crash must not orphan results (D2).

        Args:
            afresh: throw away what the stage already has under this key, and remember that until `forget_forced`.
        """
        path = self.result_path(stage, key)
        with storage_errors(path):
            if afresh and path.is_dir():
                shutil.rmtree(path)
            make_directory(path)
        if afresh:
            write_atomic(path / FORCED, b"{}")
        if self.current_key(stage) != key:
            write_atomic(self._stage_path(stage) / "current.json", orjson.dumps(key, option=orjson.OPT_INDENT_2))

    def forget_result(self, stage: str, key: StageKey) -> None:
        """Throw away what the stage has under a key that is not its current one, or will not be for long."""
        path = self.result_path(stage, key)
        with storage_errors(path):
            if path.is_dir():
                shutil.rmtree(path)

    def retire_stage(self, stage: str) -> None:
        """Use no result of the stage any more; what there is stays under its keys."""
        write_atomic(self._stage_path(stage) / "current.json", RETIRED)

    def is_retired(self, stage: str) -> bool:
        """Whether no result of the stage is in use though there may be some, and that is as it should be."""
        path = self._stage_path(stage) / "current.json"
        return path.is_file() and path.read_bytes() == RETIRED

    def was_forced(self, stage: str, key: StageKey) -> bool:
        """Whether the stage began afresh under this key, in a command that has not finished since."""
        return (self.result_path(stage, key) / FORCED).is_file()

    def forget_forced(self) -> None:
        """Note that the command has finished, so that forcing a stage once more begins afresh again."""
        for path in (self.path / "state").glob(f"*/*/{FORCED}"):
            with storage_errors(path):
                path.unlink()

    def open_journal(self, stage: str, key: StageKey, *, sync_records: int = 1000) -> Journal:
        """Open the journal of a map stage's result under `key`."""
        return Journal(self.result_path(stage, key), sync_records=sync_records)

    def load_run_info(self) -> dict[str, Any]:
        """Return `run.json` of the run before, {} if there was none."""
        return self._load_json(self.path / "run.json") or {}

    def save_json(self, name: str, value: Any) -> None:
        """Write a small, readable JSON file into the folder."""
        write_json(self.path / name, value)

    def _stage_path(self, stage: str) -> Path:
        return self.path / "state" / stage

    def result_path(self, stage: str, key: StageKey) -> Path:
        """Return where the result of `stage` under `key` lies: a journal, or what a reduce step keeps."""
        return self._stage_path(stage) / digest(key)

    @staticmethod
    def _load_json(path: Path) -> Any:
        try:
            return orjson.loads(path.read_bytes())
        except (FileNotFoundError, orjson.JSONDecodeError):
            return None
