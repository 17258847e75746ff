"""What the page tells of a run that people have coded a sample of: shares as the model has them, and corrected."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ictc.report.clusters import clip
from ictc.validation.result import find_validation
from ictc.validation.shares import correct_shares, count_cells, measure_accuracy


@dataclass(frozen=True, kw_only=True)
class CheckedShare:
    """The share of a cluster, or of what fits none, with the interval of the corrected one."""

    name: str
    raw: float
    corrected: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Checked:
    """What people say of a run.

    Attributes:
        problem: why it is not used, "" if it is; then there is nothing else.
        source: who said how much.
        accuracy: share of the images that they put where the model has them, with its interval.
        shares: the largest first.
    """

    problem: str = ""
    source: str = ""
    accuracy: tuple[float, ...] = ()
    shares: tuple[CheckedShare, ...] = ()


def find_checked(directory: Path) -> Checked | None:
    """Return what people say of the run in a directory, None if nobody was asked.

    Raises:
        StorageError: what is kept of it is damaged.
    """
    found = find_validation(directory)
    if found is None:
        return None
    if found.codings is None:
        return Checked(problem=found.problem)
    cells = count_cells(found.codings)
    shares = correct_shares(cells).sort_values("raw", ascending=False, kind="stable")
    columns = ["cluster", "raw", "corrected", "low", "high"]
    return Checked(
        source=found.source,
        accuracy=tuple(float(one[0]) for one in measure_accuracy(cells)),
        shares=tuple(
            CheckedShare(name=clip(name), raw=raw, corrected=corrected, low=low, high=high)
            for name, raw, corrected, low, high in shares[columns].itertuples(index=False)
        ),
    )
