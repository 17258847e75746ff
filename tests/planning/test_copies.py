"""The share of distinct images is estimated truly, however large the collection, from few of its files."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ictc.dataset.fetching.files import ImageFile, LocalFiles
from ictc.planning.copies import MANY_OF_A_SIZE, Copies, estimate_copies
from ictc.records import ImageRecord

Sizes = Callable[[int], int]


class Collection:
    """Images whose files come into being when they are opened.

    Attributes:
        num_opened: how often one was.
    """

    concurrency = 0

    def __init__(self, folder: Path, contents: list[int], size_of: Sizes) -> None:
        self.contents = contents
        self.num_opened = 0
        self._folder = folder
        self._size_of = size_of

    def list_images(self, units: range) -> Iterator[ImageRecord]:
        return (ImageRecord(str(unit), path=str(unit), num_bytes=self._size_of(self.contents[unit])) for unit in units)

    @asynccontextmanager
    async def open(self, image: ImageRecord) -> AsyncIterator[ImageFile]:
        self.num_opened += 1
        content = self.contents[int(image.path)]
        path = self._folder / str(content)
        if not path.exists():
            path.write_bytes(Random(content).randbytes(image.num_bytes or 0))
        yield ImageFile(path)

    def estimate(self, seed: int, max_read: int) -> Copies:
        units = range(len(self.contents))
        return asyncio.run(estimate_copies(self.list_images, self, units, seed=seed, max_read=max_read))

    @property
    def true_share(self) -> float:
        return len(set(self.contents)) / len(self.contents)


def alike(num_images: int, share: float) -> list[int]:
    """Return contents of which each is there about as often as others."""
    num_distinct = round(num_images * share)
    return [number % num_distinct for number in range(num_images)]


def uneven(num_images: int, share: float) -> list[int]:
    """Return contents of which a few are there very often."""
    num_distinct = round(num_images * share)
    return [number if number < num_distinct else number % 40 for number in range(num_images)]


def photos(content: int) -> int:
    """Return sizes as of photos, by chance equal here and there."""
    return 40 + content * 7919 % 60_013


def of_few_sizes(content: int) -> int:
    return 40 + content % 5


@pytest.mark.parametrize("share", [0.2, 0.5, 1.0])
def test_a_large_collection_of_photos(tmp_path: Path, share: float) -> None:
    ads = Collection(tmp_path, alike(240_000, share), photos)
    copies = ads.estimate(seed=3, max_read=1000)
    assert copies.num_compared == 240_000
    assert copies.distinct_share == pytest.approx(ads.true_share, abs=max(4 * copies.error, 0.01))
    assert copies.error < 0.03
    assert ads.num_opened < 2000


@pytest.mark.parametrize("share", [0.2, 0.5, 1.0])
@pytest.mark.parametrize("draw", [alike, uneven])
def test_many_files_of_a_size(tmp_path: Path, share: float, draw: Callable[[int, float], list[int]]) -> None:
    ads = Collection(tmp_path, draw(3 * MANY_OF_A_SIZE * 5 // 2, share), of_few_sizes)
    copies = ads.estimate(seed=3, max_read=1500)
    assert copies.distinct_share == pytest.approx(ads.true_share, abs=max(4 * copies.error, 0.01))


def test_the_error_is_told_truly(tmp_path: Path) -> None:
    ads = Collection(tmp_path, uneven(6000, 0.4), lambda content: 40 + content * 7919 % 1009)
    estimates = [ads.estimate(seed, max_read=600) for seed in range(25)]
    misses = [(copies.distinct_share - ads.true_share) / copies.error for copies in estimates]
    assert sum(abs(miss) < 2 for miss in misses) >= 18
    assert abs(sum(copies.distinct_share for copies in estimates) / 25 - ads.true_share) < 0.05


@given(st.lists(st.sampled_from([b"a", b"b", b"cc", b"dd", b"eee", b"x" * 40_000, b"x" * 39_999 + b"y"]), min_size=1))
def test_few_images_are_counted(tmp_path_factory: pytest.TempPathFactory, contents: list[bytes]) -> None:
    folder = tmp_path_factory.mktemp("files")
    for number, content in enumerate(contents):
        (folder / str(number)).write_bytes(content)

    def list_images(units: range) -> Iterator[ImageRecord]:
        return (ImageRecord(str(unit), path=str(unit), num_bytes=len(contents[unit])) for unit in units)

    copies = asyncio.run(estimate_copies(list_images, LocalFiles(folder), range(len(contents))))
    assert copies == Copies(distinct_share=len(set(contents)) / len(contents), error=0, num_compared=len(contents))


def test_what_cannot_be_read_is_like_no_other(tmp_path: Path) -> None:
    def list_images(units: range) -> Iterator[ImageRecord]:
        return (ImageRecord(str(unit), path=str(unit), num_bytes=4) for unit in units)

    assert asyncio.run(estimate_copies(list_images, LocalFiles(tmp_path), range(3))) == Copies(
        distinct_share=1, error=0, num_compared=3
    )
    assert asyncio.run(estimate_copies(list_images, LocalFiles(tmp_path), range(0))) == Copies()
