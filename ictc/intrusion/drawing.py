"""Draws triples: two images of a cluster and one of another. Knows ids and which cluster each is in, nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from random import Random

SHUFFLED = "shuffled"
"""Level of the triples that are drawn of clusters of which only the sizes are kept."""


@dataclass(frozen=True, kw_only=True)
class Triple:
    """Three images in the order in which they are shown.

    Attributes:
        level: of the cluster, "" if there are none, `SHUFFLED` for the baseline.
        cluster: number of the cluster that two of them are of, among those of the level, from 0.
        number: among the triples of the cluster.
        odd: the place of the third one, from 0.
    """

    level: str
    cluster: int
    number: int
    images: tuple[str, ...]
    odd: int

    @property
    def name(self) -> str:
        """What the question is called."""
        return f"odd-{self.level}-{self.cluster}-{self.number}"


def iter_triples(cluster_of: Mapping[str, int], *, level: str, num_triples: int, seed: int) -> Iterator[Triple]:
    """Yield so many triples of each cluster with two images and another cluster beside it.

    Each is drawn anew from all pairs of the cluster and all images of others, so the share of those that are told is
    the probability of it, with the interval of a binomial one. The order of the images is nothing to what is drawn.
    """
    ids = sorted(cluster_of)
    members: dict[int, list[str]] = {}
    for image_id in ids:
        members.setdefault(cluster_of[image_id], []).append(image_id)
    for cluster, inside in sorted(members.items()):
        if len(inside) < 2 or len(inside) == len(ids):
            continue
        random = Random(f"{seed}/{level}/{cluster}")
        for number in range(num_triples):
            pair = random.sample(inside, 2)
            intruder = _draw_outside(ids, cluster_of, cluster, random)
            odd = random.randrange(3)
            pair.insert(odd, intruder)
            yield Triple(level=level, cluster=cluster, number=number, images=tuple(pair), odd=odd)


def _draw_outside(ids: Sequence[str], cluster_of: Mapping[str, int], cluster: int, random: Random) -> str:
    """Return an image of another cluster; of one that holds nearly all, after many draws from a list of the others."""
    for _ in range(64):
        image_id = random.choice(ids)
        if cluster_of[image_id] != cluster:
            return image_id
    return random.choice([image_id for image_id in ids if cluster_of[image_id] != cluster])


def shuffle_clusters(cluster_of: Mapping[str, int], *, seed: int) -> dict[str, int]:
    """Return clusters of the same sizes with other images, drawn at random."""
    ids = sorted(cluster_of)
    shuffled = [cluster_of[image_id] for image_id in ids]
    Random(f"{seed}/{SHUFFLED}").shuffle(shuffled)
    return dict(zip(ids, shuffled, strict=True))
