"""Whether each exported file says what the results say: both are read side by side, and the first difference told."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator
from dataclasses import asdict
from pathlib import Path

from ictc.steps.base import Step, View
from ictc.steps.exports import REJECTED_FILE
from ictc.steps.finding import Finding
from ictc.storage.entries import Entry, first_difference, row_entry
from ictc.storage.forms import LINES
from ictc.storage.json_files import read_json
from ictc.storage.keys import digest


def check_files(
    directory: Path, step: Step, view: View, *, completed: Container[str] = frozenset()
) -> Iterator[Finding]:
    """Yield which files of a step are missing, or differ from results that are in order themselves.

    Args:
        view: of the results; what they say of themselves is taken from the step's own file.
        completed: names of files that are left to a later step, which has more to say in them.
    """
    wanted = step.files_of(view.results)
    for file in step.files:
        if file.name in completed:
            continue
        if file in wanted:
            yield from _compare(directory / file.name, file.read(directory), file.entries(view))
        elif (directory / file.name).exists():
            yield Finding("export", directory / file.name, "is there, and the result says nothing of the kind")
    yield from step.check_exports(directory, view)


def what_is_said(directory: Path, step: Step) -> dict[str, object]:
    """Return what a step's file says that the results were made by."""
    said = read_json(directory / step.settings_file) if step.settings_file else None
    return said if isinstance(said, dict) else {}


def check_rejections(directory: Path, view: View) -> Iterator[Finding]:
    """Yield whether the list of rejections is missing or differs."""
    expected = (row_entry(asdict(one)) for one in view.results.iter_rejections())
    path = directory / REJECTED_FILE
    yield from _compare(path, LINES.read(path), expected)


def _compare(path: Path, found: Iterable[Entry], expected: Iterable[Entry]) -> Iterator[Finding]:
    if not path.is_file():
        yield Finding("export", path, "is missing; run again to write it")
    elif (problem := first_difference(found, expected)) is not None:
        yield Finding("export", path, problem)


def check_orphans(directory: Path, step: Step) -> Iterator[Finding]:
    """Yield the files of a step that has no result in use."""
    for name in step.own_files:
        if (directory / name).exists():
            yield Finding("export", directory / name, "is there, but no journal that would prove it")


def check_prompts(directory: Path) -> Iterator[Finding]:
    """Yield whether the prompts that are kept are those that `run.json` vouches for."""
    hashes = (read_json(directory / "run.json") or {}).get("prompt_hashes", {})
    prompts = read_json(directory / "prompts.json") or {}
    for step, expected in hashes.items():
        if digest(prompts.get(step)) != expected:
            yield Finding("export", directory / "prompts.json", f"the prompt of {step} is not the one of run.json")
