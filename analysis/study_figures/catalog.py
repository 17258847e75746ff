"""All figures, in their order."""

from __future__ import annotations

from typing import Any

from study_figures.across_k import K_EFFECT, K_MAPPING, SIZES
from study_figures.across_tracks import CONTINGENCY, MAPPINGS, PURITY
from study_figures.clusters import BALANCE, LARGE_K, PIES, SMALL_K
from study_figures.collection import FILTER_RATES, PLATFORMS_AND_FORMATS
from study_figures.finding import FigureSpec
from study_figures.formats import FORMATS
from study_figures.labels import LABELS
from study_figures.platform_profiles import COMPARISON, FINGERPRINTS, IDENTITY_BY_PLATFORM
from study_figures.platforms import PLATFORM_CLUSTERS, RESIDUALS
from study_figures.summary import SUMMARY

EXPLORATION: tuple[FigureSpec[Any], ...] = (
    PLATFORMS_AND_FORMATS,
    SMALL_K,
    LARGE_K,
    BALANCE,
    PLATFORM_CLUSTERS,
    FORMATS,
    FINGERPRINTS,
    LABELS,
    FILTER_RATES,
    SIZES,
    RESIDUALS,
    MAPPINGS,
    COMPARISON,
    IDENTITY_BY_PLATFORM,
    PIES,
)
RESEARCH: tuple[FigureSpec[Any], ...] = (CONTINGENCY, PURITY, K_MAPPING, K_EFFECT, SUMMARY)
