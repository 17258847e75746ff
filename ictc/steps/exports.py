"""The files that users and notebooks read, made from what the steps have made: the same bytes for the same run.

No clock time, host or path of the run goes in here; those are in `run.json`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import orjson

from ictc.stages.publish import publish
from ictc.steps.base import Step, View
from ictc.steps.results import Results
from ictc.steps.table import STEPS, find_step, steps_from
from ictc.storage.atomic import storage_errors, write_atomic
from ictc.storage.entries import row_entry
from ictc.storage.forms import LINES

REJECTED_FILE = "rejected.jsonl"
STALE = "state/stale_exports.json"
"""There while some files are about an earlier state of the run; names the first step of those."""

STALE_LINKS = "state/stale_links.json"
"""There while links may lead to files that others of the same content have replaced."""


@dataclass(frozen=True)
class Exports:
    """Writes each step's files into `directory` once the step is complete."""

    directory: Path
    results: Results

    def are_complete(self, step: Step) -> bool:
        """Whether all files of a step are there, and about what is there now."""
        if step in stale_steps(self.directory) or (step.links_images and (self.directory / STALE_LINKS).exists()):
            return False
        return all((self.directory / file.name).is_file() for file in step.files_of(self.results))

    def remove_from(self, step: Step) -> None:
        """Delete what a step and those after it wrote, and what is stale already: the step is about to change.

        What completes the files of another step goes before the first of its own, without which they are that step's.

        Raises:
            StorageError: the disk refused.
        """
        names = file_names({*steps_from(step), *stale_steps(self.directory)})
        if step.completes is not None and not self._has_own(step):
            names = [name for name in names if name not in file_names({step.completes})]
        for name in reversed(names):
            with storage_errors(self.directory / name):
                (self.directory / name).unlink(missing_ok=True)
        save_stale(self.directory, ())

    def write(self, step: Step, view: View) -> None:
        """Write the files of a step, note that they are about what is there now, and publish them.

        Raises:
            StorageError: the disk refused.
        """
        self.write_rejections()
        for later in STEPS:  # what completed the files that are written anew has to do so again
            if later.completes is step and self._has_own(later):
                mark_stale(self.directory, later)
        step.export(self.directory, view)
        stale = stale_steps(self.directory)
        if stale[:1] == (step,):  # a step that left no files has none that are stale
            save_stale(self.directory, stale[1:] if any(map(self._has_own, stale[1:])) else ())
        if step.links_images:
            with storage_errors(self.directory / STALE_LINKS):
                (self.directory / STALE_LINKS).unlink(missing_ok=True)
        publish(self.directory)

    def _has_own(self, step: Step) -> bool:
        """Whether any file is there that this step alone writes."""
        return any((self.directory / name).exists() for name in step.own_files)

    def write_rejections(self) -> None:
        """Write what each step gave up on so far."""
        entries = (row_entry(asdict(one)) for one in self.results.iter_rejections())
        LINES.write(self.directory / REJECTED_FILE, entries)


def file_names(steps: set[Step]) -> list[str]:
    """Return the names of what steps export."""
    return [file.name for step in STEPS if step in steps for file in step.files]


def mark_stale(directory: Path, step: Step) -> None:
    """Note that what a step and those after it wrote, if anything, is about something that is going to be replaced.

    The files stay, as what replaces them may never come about, and are never taken for current.

    Raises:
        StorageError: the disk refused.
    """
    steps = max(steps_from(step), stale_steps(directory), key=len)
    if any((directory / name).exists() for name in file_names(set(steps))):
        save_stale(directory, steps)


def mark_links(directory: Path) -> None:
    """Note that files of the collection may have been replaced, if only by others of the same content.

    Raises:
        StorageError: the disk refused.
    """
    if any((directory / file.name).exists() for step in STEPS if step.links_images for file in step.files):
        write_atomic(directory / STALE_LINKS, b"{}")


def stale_steps(directory: Path) -> tuple[Step, ...]:
    """Return the steps whose files in `directory` are about an earlier state of the run: one and all after it."""
    try:
        return steps_from(find_step(orjson.loads((directory / STALE).read_bytes())["from"]))
    except FileNotFoundError:
        return ()
    except (ValueError, LookupError, TypeError):  # damaged
        return tuple(STEPS)


def save_stale(directory: Path, steps: Sequence[Step]) -> None:
    """Remember the result of `stale_steps`.

    Raises:
        StorageError: the disk refused.
    """
    path = directory / STALE
    if steps:
        write_atomic(path, orjson.dumps({"from": steps[0].name}))
        return
    with storage_errors(path):
        path.unlink(missing_ok=True)
