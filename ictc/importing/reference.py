"""A directory of the reference implementation as a source: captions, and what its other files say of each image.

The captions are read one by one; of the other files memory holds what they say, packed, by id. Any of these may be
missing, and each may be an object by id or a list of objects that name theirs.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import KW_ONLY, asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import orjson

from ictc.dataset.catalog.json_stream import Entry, iter_entries
from ictc.dataset.catalog.naming import readable
from ictc.dataset.catalog.table import as_written
from ictc.dataset.catalog.table_rows import open_file, reading
from ictc.errors import InputError
from ictc.importing.captions import (
    CLUSTER_NAMES,
    ID_NAMES,
    LABEL_NAMES,
    PATH_NAMES,
    About,
    read_about,
    read_caption,
    read_label,
    read_reason,
    take_about,
    take_first,
)
from ictc.importing.items import Item, Kind, make_item
from ictc.importing.paths import ReferencePaths
from ictc.records import Caption, ImageRecord
from ictc.stages.outcome import Outcome, Status, rejected
from ictc.steps import assign, synthesize
from ictc.steps.caption import BROKEN_FILE, CAPTIONS_FILE, IMAGES_FILE, UI_ONLY_FILE, caption_data
from ictc.steps.label import LABELS_FILE
from ictc.tracks.base import Track
from ictc.tracks.load import BUILT_IN_TRACKS

RESULTS_LIST = "results"
SETTINGS = (synthesize.METADATA_FILE, assign.METADATA_FILE)
_TRACK_NUMBER = re.compile(r"track_?([0-9])")

T = TypeVar("T")


def is_reference(path: Path) -> bool:
    """Whether a directory holds captions of the reference implementation, or exports of a run without its state."""
    return (path / CAPTIONS_FILE).is_file()


@dataclass(frozen=True)
class Reference:
    """A directory of the reference implementation.

    Attributes:
        images_dir: where its images lie by now, None if that is not known.
    """

    location: Path
    _: KW_ONLY
    images_dir: Path | None = None

    @property
    def kind(self) -> Kind:
        return "reference"

    @cached_property
    def base(self) -> Path:
        return self._paths.base

    @cached_property
    def _paths(self) -> ReferencePaths:
        return ReferencePaths(self.location, images_dir=self.images_dir)

    @property
    def origin(self) -> Mapping[str, Any]:
        return {}

    def describe(self) -> str:
        there = [
            name
            for name in (LABELS_FILE, UI_ONLY_FILE, BROKEN_FILE, IMAGES_FILE, assign.RESULTS_FILE)
            if (self.location / name).is_file()
        ]
        return ", ".join([CAPTIONS_FILE, *there])

    @cached_property
    def criterion(self) -> str | None:
        """What its labels were made for, as it noted or the name of its folder says."""
        if self._noted_criterion is not None or self._named_track is None:
            return self._noted_criterion
        return self._named_track.criterion

    @cached_property
    def _noted_criterion(self) -> str | None:
        for name in SETTINGS:
            try:
                settings = orjson.loads((self.location / name).read_bytes())
            except (OSError, orjson.JSONDecodeError):
                continue
            if isinstance(settings, dict) and isinstance(settings.get("criterion"), str) and settings["criterion"]:
                return str(settings["criterion"])
        return None

    @cached_property
    def _named_track(self) -> Track | None:
        """The track that the name of its folder belongs to."""
        name = self.location.resolve().name.lower()
        number = _TRACK_NUMBER.search(name)
        return next(
            (one for one in BUILT_IN_TRACKS if name == one.directory or (number and number[1] == str(one.number))), None
        )

    @cached_property
    def track(self) -> str:
        """The track that its criterion or the name of its folder belongs to, else the first."""
        noted = next((one for one in BUILT_IN_TRACKS if one.criterion and one.criterion == self._noted_criterion), None)
        return (noted or self._named_track or BUILT_IN_TRACKS[0]).name

    def iter_items(self) -> Iterator[Item]:
        sides, paths = self._sides, self._paths
        number_of_id: dict[str, int] = {}
        for image_id, place, value in iter_by_id(self.location / CAPTIONS_FILE, number_of_id):
            with locating(self.location / CAPTIONS_FILE, place=place, image_id=image_id):
                outcome, known = read_caption(image_id, value)
            yield sides.make_item(image_id, sides.outcome(image_id, outcome), known, paths)
        for image_id in sides.iter_others(number_of_id.keys()):
            outcome = sides.outcome(image_id, rejected(f"{CAPTIONS_FILE} has no caption of it"))
            yield sides.make_item(image_id, outcome, About(), paths)
        sides.check_labels(number_of_id.keys())

    @cached_property
    def _sides(self) -> Sides:
        return Sides.load(self.location)


@dataclass
class Sides:
    """What the files beside the captions say, by id.

    Attributes:
        ui_only: data of a caption, as JSON.
        broken: reasons.
        about: an `About` each, as JSON, in the order of `image_mapping.json`.
        labels: None where there is an entry, and no label in it.
    """

    location: Path
    ui_only: dict[str, bytes] = field(default_factory=dict)
    broken: dict[str, str] = field(default_factory=dict)
    about: dict[str, bytes] = field(default_factory=dict)
    labels: dict[str, str | None] = field(default_factory=dict)
    label_file: str = LABELS_FILE

    @classmethod
    def load(cls, location: Path) -> Sides:
        """Read the files that are there.

        Raises:
            InputError: something in them can't be understood, or two contradict each other.
        """
        sides = cls(location)
        sides.ui_only = sides._read(UI_ONLY_FILE, lambda image_id, value: orjson.dumps(read_ui_only(image_id, value)))
        sides.broken = sides._read(BROKEN_FILE, lambda _, value: read_reason(value))
        sides.about = sides._read(IMAGES_FILE, lambda _, value: orjson.dumps(asdict(read_about(value))))
        sides.labels = sides._read(LABELS_FILE, lambda _, value: read_label(value))
        sides._read_results()
        if both := sides.ui_only.keys() & sides.broken.keys():
            raise InputError(
                f"{location}: {UI_ONLY_FILE} and {BROKEN_FILE} both have {min(both)!r}; remove it from one of them"
            )
        return sides

    def _read(self, name: str, read: Callable[[str, Any], T]) -> dict[str, T]:
        path = self.location / name
        found: dict[str, T] = {}
        if path.is_file():
            for image_id, place, value in iter_by_id(path, {}):
                with locating(path, place=place, image_id=image_id):
                    found[image_id] = read(image_id, value)
        return found

    def _read_results(self) -> None:
        """Read what only the results say: labels, if no other file has any, clusters, and what the mapping lacks."""
        path = self.location / assign.RESULTS_FILE
        if not path.is_file():
            return
        has_labels = (self.location / LABELS_FILE).is_file()
        for image_id, place, value in iter_by_id(path, {}, RESULTS_LIST):
            with locating(path, place=place, image_id=image_id):
                told, label = read_result(value)
                known = self._about(image_id).with_missing_from(told)
                if not has_labels and label is not None:
                    self.labels[image_id] = read_label(label)
            self.about[image_id] = orjson.dumps(asdict(known))
        self.label_file = LABELS_FILE if has_labels else assign.RESULTS_FILE

    def outcome(self, image_id: str, of_caption: Outcome) -> Outcome:
        """Return how an image leaves Step 1: what the lists of interface screens and broken images say of it counts."""
        if image_id in self.broken:
            return Outcome(Status.BROKEN, {"reason": self.broken[image_id]})
        if image_id not in self.ui_only:
            return of_caption
        listed = orjson.loads(self.ui_only[image_id])
        seen = of_caption.data if of_caption.status in (Status.DONE, Status.UI_ONLY) else {}
        said = {name: value for name, value in listed.items() if value}
        return Outcome(Status.UI_ONLY, {**listed, **seen, **said})

    def make_item(self, image_id: str, outcome: Outcome, known: About, paths: ReferencePaths) -> Item:
        """Return an item, with the label that it has."""
        told = self._about(image_id).with_missing_from(known)
        image = ImageRecord(
            image_id=image_id,
            path=paths.place(image_id, given=told.path, status=outcome.status),
            platform=told.platform,
            ad_format=told.ad_format,
            timestamp=told.timestamp,
            metadata=dict(told.metadata) or None,
        )
        return make_item(image, outcome, self.labels.get(image_id) if outcome.status is Status.DONE else None)

    def _about(self, image_id: str) -> About:
        packed = self.about.get(image_id)
        return About() if packed is None else About(**orjson.loads(packed))

    def iter_others(self, captioned: Collection[str]) -> Iterator[str]:
        """Yield the images that have no caption, each once."""
        listed: set[str] = set()
        for names in (self.about, self.ui_only, self.broken):
            for image_id in names:
                if image_id not in captioned and image_id not in listed:
                    listed.add(image_id)
                    yield image_id

    def check_labels(self, captioned: Collection[str]) -> None:
        """Refuse labels of images that no other file knows: the files are not of one run.

        Raises:
            InputError: naming the first.
        """
        for image_id in self.labels:
            if not any(image_id in known for known in (captioned, self.about, self.ui_only, self.broken)):
                raise InputError(
                    f"{self.location / self.label_file}: {image_id!r} has a label, and no other file knows it; remove "
                    f"it, or add its caption to {CAPTIONS_FILE}"
                )


def read_ui_only(image_id: str, value: Any) -> Mapping[str, Any]:
    """Return the data of the caption of an interface screen, from its entry: an object, a reason, or nothing."""
    if value is None or isinstance(value, bool | str):
        told = {"reason": value} if isinstance(value, str) and value else {}
        empty = Caption(image_id=image_id, category="", brand="", text="", summary="", ui_only=True, analysis=told)
        return caption_data(empty)
    outcome, _ = read_caption(image_id, {**value, "ui_only": True} if isinstance(value, dict) else value)
    return outcome.data


def read_result(value: Any) -> tuple[About, Any]:
    """Return what a row of the results says of its image, and its label; its cluster there becomes metadata.

    Raises:
        InputError: it is no object.
    """
    if not isinstance(value, dict):
        raise InputError("is no object; correct it")
    fields = dict(value)
    label, cluster = take_first(fields, LABEL_NAMES), take_first(fields, CLUSTER_NAMES)
    told = take_about(fields)
    metadata = {**told.metadata, **({"cluster": str(cluster)} if cluster is not None else {})}
    return replace(told, metadata=metadata), label


def iter_by_id(path: Path, number_of_id: dict[str, int], within: str = "") -> Iterator[tuple[str, str, Any]]:
    """Yield id, place and value of each entry of a file, of those that are images.

    Args:
        number_of_id: gets the number of each, from 1.
        within: name of an outer entry that may hold them.

    Raises:
        InputError: two have the same id, or one has none.
    """
    with reading(path), open_file(path) as file:
        entries = (entry for entry in iter_entries(file, within) if not within or entry.within or _may_be_image(entry))
        for number, entry in enumerate(entries, 1):
            place = f"entry {number:,} (line {entry.line:,})"
            image_id, value = _take_id(entry, place)
            if (first := number_of_id.setdefault(image_id, number)) != number:
                raise InputError(f"entry {first:,} and {place} both have the id {image_id!r}; remove one of them")
            yield image_id, place, value


def _may_be_image(entry: Entry) -> bool:
    names = (*ID_NAMES, *PATH_NAMES, *LABEL_NAMES, *CLUSTER_NAMES)
    return entry.name is None or (isinstance(entry.value, dict) and any(name in entry.value for name in names))


def _take_id(entry: Entry, place: str) -> tuple[str, Any]:
    """Return the id of an entry, and its value without it."""
    value = entry.value
    if entry.name is None and isinstance(value, str):  # a list of ids
        return _check_id(value, place=place), None
    told = (
        {name: as_written(value[name]) for name in (*ID_NAMES, "id") if name in value}
        if isinstance(value, dict)
        else {}
    )
    name = entry.name if entry.name is not None else next(filter(None, told.values()), "")
    if other := next((one for field, one in told.items() if field != "id" and one != name), None):
        raise InputError(f"{place}: {name!r} names itself {other!r}; correct one of them")
    if told:
        value = {field: inner for field, inner in value.items() if told.get(field) != name}
    return _check_id(name, place=place), value


def _check_id(image_id: str, *, place: str) -> str:
    if not image_id.strip():
        raise InputError(f"{place} has no id; give it one, as image_id or as its name")
    return readable(image_id)


@contextmanager
def locating(path: Path, *, place: str, image_id: str) -> Iterator[None]:
    """Say of an error in the block which entry it is about.

    Raises:
        InputError: the entry can't be understood.
    """
    try:
        yield
    except InputError as error:
        raise InputError(f"{path}: {place}: {image_id!r} {error}") from None
