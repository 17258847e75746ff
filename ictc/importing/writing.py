"""Makes a run directory of a source: its manifest, and journals of Steps 1 and 2a under keys that say what it was.

A source is read once to check it, before anything is written, and again to write what differs from what is there. The
version of each image in the manifest is a digest of what was imported of it, and so is the input of its record.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import orjson

from ictc.errors import InputError
from ictc.importing.items import Item, Source
from ictc.importing.paths import ELSEWHERE
from ictc.records import ImageRecord
from ictc.records import Source as Content
from ictc.runs.stopping import raise_if_stopped
from ictc.stages.outcome import Origin, Outcome, Status, needs_work, rejected, to_record
from ictc.steps.caption import CAPTION
from ictc.steps.exports import mark_stale
from ictc.steps.label import LABEL
from ictc.storage.journal import Journal, outcome_fingerprint
from ictc.storage.keys import StageKey, digest
from ictc.storage.manifest import Manifest, image_fields, load_manifest, save_manifest
from ictc.storage.rundir import RunDirectory

ITEMS_BETWEEN_LOOKS = 1000
MAX_NAMED = 3
SYNC_RECORDS = 100_000
"""What a crash of the machine costs is read again."""

WITHDRAWN = rejected("its label is no longer in the source")
"""The outcome of Step 2a for a caption that once came with a label, until Step 2a makes one."""


@dataclass(frozen=True, kw_only=True)
class Checked:
    """What a source holds.

    Attributes:
        fingerprint: of all that was read.
        statuses: how many items leave Step 1 in which way.
        num_labels: how many of those that enter Step 2a have a label.
        odd_labels: how many have one that can't be used, and the ids of the first.
        num_elsewhere: how many images are files outside of the folder that was named.
    """

    fingerprint: str
    statuses: Counter[Status]
    num_labels: int
    odd_labels: tuple[int, list[str]]
    num_elsewhere: int

    @property
    def lacks_labels(self) -> bool:
        """Whether Step 2a has something to do."""
        return self.num_labels < self.statuses[Status.DONE]


class Fingerprint:
    """A digest of items, in their order."""

    def __init__(self) -> None:
        self._digest = sha256()

    def add(self, item: Item) -> None:
        """See one item."""
        self._digest.update(orjson.dumps([image_fields(item.image), item.label]))

    def __str__(self) -> str:
        return self._digest.hexdigest()


def check_source(source: Source, stop: asyncio.Event) -> Checked:
    """Read all of a source, writing nothing.

    Raises:
        InputError: something in it can't be understood, or nothing is left to be clustered.
        Interrupted: `stop` was set.
    """
    content = Fingerprint()
    statuses: Counter[Status] = Counter()
    num_labels = num_odd = num_elsewhere = 0
    odd_labels: list[str] = []
    for item in stoppable(source.iter_items(), stop):
        content.add(item)
        statuses[item.outcome.status] += 1
        num_labels += bool(item.label)
        num_elsewhere += item.image.path.startswith(ELSEWHERE)
        if item.has_odd_label:
            num_odd += 1
            odd_labels += [item.image.image_id] if num_odd <= MAX_NAMED else []
    if not statuses[Status.DONE]:
        ways = ", ".join(f"{count:,} {status.value.replace('_', ' ')}" for status, count in sorted(statuses.items()))
        hint = "" if source.kind == "reference" else "; are these the right columns?"
        raise InputError(f"{source.location}: nothing is left to be clustered ({ways or 'it is empty'}){hint}")
    return Checked(
        fingerprint=str(content),
        statuses=statuses,
        num_labels=num_labels,
        odd_labels=(num_odd, odd_labels),
        num_elsewhere=num_elsewhere,
    )


def stoppable(items: Iterable[Item], stop: asyncio.Event) -> Iterator[Item]:
    """Yield the items until the user wants to stop.

    Raises:
        Interrupted: `stop` was set.
    """
    for number, item in enumerate(items):
        if number % ITEMS_BETWEEN_LOOKS == 0:
            raise_if_stopped(stop)
        yield item


def caption_key(source: Source) -> StageKey:
    """Return the key of what takes the place of Step 1."""
    return {"imported": source.kind}


def manifest_key(source: Source, checked: Checked) -> dict[str, Any]:
    """Return the key of the list of images: that of a collection which was never divided."""
    return {
        "imported": source.kind,
        "ads_dir": str(source.base),
        "fingerprint": checked.fingerprint,
        "units": checked.statuses.total(),
        "layout": "imported",
        "frames": "first",
        "start": 0,
        "end": None,
        "max_images": None,
    }


def write_captions(
    source: Source, checked: Checked, target: RunDirectory, stop: asyncio.Event
) -> tuple[Manifest, Journal]:
    """Make the manifest and the journal of Step 1 hold what a source holds, and return both; exports become stale.

    Raises:
        InputError: the source has changed since it was checked.
        StorageError: the disk refused.
        Interrupted: `stop` was set.
    """
    key = caption_key(source)
    held = load_manifest(target.manifest_path, manifest_key(source, checked))
    if held is None or target.current_key(CAPTION.name) != key:
        mark_stale(target.path, CAPTION)
    target.start_stage(CAPTION.name, key)
    journal = target.open_journal(CAPTION.name, key, sync_records=SYNC_RECORDS)
    try:
        if held is None or any(needs_work(journal, image.image_id, input_digest=str(image.version)) for image in held):
            images = _iter_recorded(source, checked, journal, stop)
            held = save_manifest(target.manifest_path, manifest_key(source, checked), images)
        journal.sync()
    except BaseException:
        journal.close()
        raise
    return held, journal


def _iter_recorded(source: Source, checked: Checked, journal: Journal, stop: asyncio.Event) -> Iterator[ImageRecord]:
    """Yield the images of a source, each once its record is up to date."""
    for item in iter_unchanged(source, checked, stop):
        image_id, version = item.image.image_id, str(item.image.version)
        if needs_work(journal, image_id, input_digest=version):
            journal.append(make_record(image_id, about=version, source=version, outcome=item.outcome))
        yield item.image


def iter_unchanged(source: Source, checked: Checked, stop: asyncio.Event) -> Iterator[Item]:
    """Yield the items of a source again.

    Raises:
        InputError: at the end: they are not those that were checked.
        Interrupted: `stop` was set.
    """
    content = Fingerprint()
    for item in stoppable(source.iter_items(), stop):
        content.add(item)
        yield item
    if str(content) != checked.fingerprint:
        raise InputError(changed(source))


def changed(source: Source) -> str:
    """Return what is said of a source that is another one each time it is read."""
    return f"{source.location} has changed while it was read; run the same command again"


def write_labels(
    source: Source, checked: Checked, target: RunDirectory, stop: asyncio.Event, *, journal: Journal, captions: Journal
) -> None:
    """Make the journal of Step 2a hold the labels of a source; those that a model made of other captions stay.

    Args:
        journal: of Step 2a.
        captions: of Step 1.

    Raises:
        InputError: the source has changed since its captions were written.
        StorageError: the disk refused.
        Interrupted: `stop` was set.
    """
    is_stale = False
    for item in iter_unchanged(source, checked, stop):
        if item.outcome.status is not Status.DONE:
            continue
        if needs_work(captions, item.image.image_id, input_digest=str(item.image.version)):
            raise InputError(changed(source))
        record = _next_label(item, journal, captions.fingerprint(item.image.image_id))
        if record is not None:
            if not is_stale:
                mark_stale(target.path, LABEL)
                is_stale = True
            journal.append(record)
    journal.sync()


def _next_label(item: Item, journal: Journal, caption: str) -> dict[str, Any] | None:
    """Return the record that a journal lacks of the label of an item, None if it lacks none.

    An imported label is told from one that a model made of the caption by its source.
    """
    image_id = item.image.image_id
    is_about = journal.is_about(image_id, input_digest=caption)
    if not item.label:
        was_imported = is_about and journal.source(image_id) != caption
        nothing = digest(WITHDRAWN.data)
        return make_record(image_id, about=nothing, source=nothing, outcome=WITHDRAWN) if was_imported else None
    source = digest({"imported": item.label})
    record = make_record(image_id, about=caption, source=source, outcome=Outcome(Status.DONE, {"label": item.label}))
    if is_about and journal.source(image_id) == source and _is_recorded(journal, record):
        return None
    return record


def _is_recorded(journal: Journal, record: dict[str, Any]) -> bool:
    return journal.fingerprint(record["id"]) == f"{outcome_fingerprint(record):016x}"


def make_record(image_id: str, *, about: str, source: str, outcome: Outcome) -> dict[str, Any]:
    """Return the journal record of what was imported.

    Args:
        about: digest of the input that it is about.
        source: digest of what it was made from.
    """
    return to_record(image_id, Origin(seen=about, content=Content(about), source=source), outcome)
