"""One clustering from several with different K: what stays together, what dissolves, and how sure each image is.

Works on the groups of an `Ensemble`, never on pairs of images.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import permutations
from statistics import median_low

import numpy as np
import numpy.typing as npt
import pandas as pd

from ictc.analytics.association import contingency_table
from ictc.analytics.ensemble import Ensemble, pairwise_agreement
from ictc.analytics.stability import (
    DISSOLUTION_POINT,
    bootstrap_jaccard,
    coassignment_counts,
    jaccard,
    proportion_ambiguous,
)
from ictc.errors import ConfigError

NUM_STARTS = 20
FATES = ("stays", "splits", "merges", "dissolves")


@dataclass(frozen=True, eq=False)
class Consensus:
    """The consensus clusters.

    Attributes:
        cluster_of: consensus cluster of each group, counted from 1 by size, shape (T,).
        support_of: of each group, the probability that a run drawn at random puts an image of the group into one
            cluster with an image drawn at random from its consensus cluster, in [0, 1], shape (T,).
        clusters: a row a consensus cluster: its number and name, as in results, its size, share and mean support.
    """

    cluster_of: npt.NDArray[np.intp]
    support_of: npt.NDArray[np.float64]
    clusters: pd.DataFrame


@dataclass(frozen=True, eq=False, kw_only=True)
class Report:
    """Everything that is said about an ensemble.

    Attributes:
        agreement: a row a pair of runs, as from `pairwise_agreement`.
        fates: a row a cluster and other run, as from `cluster_fates`.
        pair_counts: pairs of images that share a cluster in exactly m runs, for m = 0, …, R.
        together: share of the pairs with a common cluster in some run that have one in all.
        pac: proportion of ambiguously clustered pairs.
    """

    consensus: Consensus
    agreement: pd.DataFrame
    fates: pd.DataFrame
    pair_counts: list[int]
    together: float
    pac: float


def make_report(ensemble: Ensemble, *, num_clusters: int | None = None, seed: int = 42) -> Report:
    """Return the consensus and how far the runs agree on it.

    Raises:
        ConfigError: as `find_consensus`.
    """
    pair_counts = coassignment_counts(ensemble.groups, ensemble.sizes)
    return Report(
        consensus=find_consensus(ensemble, num_clusters=num_clusters, seed=seed),
        agreement=pairwise_agreement(ensemble),
        fates=cluster_fates(ensemble, seed),
        pair_counts=pair_counts,
        together=pair_counts[-1] / max(sum(pair_counts[1:]), 1),
        pac=proportion_ambiguous(pair_counts),
    )


def find_consensus(ensemble: Ensemble, *, num_clusters: int | None = None, seed: int = 42) -> Consensus:
    """Combine the runs into one clustering in which images that share clusters in many runs are together.

    k-means on the clusters of all runs as indicator vectors, weighted by the size of the groups; every run has the same
    say, whatever its K. It maximizes the mean category utility of the consensus with the runs (Topchy, Jain and Punch
    2005, IEEE TPAMI 27).

    Args:
        num_clusters: of the consensus; the lower median of the runs' K if None.

    Raises:
        ConfigError: there are fewer groups than consensus clusters.
    """
    wanted = num_clusters or median_low(len(ensemble.groups[name].cat.categories) for name in ensemble.names)
    if wanted > len(ensemble.groups):
        raise ConfigError(
            f"--num_clusters {wanted}: the runs tell only {len(ensemble.groups)} groups of images apart; ask for fewer"
        )
    cluster_of = _number_by_size(_partition(ensemble, num_clusters=wanted, seed=seed), ensemble.sizes)
    support_of = _support(ensemble, cluster_of)
    return Consensus(cluster_of, support_of, _describe_clusters(ensemble, cluster_of, support_of))


def _partition(ensemble: Ensemble, *, num_clusters: int, seed: int) -> npt.NDArray[np.intp]:
    from sklearn.cluster import KMeans
    from threadpoolctl import threadpool_limits

    indicators = pd.get_dummies(ensemble.groups, dtype=np.float64).to_numpy()
    model = KMeans(num_clusters, n_init=NUM_STARTS, random_state=seed)
    with threadpool_limits(1):  # one order of sums, so the same clusters on every machine
        return np.asarray(model.fit_predict(indicators, sample_weight=ensemble.sizes))


def _number_by_size(labels: npt.NDArray[np.intp], sizes: npt.NDArray[np.int64]) -> npt.NDArray[np.intp]:
    """Return the labels renumbered from 1, the cluster with the most images first."""
    order = np.argsort(-np.bincount(labels, weights=sizes), kind="stable")
    return np.argsort(order)[labels] + 1


def _support(ensemble: Ensemble, cluster_of: npt.NDArray[np.intp]) -> npt.NDArray[np.float64]:
    support = np.zeros(len(cluster_of))
    for name in ensemble.names:
        table = contingency_table(cluster_of, ensemble.groups[name], ensemble.sizes).to_numpy()
        shares = table / table.sum(axis=1, keepdims=True)
        support += shares[cluster_of - 1, ensemble.groups[name].cat.codes]
    return support / len(ensemble.names)


def _describe_clusters(
    ensemble: Ensemble, cluster_of: npt.NDArray[np.intp], support_of: npt.NDArray[np.float64]
) -> pd.DataFrame:
    size = np.bincount(cluster_of, weights=ensemble.sizes)[1:].astype(np.int64)
    support = np.bincount(cluster_of, weights=ensemble.sizes * support_of)[1:] / size
    columns = {
        "cluster_id": np.arange(1, len(size) + 1),
        "cluster": _closest_names(ensemble, cluster_of),
        "size": size,
        "share": size / size.sum(),
        "support": support,
    }
    return pd.DataFrame(columns)


def _closest_names(ensemble: Ensemble, cluster_of: npt.NDArray[np.intp]) -> list[str]:
    """Return for each consensus cluster the name of the most similar cluster of a run; equal names are numbered."""
    tables = [contingency_table(cluster_of, ensemble.groups[name], ensemble.sizes) for name in ensemble.names]
    similarities = pd.concat([jaccard(table) for table in tables], axis=1)
    names = pd.Series([str(similarities.columns[best]) for best in similarities.to_numpy().argmax(axis=1)])
    earlier = names.groupby(names).cumcount()
    return [f"{name} ({count + 1})" if count else name for name, count in zip(names, earlier, strict=True)]


def cluster_fates(ensemble: Ensemble, seed: int = 42) -> pd.DataFrame:
    """Return what becomes of each cluster of each run in each other run.

    Returns:
        A row a cluster and other run. `best_match` is the other run's most similar cluster, `jaccard` the similarity
        with its bootstrap interval `low` to `high`. `together` is the probability that two images of the cluster share
        a cluster in the other run too; `unmixed` is the share of this cluster among those with whom an image of it
        shares a cluster there (BCubed recall and precision of the one cluster). `fate` is

        - stays: the best match is more than half the same (above Hennig's dissolution point),
        - splits: it is in pieces, but most of what is in those is its own,
        - merges: it is whole, but in a larger cluster,
        - dissolves: neither.
    """
    pairs = permutations(ensemble.names, 2)
    return pd.concat([_fates(ensemble, run=run, other=other, seed=seed) for run, other in pairs], ignore_index=True)


def _fates(ensemble: Ensemble, *, run: str, other: str, seed: int) -> pd.DataFrame:
    table = ensemble.table(run, other)
    table = table.loc[table.any(axis=1)]
    counts = table.to_numpy()
    shares = counts / counts.sum(axis=1, keepdims=True)
    similarity = bootstrap_jaccard(table, seed=seed)
    columns = {
        "run": run,
        "cluster": table.index.astype(str),
        "size": counts.sum(axis=1),
        "other_run": other,
        "best_match": similarity["best"].astype(str).to_numpy(),
        **{name: similarity[name].to_numpy() for name in ("jaccard", "low", "high")},
        "together": (shares**2).sum(axis=1),
        "unmixed": (shares * counts / np.maximum(counts.sum(axis=0), 1)).sum(axis=1),
    }
    conditions = [columns[name] > DISSOLUTION_POINT for name in ("jaccard", "unmixed", "together")]
    return pd.DataFrame({**columns, "fate": np.select(conditions, FATES[:3], default=FATES[3])})


def summarize_fates(fates: pd.DataFrame) -> pd.DataFrame:
    """Return a row a cluster: its mean similarity to its best matches, and in how many runs it met which fate."""
    keys = ["run", "cluster", "size"]
    groups = fates.groupby(keys, sort=False)
    met = {fate: groups["fate"].agg(lambda column, fate=fate: int((column == fate).sum())) for fate in FATES}
    return pd.DataFrame({"jaccard": groups["jaccard"].mean(), **met}).reset_index()


def assignment_table(ensemble: Ensemble, consensus: Consensus) -> pd.DataFrame:
    """Return the consensus cluster of each image with its support, and its cluster in each run, shape (N, 4 + R)."""
    columns = group_table(ensemble, consensus).drop(columns=["size", "share"])
    images = columns.iloc[ensemble.group_of].reset_index(drop=True)
    images.insert(0, "image_id", ensemble.image_ids)
    return images


def group_table(ensemble: Ensemble, consensus: Consensus) -> pd.DataFrame:
    """Return the groups of images that no run tells apart, in the order of the ensemble."""
    columns = {
        "cluster_id": consensus.cluster_of,
        "cluster": consensus.clusters["cluster"].to_numpy()[consensus.cluster_of - 1],
        "support": consensus.support_of,
        "size": ensemble.sizes,
        "share": ensemble.sizes / ensemble.num_images,
    }
    return pd.concat([pd.DataFrame(columns), ensemble.groups], axis=1)
