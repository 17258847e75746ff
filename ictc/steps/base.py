"""What a step is: a map step makes something of each image, a reduce step one thing of the whole collection.

A step says how it is called, which steps it needs, what its result depends on (its key), how the result is made, into
which files it is exported, and what proves it. `ictc.stages` does the work of map steps, `ictc.executors` runs both.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Generic

from ictc.config.engine import Role
from ictc.engines.base import Message
from ictc.records import NONE_GIVEN, GivenClusters
from ictc.stages.inferring import PartlyAsked
from ictc.stages.lane import Lane
from ictc.stages.outcome import Status
from ictc.stages.work import ImageReader, ItemT, MapStage, ReduceTask, ResultT, WorkItem
from ictc.steps.config import StepConfig
from ictc.steps.finding import Finding
from ictc.steps.results import Mapped, Reduced, Results
from ictc.storage.entries import Entry
from ictc.storage.forms import Form
from ictc.storage.keys import StageKey
from ictc.tracks.context import ContextNeed


@dataclass(frozen=True, kw_only=True)
class View:
    """What files are exported from, and proved by.

    Attributes:
        keys: of the results in use, by step.
        said: what the run says of itself, for people.
    """

    results: Results
    keys: Mapping[Step, StageKey]
    said: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class ExportFile(ABC):
    """A file that users and notebooks read.

    Attributes:
        entries: yields what the file says.
        is_wanted: whether there is something to say; there is no file else.
    """

    name: str
    entries: Callable[[View], Iterable[Entry]]
    is_wanted: Callable[[Results], bool] = lambda results: True

    @abstractmethod
    def write(self, directory: Path, view: View) -> None:
        """Write the file.

        Raises:
            StorageError: the disk refused.
        """

    @abstractmethod
    def read(self, directory: Path) -> Iterator[Entry]:
        """Yield what is written there.

        Raises:
            ValueError, OSError: the file is damaged.
        """


@dataclass(frozen=True, kw_only=True)
class JsonFile(ExportFile):
    """A file of JSON.

    Attributes:
        form: how entries lie in it.
    """

    form: Form

    def write(self, directory: Path, view: View) -> None:
        self.form.write(directory / self.name, self.entries(view))

    def read(self, directory: Path) -> Iterator[Entry]:
        return self.form.read(directory / self.name)


@dataclass(frozen=True, kw_only=True)
class TypicalRequest:
    """A prompt and its answer.

    Attributes:
        count: how many such requests a step makes, of each image or of the whole collection.
    """

    prompt: Sequence[Message]
    answer: str
    count: int = 1


class Step(ABC):
    """A row of the table of steps.

    Attributes:
        name: of its folder below `state/`, and in records and logs.
        number: what `--steps` calls it.
        title: for people.
        about: what it does, in a few words for the report.
        needs: the steps whose results it reads.
        role: which model it asks.
        of_a_part: whether a part of a collection does it; else it is done once, for the whole.
        of_a_part_if_given: whether a part does it where its clusters are given.
        key_reads_results: whether its key says what earlier steps made, so that it is known only when they are done.
        files: what it exports.
        links_images: whether it exports links to the files of images, too, which may be replaced by others.
        settings_file: the one of them that says what the results were made by, "" if none does.
        flag: the setting that must be on for it to be run, "" if it always is.
        completes: a step of whose files it writes some again, with what it adds. In `files` they stand between files of
            its own: while the first is not there, they are that step's; once the last is, they are complete.
    """

    name: ClassVar[str]
    number: ClassVar[str]
    title: ClassVar[str]
    about: ClassVar[str]
    needs: ClassVar[tuple[Step, ...]] = ()
    role: ClassVar[Role] = "llm"
    of_a_part: ClassVar[bool] = False
    of_a_part_if_given: ClassVar[bool] = False
    key_reads_results: ClassVar[bool] = False
    files: ClassVar[tuple[ExportFile, ...]] = ()
    links_images: ClassVar[bool] = False
    settings_file: ClassVar[str] = ""
    flag: ClassVar[str] = ""
    completes: ClassVar[Step | None] = None

    def is_of_a_part(self, settings: object, *, given: bool) -> bool:
        """Whether a part of a collection does it under settings, of a command or of steps.

        Args:
            given: whether its clusters are given.
        """
        return self.of_a_part or (given and self.of_a_part_if_given)

    def is_wanted(self, settings: object) -> bool:
        """Whether settings, of a command or of steps, ask for it."""
        return not self.flag or bool(getattr(settings, self.flag))

    @property
    def own_files(self) -> tuple[str, ...]:
        """The names of the files that no other step writes."""
        shared = {file.name for file in self.completes.files} if self.completes else ()
        return tuple(file.name for file in self.files if file.name not in shared)

    @abstractmethod
    def key(self, config: StepConfig, results: Results) -> StageKey:
        """Return what its result depends on, besides the input of each image, which every record says itself."""

    def must_have(self, config: StepConfig) -> tuple[MapStep[Any], ...]:
        """Return the map steps that must have left an image done, for there is no sense in this one else."""
        return ()

    def explain_too_few(self, config: StepConfig, num_images: int) -> str:
        """Return why so few images can't do, and what to change; "" if they may."""
        return ""

    def count_context(self, config: StepConfig, num_labels: int) -> ContextNeed | None:
        """Return what one request takes of the context at most, None where the step makes do with any.

        Args:
            num_labels: most labels that there will be.
        """
        return None

    @abstractmethod
    def examples(self, config: StepConfig) -> Sequence[TypicalRequest]:
        """Return typical requests, one of each kind, to reckon what a run costs."""

    def describe_result(self, folder: Path) -> str:
        """Return what there is to say of a result that lies in a folder, whole or not, "" if nothing."""
        return ""

    def expected_share(self, config: StepConfig, num_images: int) -> float:
        """Return about what share of the images it will ask about, in (0, 1], as far as settings tell."""
        return 1.0

    def export(self, directory: Path, view: View) -> None:
        """Write its files.

        Raises:
            StorageError: the disk refused.
        """
        for file in self.files_of(view.results):
            file.write(directory, view)

    def files_of(self, results: Results) -> Sequence[ExportFile]:
        """Return those of its files that there are, of what it made."""
        return [file for file in self.files if file.is_wanted(results)]

    def check_exports(self, directory: Path, view: View) -> Iterator[Finding]:
        """Yield what is wrong with anything that it exports besides `files`."""
        yield from ()

    @abstractmethod
    def check_result(self, folder: Path, results: Results, key: StageKey) -> Iterator[Finding]:
        """Yield what is wrong with the result in use, beyond what holds for every step.

        Args:
            folder: where it lies.
        """


class MapStep(Step, Mapped, Generic[ItemT]):
    """A step that makes something of each image.

    Attributes:
        follows: the step that an image must have left as done to enter this one; None if every image enters.
        reads_images: whether it asks about pixels; such steps of several tracks go over the images together.
        of_input: what its records are about, for people.
        senseless: what is wrong with records that make no sense, for people.
    """

    follows: ClassVar[MapStep[Any] | None] = None
    reads_images: ClassVar[bool] = False
    of_input: ClassVar[str] = "another input"
    senseless: ClassVar[str] = "have a record without an outcome"

    @abstractmethod
    def iter_items(self, results: Results) -> Iterator[WorkItem[ItemT]]:
        """Yield every image that enters, in the order of the manifest."""

    @abstractmethod
    def stage(self, config: StepConfig, results: Results, reader: ImageReader | None) -> MapStage[ItemT]:
        """Return the work of this step in one run.

        Args:
            reader: None where nothing is asked, or nothing about pixels.
        """

    def partly_asked(self, key: StageKey, results: Results, stage: MapStage[ItemT] | None) -> PartlyAsked[ItemT] | None:
        """Return which images are asked about, where a result under this key has inferred ones; None if all are.

        Args:
            stage: asks about all; None where nothing is asked.
        """
        return None

    def count_entering(self, results: Results) -> int:
        """Return how many images enter."""
        if self.follows is None:
            return results.manifest.num_images
        return results.count_statuses(self.follows)[Status.DONE]

    def compares_looks(self, key: StageKey) -> bool:
        """Whether images get the outcome of one that looks like them."""
        return False

    def combine(self, lanes: Sequence[Lane[ItemT]]) -> Sequence[Lane[ItemT]]:
        """Return one lane for those of several tracks, if their requests can be made one."""
        return lanes

    def sense_of(self, results: Results) -> Callable[[Mapping[str, Any]], bool]:
        """Return a test for whether a record, of an image that was not rejected, says what the step says of images."""
        return lambda record: record["status"] in set(Status)

    def check_result(self, folder: Path, results: Results, key: StageKey) -> Iterator[Finding]:
        """Yield what is wrong with the result in use, beyond what holds for every map step."""
        yield from ()

    def remark(self, results: Results) -> str:
        """Return what there is to say of its outcomes once it is done, "" if nothing."""
        return ""

    def find_foreign(self, results: Results, key: StageKey) -> Iterable[str]:
        """Return the ids of images whose record, though it names their input, is about another."""
        return ()


class ReduceStep(Step, Reduced[ResultT]):
    """A step that makes one thing of the whole collection.

    Attributes:
        takes_given: whether clusters that are given stand in for its result, at no cost.
    """

    takes_given: ClassVar[bool] = False

    @abstractmethod
    def begin(self, config: StepConfig, results: Results) -> ReduceTask[ResultT] | ResultT:
        """Return what is to be done, or the result where no model is needed.

        Raises:
            StageError: it can't be made of what there is.
        """

    def given_for(self, key: StageKey, result: ResultT) -> GivenClusters:
        """Return the clusters that were given for a result under this key; none, if it was made from the collection."""
        return NONE_GIVEN

    @abstractmethod
    def size(self, key: StageKey) -> int:
        """Return of how many parts a result under this key consists, for progress."""

    @abstractmethod
    def count(self, result: ResultT | None) -> int:
        """Return how many of them there are."""

    @abstractmethod
    def load(self, folder: Path) -> ResultT | None:
        """Return the result that lies in a folder, None if there is none or it is damaged."""

    @abstractmethod
    def save(self, folder: Path, result: ResultT) -> None:
        """Keep a result in a folder.

        Raises:
            StorageError: the disk refused.
        """
