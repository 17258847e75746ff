"""A synthetic study with the margins of the reference study: three tracks, K=5 and K=10, over 86,446 images.

Sizes, platforms, formats and filter rates are the reference study's, as far as they are known. Which image is in which
cluster is drawn, with clusters that depend on platform, format and the other tracks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import numpy as np
import numpy.typing as npt
from support.result_folders import write_results

Names = npt.NDArray[np.object_]
Numbers = npt.NDArray[np.float64]

NUM_IMAGES = 86_446
PLATFORMS = {"Facebook": 0.6147, "Instagram": 0.2048, "TikTok": 0.1088, "YouTube": 0.0717}
FILTER_RATES = {"Facebook": 0.058, "Instagram": 0.177, "TikTok": 0.203, "YouTube": 0.304}
FORMATS = {
    "FEED_BASED": 0.590,
    "REEL_BASED": 0.121,
    "REEL_FROM_SEARCH": 0.103,
    "STORY_BASED": 0.066,
    "MARKETPLACE_BASED": 0.054,
    "PREVIEW_LANDSCAPE_BASED": 0.026,  # the shares from here on are made up
    "PREVIEW_PORTRAIT_BASED": 0.016,
    "SEARCH_BASED": 0.010,
    "APP_BASED": 0.007,
    "UNKNOWN": 0.0045,
    "GROUP_BASED": 0.0015,
    "CHANNEL_BASED": 0.0007,
    "EVENT_BASED": 0.0003,
}


@dataclass(frozen=True)
class Track:
    """A track: its folder, its clusters' sizes, and how strongly they depend on other things.

    Attributes:
        small, large: cluster sizes at K=5 and at K=10. Those of K=10 but the largest are made up to give the reference
            study's balance.
        common: weight of what all tracks see in an image.
        platform: weight of its platform.
        kept: weight of the clusters of K=5 in those of K=10.
    """

    name: str
    criterion: str
    folder: str
    small: Mapping[str, int]
    large: Mapping[str, int]
    common: float
    platform: float
    kept: float


TRACKS = (
    Track(
        "marketing",
        "Marketing Strategy",
        "full_run",
        {
            "Curiosity & Direct Engagement": 21_386,
            "Exclusivity & Scarcity": 21_328,
            "Value, Utility & Risk Reversal": 21_029,
            "Emotional & Aspirational Connection": 9_251,
            "Social Proof & Validation": 3_440,
        },
        {
            "Data Quality Issues": 25_835,
            "Exclusivity & Premium Access": 15_331,
            "Value & Price Advantage": 7_839,
            "Curiosity & Storytelling": 7_185,
            "Urgency & Limited Offers": 5_779,
            "Risk Reversal & Guarantees": 4_260,
            "Emotional Connection": 4_146,
            "Direct Calls to Action": 3_233,
            "Social Proof & Reviews": 2_326,
            "Celebrity Endorsement": 500,
        },
        common=0.85,
        platform=0.28,
        kept=0.79,
    ),
    Track(
        "identity",
        "Algorithmic Identity Profiling",
        "track2_identity",
        {
            "Generic Ad Inventory": 35_686,
            "Aspirational Identity Seekers": 15_255,
            "Transactional Deal Hunters": 14_279,
            "Wellness & Bio-Optimizers": 7_755,
            "Time-Poor Convenience Seekers": 6_245,
        },
        {
            "Algorithmic Placeholders": 23_957,
            "Budget-Conscious Families": 12_978,
            "Upwardly Mobile Professionals": 9_712,
            "Deal Hunters": 8_054,
            "Style-Conscious Aspirants": 6_762,
            "Wellness Devotees": 6_638,
            "Busy Urban Households": 5_044,
            "Home Improvers": 2_309,
            "Gamers & Tech Enthusiasts": 1_970,
            "Pet Parents": 1_796,
        },
        common=2.2,
        platform=0.5,
        kept=1.25,
    ),
    Track(
        "cultural",
        "Cultural Representation & Social Values",
        "track3_cultural",
        {
            "Self-Optimization & Identity": 28_036,
            "Economic Security & Aspiration": 21_091,
            "Community & Belonging": 11_486,
            "Market Transparency & Ethics": 10_793,
            "Convenience & Instant Gratification": 8_119,
        },
        {
            "Self-Improvement & Discipline": 16_541,
            "Economic Security": 10_875,
            "Beauty & Body Ideals": 10_393,
            "Wealth & Status": 10_310,
            "Community & Family Life": 8_184,
            "Instant Gratification": 8_182,
            "Trust & Transparency": 5_226,
            "Sustainability & Ethics": 4_524,
            "Tradition & Heritage": 3_516,
            "Data Void": 1_774,
        },
        common=1.25,
        platform=0.47,
        kept=1.2,
    ),
)

NUM_LABELS = 17_933
LABEL_WORDS = (
    "bold bright brief bulk calm clean clear clever cozy crisp daily deep direct early easy expert fair fast final "
    "fine free fresh full gentle",
    "access account action advice answer appeal award beauty benefit budget care change choice comfort craft culture "
    "deal design detail dream energy family fashion favor feature finish",
    "alert badge bonus boost bundle call chance claim club code coupon demo deposit event gift guide hint hook invite "
    "journey launch lesson limit list moment offer pitch pledge preview promise",
)


def write_study(directory: Path, seed: int = 42) -> list[Path]:
    """Write the results of three tracks below `directory`/out_k5 and `directory`/out_k10, and return those two."""
    rng = np.random.default_rng(seed)
    ids = np.array([str(UUID(bytes=rng.bytes(16))) for _ in range(NUM_IMAGES)], dtype=object)
    taste = rng.normal(size=NUM_IMAGES)
    platforms = _divide(PLATFORMS, rng.normal(size=NUM_IMAGES))
    place = _place(platforms, PLATFORMS)
    formats = _divide(FORMATS, rng.normal(size=NUM_IMAGES) - 1.5 * place)
    times = np.sort(rng.integers(1_735_689_600, 1_743_465_600, NUM_IMAGES))
    stamps = np.datetime_as_string(times.astype("datetime64[s]"), timezone="UTC").astype(object)
    about = {"platform": platforms, "ad_format": formats, "timestamp": stamps}
    for track in TRACKS:
        _write_track(track, directory, ids, about, taste, rng)
    return [directory / "out_k5", directory / "out_k10"]


def _write_track(
    track: Track, directory: Path, ids: Names, about: Mapping[str, Names], taste: Numbers, rng: np.random.Generator
) -> None:
    ads = _choose_ads(about["platform"], sum(track.small.values()), rng)
    place = _place(about["platform"][ads], PLATFORMS)
    score = track.common * taste[ads] + track.platform * place + rng.normal(size=len(ads))
    labels = draw_labels(len(ads), TRACKS.index(track), rng)
    filtered = tuple(np.delete(ids, ads))
    facts = {name: dict(zip(ids, values, strict=True)) for name, values in about.items()}
    for k, sizes, latent in (
        (5, track.small, score),
        (10, track.large, track.kept * score + rng.normal(size=len(ads))),
    ):
        write_results(
            directory / f"out_k{k}" / track.folder,
            dict(zip(ids[ads], _divide(sizes, latent), strict=True)),
            track=track.name,
            criterion=track.criterion,
            names=tuple(sizes),
            ui_only=filtered,
            label=dict(zip(ids[ads], labels, strict=True)),
            **facts,
        )


def _choose_ads(platforms: Names, num_ads: int, rng: np.random.Generator) -> npt.NDArray[np.intp]:
    """Return the places of the valid ads: each platform's filter rate, scaled to what the track filtered."""
    sizes = {name: int((platforms == name).sum()) for name in PLATFORMS}
    weights = [FILTER_RATES[name] * sizes[name] for name in PLATFORMS]
    counts = apportion(weights, len(platforms) - num_ads)
    filtered = [
        rng.choice(np.flatnonzero(platforms == name), count, replace=False)
        for name, count in zip(PLATFORMS, counts, strict=True)
    ]
    return np.delete(np.arange(len(platforms)), np.concatenate(filtered))


def _divide(shares: Mapping[str, float], scores: Numbers) -> Names:
    """Give names to items by falling score, as many as their shares say."""
    counts = apportion(list(shares.values()), len(scores))
    names = np.empty(len(scores), dtype=object)
    names[np.argsort(-scores)] = np.repeat(np.array(list(shares), dtype=object), counts)
    return names


def apportion(weights: Sequence[float], total: int) -> list[int]:
    """Return whole numbers in proportion to `weights` that sum up to `total` (largest remainders)."""
    exact = np.asarray(weights) * total / sum(weights)
    counts = np.floor(exact).astype(int)
    counts[np.argsort(counts - exact)[: total - counts.sum()]] += 1
    return counts.tolist()


def _place(names: Names, order: Mapping[str, float]) -> Numbers:
    """Return the rank of each name, standardized."""
    ranks = np.array([list(order).index(name) for name in names], dtype=float)
    return (ranks - ranks.mean()) / ranks.std()


def draw_labels(num_ads: int, kind: int, rng: np.random.Generator) -> list[str]:
    """Draw labels of three words; few are frequent and most are rare (Zipf), which ones depends on `kind`."""
    words = [group.split() for group in LABEL_WORDS]
    weights = (np.arange(NUM_LABELS) + 5.0) ** -(1.0 + 0.1 * kind)
    numbers = rng.choice(NUM_LABELS, num_ads, p=weights / weights.sum())
    return [_label(int(number) + 10 * kind, words) for number in numbers]


def _label(number: int, words: list[list[str]]) -> str:
    scrambled = number * 7_919 % (len(words[0]) * len(words[1]) * len(words[2]))
    rest, last = divmod(scrambled, len(words[2]))
    first, middle = divmod(rest, len(words[1]))
    return f"{words[0][first]} {words[1][middle]} {words[2][last]}"
