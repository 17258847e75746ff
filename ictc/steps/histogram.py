"""What Step 2b reads: the labels by frequency, spellings and plurals of one label merged."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from hashlib import blake2b

from ictc.tracks.spelling import singular_form

Counted = tuple[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelHistogram:
    """The labels that Step 2b reads.

    Attributes:
        labels: all or the most frequent labels with their counts, largest first, other spellings added in.
        num_images: images with a label.
        num_distinct: distinct labels before anything was merged.
    """

    labels: tuple[Counted, ...]
    num_images: int
    num_distinct: int

    @property
    def covered_images(self) -> int:
        """Images whose label, or another spelling of it, is among `labels`."""
        return sum(count for _, count in self.labels)

    @property
    def coverage(self) -> float:
        """Share of the labelled images that `labels` stand for, in [0, 1]."""
        return self.covered_images / self.num_images if self.num_images else 0.0

    def head(self, num_labels: int | None) -> LabelHistogram:
        """Return the histogram with the first `num_labels` of its labels, None for all."""
        return replace(self, labels=self.labels[:num_labels])

    def resample(self, *, draw: str) -> LabelHistogram:
        """Return a bootstrap sample of as many images (Efron, 1979): another for each `draw`, whatever the order.

        Rare labels come in and go out by chance, so that several samples speak for more labels than one.
        """
        from numpy.random import default_rng

        names = sorted(label for label, _ in self.labels)
        counts = dict(self.labels)
        seed = int.from_bytes(blake2b(draw.encode(), digest_size=16).digest())
        drawn = default_rng(seed).multinomial(
            self.covered_images, [counts[name] / self.covered_images for name in names]
        )
        pairs = [(name, int(count)) for name, count in zip(names, drawn, strict=True) if count]
        return replace(self, labels=tuple(_by_frequency(pairs, 0)))


def build_histogram(counts: Mapping[str, int], *, seed: int = 0) -> LabelHistogram:
    """Merge what is one label, each under its most frequent spelling.

    Of equally frequent ones a digest decides, so that those which are cut off are a sample, not the end of an alphabet.

    Args:
        seed: which sample.
    """
    spellings: defaultdict[str, list[Counted]] = defaultdict(list)
    for label, count in counts.items():
        spellings[singular_form(label)].append((label, count))
    merged = [_merge(same, seed) for same in spellings.values()]
    return LabelHistogram(
        labels=tuple(_by_frequency(merged, seed)), num_images=sum(counts.values()), num_distinct=len(counts)
    )


def _merge(spellings: Iterable[Counted], seed: int) -> Counted:
    ordered = _by_frequency(spellings, seed)
    return ordered[0][0], sum(count for _, count in ordered)


def _by_frequency(labels: Iterable[Counted], seed: int) -> list[Counted]:
    return sorted(labels, key=lambda counted: (-counted[1], _draw(counted[0], seed)))


def _draw(label: str, seed: int) -> bytes:
    """Return the place of a label among equally frequent ones."""
    return blake2b(f"{seed}/{label}".encode(), digest_size=16).digest()
