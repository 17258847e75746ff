"""Step 3 with `--assign_target`: some images are asked about, in rounds, and the others inferred, with a certificate.

The answers lie in the journal that the step has without a target, as far as they go, so that whatever was asked once is
asked no more, whichever target is wanted. The result, under a key of its own, has a record of every image: of those
asked, what the model said; of the others, what follows from that. Which images are asked follows from the answers
themselves, so that the rounds are gone through again wherever they are needed: by a run that goes on, and by
`ictc verify`.

A record names as its source what it hangs on besides the image itself: of an image that was asked, the collection,
which decides who is; of one inferred, all answers too. So a changed collection, or another answer, is noticed in
a pass over the digests.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ictc.records import LabeledCaption, Source
from ictc.stages.outcome import RETRIED, Origin, Outcome, Status, from_record, needs_work, to_record
from ictc.stages.survey import Survey
from ictc.stages.work import WorkItem
from ictc.steps.choosing import AssignStage
from ictc.steps.finding import name_some
from ictc.storage.atomic import make_directory
from ictc.storage.journal import Journal, outcome_fingerprint
from ictc.storage.json_files import read_json, write_json
from ictc.storage.keys import StageKey, digest

if TYPE_CHECKING:
    from ictc.inference.cascade import Aim, Certificate, Inferred
    from ictc.inference.inputs import Inputs, Integers, Question

CERTIFICATE_FILE = "certificate.json"
METHOD = 1
"""Another one where other images would be asked, or others inferred, for the same answers."""

TARGET, DELTA, SHARED = "assign_target", "assign_delta", "shared"
PROBABILITY_DIGITS = 4
TOLERANCE = 2e-4
"""Machines differ in the last digits of sums."""

Round = list[WorkItem[LabeledCaption]]


def target_key(*, target: float | None, delta: float, shares: bool) -> dict[str, Any]:
    """Return what a target adds to the key of the step: nothing where there is none.

    Args:
        shares: whether equal captions share an answer.
    """
    if target is None:
        return {}
    return {TARGET: target, DELTA: delta, **({} if shares else {SHARED: False})}


def load_certificate(folder: Path) -> dict[str, Any] | None:
    """Return what is certified of the result in a folder, None if there is none."""
    found = read_json(folder / CERTIFICATE_FILE)
    return found if isinstance(found, dict) else None


def describe_certificate(certificate: Mapping[str, Any]) -> str:
    """Return a certificate in a sentence."""
    images, asked = certificate["images"], certificate["asked"]
    if asked == images:
        return f"all {images:,} images were asked about: no certificate of {certificate['target']:.4g} costs less"
    audited, wrong = certificate["audited"], certificate["disagreements"]
    return (
        f"{floor_percent(certificate['bound'])} % or more of {images:,} images have the answer that the model gives "
        f"(with a probability of {1 - certificate['delta']:.4g}): {asked:,} were asked about, {audited:,} of these to "
        f"check, of which {wrong:,} differed, and {images - asked:,} were inferred"
    )


def floor_percent(share: float) -> str:
    """Return a share in per cent, rounded down, as a bound must be.

    >>> floor_percent(0.99019), floor_percent(0.9999)
    ('99.01', '99.99')
    """
    return f"{math.floor(share * 10_000 + 1e-6) / 100:.2f}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """What records of a result were made from, besides their image.

    Attributes:
        collection: digest of all that enters, and of what is aimed at.
        answers: digest of that and of what was said of the images asked.
    """

    collection: str
    answers: str = ""

    def of_asked(self, input_digest: str) -> str:
        """Return the source of a record of an image that was asked about."""
        return digest([self.collection, input_digest])

    def of_inferred(self, input_digest: str) -> str:
        """Return the source of a record of an image that was inferred."""
        return digest([self.answers, input_digest])

    def origin(self, input_digest: str, *, was_asked: bool) -> Origin:
        """Return what the record of an image says of where it comes from."""
        source = (self.of_asked if was_asked else self.of_inferred)(input_digest)
        return Origin(seen=input_digest, content=Source(input_digest), source=source)


@dataclass(frozen=True, kw_only=True, eq=False)
class Answered:
    """A collection at the end of its rounds.

    Attributes:
        rows: the input of each image, in the order of the manifest, shape (M,).
        answers: what was said of each input that was asked about, by row.
        inferred: of each input.
    """

    rows: Integers
    answers: Mapping[int, Outcome]
    inferred: Inferred
    sources: Sources

    @property
    def certificate(self) -> Certificate:
        """What is certain of the rows."""
        return self.inferred.certificate

    def outcome(self, row: int) -> Outcome:
        """Return what is said of an input."""
        if self.inferred.was_asked[row]:
            return self.answers[row]
        cluster_id = int(self.inferred.answers[row]) or None
        probability = round(float(self.inferred.probabilities[row]), PROBABILITY_DIGITS)
        status = Status.NONE if cluster_id is None else Status.DONE
        of_model = {"confidence": None, "runner_up": None}
        return Outcome(status, {"cluster_id": cluster_id, **of_model, "probability": probability})


@dataclass(kw_only=True)
class CertifiedAnswers:
    """Which images are asked about, and what the others are, under one key.

    Attributes:
        key: of the step, with a target.
        items: yields every image that enters.
        item_of: returns one of them by its id.
        stage: asks about images; None where nothing is asked.
    """

    key: StageKey
    items: Callable[[], Iterator[WorkItem[LabeledCaption]]]
    item_of: Callable[[str], WorkItem[LabeledCaption]]
    stage: AssignStage | None
    _answered: Answered | None = None

    @property
    def key_of_answers(self) -> StageKey:
        """Under which the answers lie."""
        return {name: value for name, value in self.key.items() if name not in (TARGET, DELTA, SHARED)}

    @property
    def aim(self) -> Aim:
        """What is to be certified."""
        from ictc.inference.cascade import Aim

        return Aim(target=self.key[TARGET], delta=self.key[DELTA], seed=self.key["seed"])

    # How much is done, from digests alone.

    def survey(self, journal: Journal | None, *, retry_rejected: bool = False) -> Survey:
        """Return how much of the result is there, made from this collection and these answers."""
        sources = None if journal is None else self._sources_of(journal)
        total = todo = stale = 0
        for item in self.items():
            total += 1
            if journal is None or item.image_id not in journal:
                todo += 1
            elif sources is None or not _is_made_from(journal, item, sources, retry_rejected=retry_rejected):
                todo += 1
                stale += 1
        return Survey(total=total, todo=todo, stale=stale)

    def _sources_of(self, journal: Journal) -> Sources | None:
        """Return the sources that the records of a result name now; None if its certificate is about others."""
        collection = Sources(collection=self._digest_collection())
        said: dict[str, str] = {}
        for item in self.items():
            about, image_id = item.input_digest, item.image_id
            is_asked = journal.is_about(image_id, input_digest=about)
            if is_asked and journal.source(image_id) == collection.of_asked(about):
                said[self._name(item)] = journal.fingerprint(image_id)
        sources = replace(collection, answers=_digest_answers(collection, said))
        held = load_certificate(journal.directory)
        return sources if held is not None and held.get("made_from") == sources.answers else None

    def _digest_collection(self) -> str:
        names = array("Q", sorted(int(self._name(item), 16) for item in self.items()))
        return digest([METHOD, asdict(self.aim), blake2b(names.tobytes(), digest_size=8).hexdigest()])

    def _name(self, item: WorkItem[LabeledCaption]) -> str:
        """Return what is asked about once: an input, or an image where equal ones are asked about each."""
        return item.input_digest if self.key.get(SHARED, True) else digest([item.input_digest, item.image_id])

    # The rounds.

    def ask(self, answers: Journal) -> Iterator[AssignStage]:
        """Yield what asks about the images of each round, whose answers must be in the journal before the next one."""
        assert self.stage is not None
        for round_ in self._rounds(lambda item: _outcome_in(answers, item.image_id)):
            yield replace(self.stage, items=partial(iter, round_))

    def _rounds(self, outcome_of: Callable[[WorkItem[LabeledCaption]], Outcome]) -> Iterator[Round]:
        """Yield the images of each round, and keep what comes of their outcomes."""
        from ictc.inference.cascade import ask_and_infer

        inputs, leaders, rows = self._read()
        asking = ask_and_infer(inputs, self.aim)
        answers: dict[int, Outcome] = {}
        try:
            asked = next(asking)
            while True:
                items = [self.item_of(leaders[row]) for row in asked.tolist()]
                yield items
                outcomes = [*map(outcome_of, items)]
                answers.update(zip(asked.tolist(), outcomes, strict=True))
                asked = asking.send([*map(_number_of, outcomes)])
        except StopIteration as ended:
            collection = Sources(collection=self._digest_collection())
            said = {inputs.keys[row]: fingerprint_of(outcome) for row, outcome in answers.items()}
            sources = replace(collection, answers=_digest_answers(collection, said))
            self._answered = Answered(rows=rows, answers=answers, inferred=ended.value, sources=sources)

    def _read(self) -> tuple[Inputs, list[str], Integers]:
        """Return the inputs, the first image of each, and the input of each image, shape (M,)."""
        import numpy as np

        from ictc.inference.inputs import Question, read_inputs

        leader_of: dict[str, str] = {}
        names = array("Q")

        def questions() -> Iterator[Question]:
            for item in self.items():
                name = self._name(item)
                names.append(int(name, 16))
                is_new = leader_of.setdefault(name, item.image_id) == item.image_id
                yield _question(name, item.load()) if is_new else Question(name, label="", text="")

        inputs = read_inputs(questions())
        in_order = np.array([int(key, 16) for key in inputs.keys], np.uint64)
        rows = np.searchsorted(in_order, np.frombuffer(names, np.uint64)) if names else np.zeros(0, np.int64)
        return inputs, [leader_of[key] for key in inputs.keys], rows

    # What comes of them.

    def conclude(self, journal: Journal) -> Iterator[Status]:
        """Write the certificate and the records that are not there yet, and yield how each of their images left.

        Raises:
            StorageError: the disk refused.
        """
        answered = self._answered
        assert answered is not None, "the rounds are not over"
        make_directory(journal.directory)
        write_json(journal.directory / CERTIFICATE_FILE, self._certificate(answered))
        for item, row in zip(self.items(), answered.rows.tolist(), strict=True):
            was_asked = bool(answered.inferred.was_asked[row])
            origin = answered.sources.origin(item.input_digest, was_asked=was_asked)
            outcome = answered.outcome(row)
            if not _is_recorded(journal, item, origin, outcome):
                journal.append(to_record(item.image_id, origin, outcome))
                yield outcome.status
        journal.sync()

    def _certificate(self, answered: Answered) -> dict[str, Any]:
        aim = {"target": self.aim.target, "delta": self.aim.delta}
        return {**aim, **asdict(answered.certificate), "made_from": answered.sources.answers}

    # Whether a result is what comes of them.

    def find_problems(self, journal: Journal) -> Iterator[str]:
        """Yield what is wrong with a result that has a record of each image: all is inferred once more."""
        if not all(journal.is_about(item.image_id, input_digest=item.input_digest) for item in self.items()):
            return  # which is told of in other words
        recorded = _Recorded(journal)
        for _ in self._rounds(recorded.outcome):
            pass
        answered = self._answered
        assert answered is not None
        if recorded.missing:
            yield f"{_count(recorded.missing)} have no answer of the model, and would be asked about; run again"
            return
        asked: list[str] = []
        inferred: list[str] = []
        for item, row in zip(self.items(), answered.rows.tolist(), strict=True):
            was_asked = bool(answered.inferred.was_asked[row])
            origin = answered.sources.origin(item.input_digest, was_asked=was_asked)
            if not _says_the_same(journal, item, origin, answered.outcome(row)):
                (asked if was_asked else inferred).append(item.image_id)
        if asked:
            yield f"{_count(asked)} do not say what the model said of their captions, or are of another collection"
        if inferred:
            yield f"{_count(inferred)} are not what follows from the answers"
        if load_certificate(journal.directory) != self._certificate(answered):
            yield f"{CERTIFICATE_FILE} is not what follows from the answers"


@dataclass(kw_only=False)
class _Recorded:
    """Answers from a result; notes which are not there."""

    journal: Journal
    missing: list[str] = field(default_factory=list)

    def outcome(self, item: WorkItem[LabeledCaption]) -> Outcome:
        record = self.journal.get(item.image_id)
        if record is None or "probability" in record["data"]:
            self.missing.append(item.image_id)
            return Outcome(Status.REJECTED)
        return from_record(record)


def _count(image_ids: Sequence[str]) -> str:
    return f"{len(image_ids):,} images ({name_some(image_ids)})"


def _question(name: str, item: LabeledCaption) -> Question:
    """Return the words of an image: those that a request shows."""
    from ictc.inference.inputs import Question

    caption, label = item
    said = (caption.category, caption.brand, caption.text, caption.summary, *caption.analysis.values())
    return Question(name, label=label, text=" ".join(said))


def _outcome_in(answers: Journal, image_id: str) -> Outcome:
    record = answers.get(image_id)
    assert record is not None, f"{image_id!r} was asked about and has no record"
    return from_record(record)


def _number_of(outcome: Outcome) -> int:
    """Return an answer as a number: that of a cluster, 0 if none fits."""
    from ictc.inference.cascade import NO_ANSWER

    if outcome.status in RETRIED:
        return NO_ANSWER
    return outcome.data["cluster_id"] or 0


def _digest_answers(sources: Sources, said: Mapping[str, str]) -> str:
    """Return a digest of answers by what was asked about, whatever their order."""
    return digest([sources.collection, sorted(said.items())])


def fingerprint_of(outcome: Outcome) -> str:
    """Return the fingerprint that an outcome has in a journal."""
    return f"{outcome_fingerprint({'status': outcome.status.value, 'data': outcome.data}):016x}"


def _is_made_from(journal: Journal, item: WorkItem[LabeledCaption], sources: Sources, *, retry_rejected: bool) -> bool:
    image_id, about = item.image_id, item.input_digest
    if needs_work(journal, image_id, input_digest=about, retry_rejected=retry_rejected):
        return False
    return journal.source(image_id) in (sources.of_asked(about), sources.of_inferred(about))


def _is_recorded(journal: Journal, item: WorkItem[LabeledCaption], origin: Origin, outcome: Outcome) -> bool:
    """Whether a result has this very record."""
    image_id = item.image_id
    return (
        image_id in journal
        and journal.is_about(image_id, input_digest=item.input_digest)
        and journal.source(image_id) == origin.source
        and journal.fingerprint(image_id) == fingerprint_of(outcome)
    )


def _says_the_same(journal: Journal, item: WorkItem[LabeledCaption], origin: Origin, outcome: Outcome) -> bool:
    """Whether a result has this record, but for the last digits of a probability."""
    if _is_recorded(journal, item, origin, outcome):
        return True
    record = journal.get(item.image_id)
    if record is None or journal.source(item.image_id) != origin.source or record["status"] != outcome.status:
        return False
    said, expected = ({**data} for data in (record["data"], outcome.data))
    return abs(said.pop("probability", 0) - expected.pop("probability", 0)) <= TOLERANCE and said == expected
