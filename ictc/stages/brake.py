"""Stops a step that goes wrong: too many of its images are rejected, or broken, or nothing comes of it at all.

While a step is under way its share is judged from some number of images on; at its end, whatever their number. Copies
of a rejected image count once: the model was asked once. Of what is broken, equal ones are a sign of trouble as well.
"""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from ictc.errors import StageError
from ictc.stages.outcome import RETRIED, Outcome, Status
from ictc.storage.journal import Journal

MIN_IMAGES_TO_JUDGE = 200
"""Before so many images, the share of bad ones says little of those to come."""

MIN_BAD = 2
"""One bad image fails no step that has others, however few."""

MAX_REASONS = 1000


@dataclass(frozen=True, kw_only=True)
class Tolerance:
    """What a user puts up with.

    Attributes:
        max_rejected, max_broken: largest shares of a step's images, in [0, 1].
        directory: the run's, for those who want to try again.
    """

    max_rejected: float = 1.0
    max_broken: float = 1.0
    directory: Path = Path()

    def flag(self, status: Status) -> tuple[str, float]:
        """Return the flag that bounds images of this status, and the bound."""
        if status is Status.BROKEN:
            return "--max_broken", self.max_broken
        return "--max_rejected", self.max_rejected


LENIENT = Tolerance()


@dataclass
class Tally:
    """How images left a step, and why the bad ones did."""

    statuses: Counter[Status] = field(default_factory=Counter)
    reasons: dict[Status, Counter[str]] = field(default_factory=lambda: {status: Counter() for status in RETRIED})

    def add(self, status: Status, reason: str = "") -> None:
        """Count an image."""
        self.statuses[status] += 1
        if status in RETRIED and (len(self.reasons[status]) < MAX_REASONS or reason in self.reasons[status]):
            self.reasons[status][reason] += 1

    @property
    def num_good(self) -> int:
        """How many images have something to show for."""
        return self.statuses[Status.DONE] + self.statuses[Status.NONE] + self.statuses[Status.UI_ONLY]

    def check(self, title: str, tolerance: Tolerance) -> None:
        """Raise StageError if there are more bad images than a user puts up with."""
        total = self.statuses.total()
        for status in sorted(RETRIED):
            (flag, most), num_bad = tolerance.flag(status), self.statuses[status]
            if num_bad > most * total and (num_bad >= MIN_BAD or not self.num_good):
                raise StageError(
                    f"{title}: {num_bad:,} of {total:,} images are {status}, more than {flag} {most} allows; "
                    f"{self._explain(status)}; what is done is kept. Once that is mended, "
                    f"{describe_retry(tolerance.directory)} tries them again; a higher {flag} goes on without them"
                )

    def check_any(self, title: str, tolerance: Tolerance) -> None:
        """Raise StageError if no image is left to be clustered, or has come to a cluster or to fit none."""
        if self.statuses[Status.DONE] or self.statuses[Status.NONE]:
            return
        ways = ", ".join(f"{count:,} {status.replace('_', ' ')}" for status, count in sorted(self.statuses.items()))
        bad = max(RETRIED, key=lambda status: self.statuses[status])
        cause = "give other images or another track"
        if self.statuses[bad]:
            retry = describe_retry(tolerance.directory)
            cause = f"{self._explain(bad)}; what is done is kept. Once that is mended, {retry} tries them again"
        raise StageError(f"{title}: no image is left to be clustered ({ways}); {cause}")

    def _explain(self, status: Status) -> str:
        ((reason, count),) = self.reasons[status].most_common(1)
        return f"most often ({count:,}): {reason}"


def describe_retry(directory: Path) -> str:
    """Return the command that tries bad images again."""
    return f"`ictc retry {shlex.quote(str(directory))}`"


@dataclass
class Brake:
    """Judges a step while it is under way."""

    title: str
    tolerance: Tolerance = LENIENT
    _tally: Tally = field(default_factory=Tally)

    def count(self, outcome: Outcome) -> None:
        """Count how an image left the step.

        Raises:
            StageError: too many images are bad.
        """
        self._tally.add(outcome.status, outcome.data.get("reason", ""))
        if outcome.status in RETRIED and self._tally.statuses.total() >= MIN_IMAGES_TO_JUDGE:
            self._tally.check(self.title, self.tolerance)


def tally(journal: Journal, image_ids: Iterable[str]) -> Tally:
    """Return how the images of a step left it; copies of a rejected one count once."""
    result = Tally()
    seen: set[str] = set()
    for image_id in image_ids:
        status = Status(journal.status(image_id) or Status.DONE)
        if status not in RETRIED:
            result.add(status)
            continue
        source = journal.source(image_id)
        if status is Status.BROKEN or source not in seen:
            record = journal.get(image_id)
            result.add(status, record["data"].get("reason", "") if record is not None else "")
        if status is Status.REJECTED:
            seen.add(source)
    return result
