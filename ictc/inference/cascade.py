"""Which inputs to ask about, round by round, until the rest can be inferred with a certificate.

Rounds to learn from come first: what is the most uncertain is asked, and a classifier is fitted to all answers. Then an
audit: a sample of the images not asked, in an order drawn by hash for this audit alone, shows how often that classifier
is wrong. Its answers are not learned from as long as it stands. If it fails, they are, and the next classifier has an
audit of its own, with a share of delta that was set beforehand: they add up to delta, so that the certificate holds
whichever passes. Everything hangs on inputs, answers and the seed, and on nothing else.

Ordinary rounds go on for as long as they promise to save more of the audit than they cost; what is promised is the
classifier's own, calibrated by how often it was right about what was asked since. Where no audit is cheaper than asking
about the rest, the rest is asked.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from math import floor

import numpy as np

from ictc.inference.certificate import Audit, Prior
from ictc.inference.classifier import Calibration, Guesses, calibrate, guess
from ictc.inference.inputs import Floats, Inputs, Integers

NO_ANSWER = -1
"""Stands for the answer of an input that the model gave none to."""

LEAST_IN_A_ROUND = 4
MOST_AT_FIRST = 0.01
"""Of the inputs, most that are asked about before anything is known."""

GROWTH = 1 / 3
"""A round asks about so many of what was asked before: the rounds of 10^6 images are some thirty."""

NEXT_SHARE = 0.25
"""Of delta, what is left to all audits after each."""

HOPED = 1 / 8
"""Of the wrong images that are allowed, most that an audit is laid out for: with many more it costs too much anyway."""

MOST_REMEMBERED = 1000
"""How many of the latest answers tell how far the classifier can be trusted: it was another one before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Aim:
    """What is to be certified.

    Attributes:
        target: least share of images whose row is the model's own answer, in (0, 1).
        delta: probability with which that may be missed, in (0, 1).
    """

    target: float
    delta: float
    seed: int

    def allowed(self, num_images: int) -> int:
        """Return how many rows may be wrong; what is lost in a division of decimals is not."""
        return floor(num_images * (1 - self.target) + 1e-6)

    def share(self, audit: int) -> float:
        """Return the part of delta that the audit of this number, from 0, may spend."""
        return self.delta * (1 - NEXT_SHARE) * NEXT_SHARE**audit


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """What is certain of the rows.

    Attributes:
        images: all of them.
        asked: images whose row is the model's own answer, or that it gave none to.
        calls: distinct inputs that were asked about.
        audited: of the images asked, those that were drawn to judge a classifier, in all audits.
        disagreements: those of them that the classifier under audit was wrong about.
        audits: classifiers that were audited.
        bound: least share of rows that agree, with a probability of 1 - delta; 1 if all were asked.
    """

    images: int
    asked: int
    calls: int
    audited: int
    disagreements: int
    audits: int
    bound: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Inferred:
    """How each input is answered.

    Attributes:
        was_asked: shape (N,).
        answers: of each, inferred where it was not asked, shape (N,).
        probabilities: that an inferred answer is the model's, shape (N,); 1 where it was asked.
    """

    was_asked: np.ndarray
    answers: Integers
    probabilities: Floats
    certificate: Certificate


LEARNED = 0.03
"""Of the inputs, what classifiers learn from at least where labels tell most answers (`docs/benchmarks.md`)."""


def foresee(num_images: int, aim: Aim) -> float:
    """Return the share of images that will be asked about, in [0, 1], if labels tell most answers.

    An audit in which an eighth of the wrong images that are allowed turn up, and as many again to learn from.
    """
    allowed = aim.allowed(num_images)
    if not num_images or not allowed:
        return 1.0
    share = HOPED * allowed / num_images
    audit = Audit(total=num_images, allowed=allowed, delta=aim.share(0), prior=Prior.expecting(share))
    audited = audit.count_draws(share) / num_images
    return min(1.0, audited + max(audited, LEARNED))


Asking = Generator[Integers, Sequence[int], Inferred]
"""Yields rows to ask about, is sent their answers in this order, and returns how all inputs are answered."""


def ask_and_infer(inputs: Inputs, aim: Aim) -> Asking:
    """Return the rounds of a collection: what to ask about, and at last what the answers are.

    An input that the model gives no answer to counts as asked; where it was drawn for an audit, as one that the
    classifier is wrong about, since its row would say more than the model does.
    """
    return _Cascade(inputs=inputs, aim=aim).run()


@dataclass(kw_only=True, eq=False)
class _Cascade:
    inputs: Inputs
    aim: Aim
    audits: list[Audit] = field(default_factory=list)

    def __post_init__(self) -> None:
        num_inputs = len(self.inputs.keys)
        self.allowed = self.aim.allowed(self.inputs.num_images)
        self.was_asked = np.zeros(num_inputs, bool)
        self.answers = np.full(num_inputs, NO_ANSWER, np.int64)
        self.ranks = self._draw_ranks("learn")
        self.said: list[float] = []
        self.was_right: list[bool] = []

    def run(self) -> Asking:
        """Ask until the rest is certified, or nothing is left."""
        if len(self.was_asked):
            yield from self._ask(self._choose_first())
        while not self.was_asked.all():
            if not (self.answers >= 0).any():
                yield from self._ask(self._choose(np.zeros(len(self.ranks)), self._round_size()))
                continue
            guesses = guess(self.inputs.features, *self._examples())
            right = self._calibration().apply(guesses.probabilities)
            number, _ = self._plan(self._wrong(right))
            if number:
                yield from self._ask(self._choose(right, min(number, self._round_size())), guesses)
            elif (yield from self._audit(guesses, right)):
                return self._infer(guesses)
        return self._infer(None)

    # What to ask, to learn from.

    def _choose_first(self) -> Integers:
        """Return an input of each label, the most frequent ones first, of as many as half of the images have.

        Where labels are rare, words tell more than another label does, so there is a bound.
        """
        sizes = np.bincount(self.inputs.labels, self.inputs.counts)
        first = np.lexsort((self.ranks, self.inputs.labels))
        _, starts = np.unique(self.inputs.labels[first], return_index=True)
        of_label = first[starts]
        by_size = np.lexsort((self.ranks[of_label], -sizes))
        covered = np.cumsum(sizes[by_size])
        number = 1 + int(np.argmax(2 * covered >= self.inputs.num_images))
        most = max(LEAST_IN_A_ROUND, int(MOST_AT_FIRST * len(self.was_asked)))
        first_ones: Integers = of_label[by_size[: min(number, most)]]
        return first_ones

    def _choose(self, right: Floats, number: int) -> Integers:
        """Return the inputs that most wrong images hang on.

        What shares a label shares its fate for the most part, so that the second one of a label in a round tells less.
        """
        left = np.flatnonzero(~self.was_asked)
        wrong = self._wrong(right)[left]
        labels = self.inputs.labels[left]
        of_label = np.bincount(labels, wrong)
        order = np.lexsort((self.ranks[left], -wrong, labels))
        ordered = labels[order]
        starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
        place = np.arange(len(order)) - np.repeat(starts, np.diff(np.r_[starts, len(order)]))
        gain = np.sqrt(wrong[order] * of_label[ordered]) / (1 + place)
        best = np.lexsort((self.ranks[left][order], -gain))[:number]
        chosen: Integers = left[order[best]]
        return chosen

    def _round_size(self) -> int:
        return max(LEAST_IN_A_ROUND, int(GROWTH * self.was_asked.sum()))

    def _wrong(self, right: Floats) -> Floats:
        """Return how many images of each input are expected to be wrong, shape (N,); 0 where it was asked."""
        return np.where(self.was_asked, 0, self.inputs.counts * (1 - right))

    def _plan(self, wrong: Floats) -> tuple[int, float]:
        """Return how many more inputs to ask about before the next audit, 0 for none, and the calls of both together.

        Args:
            wrong: how many images of each input are expected to be wrong, shape (N,).
        """
        left = np.flatnonzero(~self.was_asked)
        order = left[np.argsort(-wrong[left], kind="stable")]
        wrong_after = np.r_[wrong[order][::-1].cumsum()[::-1], 0]
        images_after = np.r_[self.inputs.counts[order][::-1].cumsum()[::-1], 0]
        halves = {len(left) >> power for power in range(len(left).bit_length())}
        numbers = [0, *sorted(number for number in halves if number >= min(LEAST_IN_A_ROUND, len(left)))]
        costs = [
            number
            + self._count_calls(
                images=int(images_after[number]), wrong=float(wrong_after[number]), num_inputs=len(left) - number
            )
            for number in numbers
        ]
        best = int(np.argmin(costs))
        return numbers[best], costs[best]

    def _count_calls(self, *, images: int, wrong: float, num_inputs: int) -> float:
        """Return how many calls an audit of images takes, so many of which are expected to be wrong."""
        if not images:
            return 0
        return self._new_audit(images, wrong).count_draws(wrong / images) * num_inputs / images

    def _new_audit(self, images: int, wrong: float) -> Audit:
        """Return an audit of images, so many of which are expected to be wrong."""
        share = min(wrong, self.allowed * HOPED) / images
        return Audit(
            total=images,
            allowed=self.allowed,
            delta=self.aim.share(len(self.audits)),
            prior=Prior.expecting(share),
        )

    def _ask(self, rows: Integers, guesses: Guesses | None = None) -> Generator[Integers, Sequence[int], None]:
        answers = np.asarray((yield rows), np.int64)
        if guesses is not None:
            self._remember(guesses, rows, answers)
        self.was_asked[rows], self.answers[rows] = True, answers

    def _examples(self) -> tuple[Integers, Integers]:
        rows = np.flatnonzero(self.answers >= 0)
        return rows, self.answers[rows]

    def _remember(self, guesses: Guesses, rows: Integers, answers: Integers) -> None:
        """Note what a classifier said of inputs that it had not seen, and whether it was right."""
        self.said += guesses.probabilities[rows].tolist()
        self.was_right += (guesses.answers[rows] == answers).tolist()

    def _calibration(self) -> Calibration:
        return calibrate(self.said[-MOST_REMEMBERED:], self.was_right[-MOST_REMEMBERED:])

    # The audit.

    def _audit(self, guesses: Guesses, right: Floats) -> Generator[Integers, Sequence[int], bool]:
        """Return whether a sample shows that these guesses may stand."""
        order = self._draw_images(np.flatnonzero(~self.was_asked))
        audit = self._new_audit(len(order), float(self._wrong(right).sum()))
        self.audits.append(audit)
        while (needed := audit.count_draws()) > audit.drawn:
            if audit.drawn and self._gives_up(audit, right, needed=needed):
                return False
            rows = order[audit.drawn : min(needed, audit.next_look())]
            new = np.unique(rows[~self.was_asked[rows]])
            if len(new):
                yield from self._ask(new, guesses)
            audit.note(drawn=len(rows), wrong=int((guesses.answers[rows] != self.answers[rows]).sum()))
        return True

    def _gives_up(self, audit: Audit, right: Floats, *, needed: int) -> bool:
        """Whether learning from what was drawn and auditing another classifier promises fewer calls than to go on."""
        wrong = self._wrong(right)
        images = self.inputs.counts[~self.was_asked].sum()
        to_go = (needed - audit.drawn) * (~self.was_asked).sum() / max(images, 1)
        _, instead = self._plan(wrong * (audit.expected * images / max(wrong.sum(), 1e-9)))
        return bool(instead < to_go)

    def _draw_images(self, rows: Integers) -> Integers:
        """Return rows, each as often as images have its input, in an order drawn for this audit."""
        counts = self.inputs.counts[rows]
        images = np.repeat(rows, counts)
        number = np.arange(len(images)) - np.repeat(np.cumsum(counts) - counts, counts)
        name = f"audit {len(self.audits)}"
        pairs = zip(images.tolist(), number.tolist(), strict=True)
        drawn = (_draw(f"{self.aim.seed}/{name}/{self.inputs.keys[row]}/{each}") for row, each in pairs)
        return images[np.argsort(np.fromiter(drawn, np.uint64, len(images)), kind="stable")]

    def _draw_ranks(self, name: str) -> np.ndarray:
        drawn = (_draw(f"{self.aim.seed}/{name}/{key}") for key in self.inputs.keys)
        return np.fromiter(drawn, np.uint64, len(self.inputs.keys))

    # What came of it.

    def _infer(self, guesses: Guesses | None) -> Inferred:
        answers, probabilities = self.answers.copy(), np.ones(len(self.answers))
        if guesses is not None:
            rest = ~self.was_asked
            answers[rest] = guesses.answers[rest]
            probabilities[rest] = self._calibration().apply(guesses.probabilities[rest])
        return Inferred(
            was_asked=self.was_asked,
            answers=answers,
            probabilities=probabilities,
            certificate=self._certify(0 if guesses is None else self.audits[-1].bound_left()),
        )

    def _certify(self, most_wrong: int) -> Certificate:
        num_images = self.inputs.num_images
        return Certificate(
            images=num_images,
            asked=int(self.inputs.counts[self.was_asked].sum()),
            calls=int(self.was_asked.sum()),
            audited=sum(audit.drawn for audit in self.audits),
            disagreements=sum(audit.found for audit in self.audits),
            audits=len(self.audits),
            bound=1 - most_wrong / num_images if num_images else 1.0,
        )


def _draw(name: str) -> int:
    """Return 64 bits that are as good as random, the same for the same name."""
    return int.from_bytes(blake2b(name.encode(), digest_size=8).digest(), "big")
