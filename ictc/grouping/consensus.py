"""One grouping from many proposals: what they mostly put together is together.

Proposals come from anywhere, each with numbers of its own: a model that was asked about a part of the labels, k-means
on a bag of them. Hundreds of thousands of labels are no matter: nothing is done pair by pair.

The support of a label is the item consensus of Monti et al. (2003, Machine Learning 52), weighted: of the weight of its
group, itself included, the share that a proposal puts together with it, on average over the proposals that place it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from ictc.errors import GroupingError
from ictc.grouping.apart import Pair, assign_apart
from ictc.grouping.base import (
    Floats,
    Grouping,
    Integers,
    OrderedLabels,
    number_by_appearance,
    number_by_weight,
    order_labels,
)
from ictc.grouping.profiles import Profiles, build_profiles

NUM_STARTS = 20
MAX_ROUNDS = 100
CORE = 5_000
"""So many units, the heaviest, decide where to start from: more of them would only take longer."""


def find_consensus(
    placements: npt.ArrayLike,
    *,
    labels: Sequence[str],
    weights: npt.ArrayLike,
    num_groups: int,
    together: Sequence[Pair] = (),
    apart: Sequence[Pair] = (),
) -> Grouping:
    """Return the grouping that agrees best with the proposals.

    It starts from each of the proposals that agree best with all others, moves labels while that helps (k-means on
    `ictc.grouping.profiles`), and takes the best end; of very many labels, the frequent ones decide where to start.
    There is no chance in it, and neither the order of labels nor of proposals, nor how these number their clusters,
    changes a byte.

    Args:
        placements: in which cluster of each of R ≥ 1 proposals each of N labels is, -1 where a proposal says nothing of
            it, shape (R, N). Numbers of different proposals have nothing to do with each other.
        labels: the N labels, all distinct.
        weights: how many images have each label, shape (N,).
        num_groups: exactly so many groups, each with a label; each label is a group of its own if there are fewer.
        together: pairs of labels, as indices, that share a group.
        apart: pairs of labels, as indices, that don't.

    Raises:
        GroupingError: labels, counts, placements or indices are wrong, or no grouping keeps what must be.
    """
    from threadpoolctl import threadpool_limits

    known = order_labels(labels, weights)
    proposals = order_proposals(placements, known)
    task = _build_task(known, labels=labels, num_groups=num_groups, together=together, apart=apart)
    profiles = build_profiles(proposals, units=task.units, weights=known.weights)
    with threadpool_limits(1):  # sums in one order
        units = _group_units(task, profiles, proposals)
    members = number_by_weight(units[task.units], known.weights)
    support = measure_support(members, proposals=proposals, weights=known.weights)
    return Grouping(members=known.to_given(members), support=known.to_given(support))


def _group_units(task: _Task, profiles: Profiles, proposals: Integers) -> Integers:
    """Return the group of each unit, shape (U,)."""
    core = _find_core(task, profiles)
    best = min((_improve(core.task, core.profiles, start) for start in _iter_starts(core, proposals)), key=_loss)
    if len(core.units) == profiles.num_units:
        return best.members
    members = np.full(profiles.num_units, -1)
    members[core.units] = best.members
    costs = profiles.costs(profiles.centers(members, task.num_groups))
    return _improve(task, profiles, assign_apart(costs, task.apart)).members


def order_proposals(placements: npt.ArrayLike, known: OrderedLabels) -> Integers:
    """Return proposals, shape (R, N), in an order and with numbers that do not depend on those they came with.

    Raises:
        GroupingError: they are no whole numbers from -1, or not as many as labels.
    """
    given = np.asarray(placements)
    if given.ndim != 2 or not given.shape[0] or given.shape[1] != len(known.order) or given.dtype.kind not in "iu":
        raise GroupingError(f"proposals need a whole number for each of the {len(known.order):,} labels")
    if given.min() < -1:
        raise GroupingError("a proposal numbers its clusters from 0, and says -1 where it places no label")
    rows = [number_by_appearance(row[known.order]) for row in given]
    rows.sort(key=_to_bytes)
    return np.stack(rows)


def _to_bytes(row: npt.NDArray[np.int64]) -> bytes:
    return row.astype(">i8").tobytes()


def measure_support(members: Integers, *, proposals: Integers, weights: Floats) -> Floats:
    """Return the support of each label for its group, shape (N,); 0 where no proposal places it."""
    total, times = np.zeros(len(members)), np.zeros(len(members))
    for row in proposals:
        placed = np.flatnonzero(row >= 0)
        both = members[placed] * (row.max() + 1) + row[placed]
        shared = np.bincount(both, weights[placed])[both]
        total[placed] += shared / np.bincount(members[placed], weights[placed])[members[placed]]
        times[placed] += 1
    support: Floats = np.minimum(total / np.maximum(times, 1), 1.0)
    return support


@dataclass(frozen=True, kw_only=True, eq=False)
class _Task:
    """What is asked of the units, in the order of texts.

    Attributes:
        units: the unit of each label, shape (N,).
        apart: pairs of units.
        num_groups: at most U.
    """

    units: Integers
    apart: tuple[Pair, ...]
    num_groups: int


@dataclass(frozen=True, kw_only=True, eq=False)
class _State:
    """A grouping of the units, shape (U,), and its sum of squared distances."""

    members: Integers
    loss: float


def _loss(state: _State) -> float:
    return state.loss


def _build_task(
    known: OrderedLabels,
    *,
    labels: Sequence[str],
    num_groups: int,
    together: Sequence[Pair],
    apart: Sequence[Pair],
) -> _Task:
    num_labels = len(known.order)
    if num_groups < 1:
        raise GroupingError(f"{num_groups} groups can't be made; ask for 1 or more")
    rank = np.empty(num_labels, np.int64)
    rank[known.order] = np.arange(num_labels)
    units = join_pairs(num_labels, [_ranked(pair, rank) for pair in together])
    num_units = int(units.max()) + 1
    if num_units < min(num_groups, num_labels):
        raise GroupingError(
            f"labels that must be together leave {num_units} of {num_groups} groups: ask for fewer groups"
        )
    for pair in apart:
        a, b = _ranked(pair, rank)
        if units[a] == units[b]:
            names = " and ".join(repr(labels[index]) for index in pair)
            raise GroupingError(f"{names} must be both together and apart: drop one of the two")
    return _Task(
        units=units,
        apart=tuple((int(units[a]), int(units[b])) for a, b in (_ranked(pair, rank) for pair in apart)),
        num_groups=min(num_groups, num_units),
    )


def _ranked(pair: Pair, rank: Integers) -> Pair:
    if not all(0 <= index < len(rank) for index in pair):
        raise GroupingError(f"the pair {pair} names a label that is not there; count the {len(rank):,} labels from 0")
    first, second = sorted(int(rank[index]) for index in pair)
    return first, second


def join_pairs(num_labels: int, pairs: Sequence[Pair]) -> Integers:
    """Return the unit of each label, shape (N,): what pairs join is one; numbered in the order of first labels."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    rows, columns = np.array(pairs, np.int64).reshape(-1, 2).T
    graph = coo_matrix((np.ones(len(rows)), (rows, columns)), shape=(num_labels, num_labels))
    return number_by_appearance(connected_components(graph, directed=False)[1])


@dataclass(frozen=True, kw_only=True, eq=False)
class _Core:
    """The units that decide between starts: the heaviest, and all that must be apart from others.

    Attributes:
        units: which of all units they are, shape (V,), in the order of these.
        firsts: a label of each, shape (V,).
        task: their own; its `units` is not used.
        profiles: their own.
    """

    units: Integers
    firsts: Integers
    task: _Task
    profiles: Profiles


def _find_core(task: _Task, profiles: Profiles) -> _Core:
    heavy = np.argsort(-profiles.weights, kind="stable")[: max(CORE, task.num_groups)]
    units = np.union1d(heavy, np.array(task.apart, np.int64).ravel())
    place = {unit: index for index, unit in enumerate(units.tolist())}
    apart = tuple((place[a], place[b]) for a, b in task.apart)
    return _Core(
        units=units,
        firsts=np.unique(task.units, return_index=True)[1][units],
        task=replace(task, apart=apart),
        profiles=profiles.take(units),
    )


def _iter_starts(core: _Core, proposals: Integers) -> Iterator[Integers]:
    """Yield groupings of the core to begin with: the proposals that agree best with all, as they fit.

    That one of the proposals is a good consensus, and a better beginning than chance: Goder and Filkov 2008, ALENEX.
    """
    rows = np.unique(proposals[:, core.firsts], axis=0)
    starts = [_fit_start(row, profiles=core.profiles, num_groups=core.task.num_groups) for row in rows]
    losses = [_improve(core.task, core.profiles, start, max_rounds=1).loss for start in starts]
    yield from (starts[index] for index in np.argsort(losses, kind="stable")[:NUM_STARTS])


def _fit_start(clusters: Integers, *, profiles: Profiles, num_groups: int) -> Integers:
    """Return the K heaviest of a proposal's clusters of the units, each of K groups with a unit, shape (U,)."""
    values, numbers = np.unique(clusters, return_inverse=True)
    order = np.lexsort((-np.bincount(numbers, profiles.weights), values < 0))
    kept = order[values[order] >= 0][:num_groups]
    number_of = np.full(len(values), -1)
    number_of[kept if len(kept) else order[:1]] = np.arange(max(len(kept), 1))
    members = number_of[numbers]
    costs = profiles.costs(profiles.centers(members, int(members.max()) + 1))
    return _fill(costs.argmin(axis=1), costs, num_groups)


def _improve(task: _Task, profiles: Profiles, members: Integers, max_rounds: int = MAX_ROUNDS) -> _State:
    """Move units to nearer centers until none moves."""
    for _ in range(max_rounds):
        costs = profiles.costs(profiles.centers(members, task.num_groups))
        moved = _fill(assign_apart(costs, task.apart), costs, task.num_groups)
        if (moved == members).all():
            break
        members = moved
    costs = profiles.costs(profiles.centers(members, task.num_groups))
    return _State(members=members, loss=float(costs[np.arange(len(members)), members].sum()))


def _fill(members: Integers, costs: Floats, num_groups: int) -> Integers:
    """Give each empty group the unit that fits worst where it is and is not alone there."""
    members = members.copy()
    own = costs[np.arange(len(members)), members]
    for group in np.setdiff1d(np.arange(num_groups), members):
        shared = np.bincount(members, minlength=num_groups)[members] > 1
        worst = int(np.where(shared, own, -np.inf).argmax())
        members[worst] = group
        own[worst] = 0.0
    return members
