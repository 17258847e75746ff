"""A run as the page tells it: what its rows, its settings and its prompts say, embedded and with examples chosen.

Knows exported results; knows nothing of HTML.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from ictc.analytics.results import RunResults, load_results
from ictc.errors import ConfigError
from ictc.report.analyses import read_analyses
from ictc.report.embedding import Array, embed_texts
from ictc.report.examples import Proximity, measure_proximity, pick_examples
from ictc.report.images import ImageFinder, build_finder, read_optional_json
from ictc.report.options import MAX_FIELD_CHARS, MAX_ROWS, MAX_TEXT_CHARS, PageOptions
from ictc.report.projection import project
from ictc.report.sampling import random_ranks, sample_positions
from ictc.report.words import Words, words_for
from ictc.steps import caption, evidence, synthesize

TEXT_COLUMNS = ("category", "brand", "text", "summary", "label")


@dataclass(frozen=True)
class Mapped:
    """The captions that were embedded.

    Attributes:
        positions: of their rows in the results, ascending, shape (N,).
        places: in the unit square, shape (N, 2); None if they are too few for a map.
        method: what embedded them.
        examples: for each cluster's code, positions of rows for each kind of example.
    """

    positions: npt.NDArray[np.intp]
    places: Array | None
    proximity: Proximity
    method: str
    examples: list[dict[str, list[int]]]


@dataclass(frozen=True)
class RunReport:
    """One run, ready to be told.

    Attributes:
        info, prompts, synthesis: content of `run.json`, `prompts.json` and `step2b_metadata.json`, empty where
            these are missing.
        quotes: how many images are backed with a quote, and why others are not; empty where nobody asked for quotes.
        analyses: what the track's own fields say of the rows shown, by image id; empty where it has none.
        shown: positions of the rows whose data goes into the page, ascending.
        ranks: place of each row in the shuffled order of its cluster, shape (number of rows,).
    """

    results: RunResults
    info: dict[str, Any]
    prompts: dict[str, Any]
    synthesis: dict[str, Any]
    quotes: dict[str, int]
    analyses: dict[str, dict[str, str]]
    finder: ImageFinder
    mapped: Mapped
    shown: npt.NDArray[np.intp]
    ranks: npt.NDArray[np.intp]

    @property
    def words(self) -> Words:
        """The words for what the run is about."""
        return words_for(self.results.metadata)

    @property
    def sizes(self) -> list[int]:
        """How many images each cluster has, in the order of the definitions."""
        codes = self.results.rows["cluster"].cat.codes
        counts: list[int] = np.bincount(codes, minlength=len(self.results.definitions)).tolist()
        return counts


def read_run(directory: Path, options: PageOptions, num_runs: int) -> RunReport:
    """Read one of `num_runs` runs that share a page.

    Raises:
        ConfigError: there is nothing to show.
    """
    results = load_results(directory)
    if results.rows.empty:
        raise ConfigError(f"{directory}: no image has a cluster, so there is nothing to show")
    results.rows[list(TEXT_COLUMNS)] = results.rows[list(TEXT_COLUMNS)].fillna("")
    clusters = results.rows["cluster"]
    shown = sample_positions(clusters, limit=affordable_rows(results.rows, num_runs), seed=options.seed)
    return RunReport(
        results=results,
        info=read_optional_json(directory / "run.json"),
        prompts=read_optional_json(directory / "prompts.json"),
        synthesis=read_optional_json(directory / synthesize.METADATA_FILE),
        quotes=read_optional_json(directory / evidence.METADATA_FILE).get("quotes", {}),
        analyses=read_analyses(directory / caption.CAPTIONS_FILE, set(results.rows["image_id"].iloc[shown])),
        finder=build_finder(directory, ads_dir=options.ads_dir),
        mapped=map_captions(results.rows, shown, options.max_points // num_runs, options),
        shown=shown,
        ranks=random_ranks(clusters, options.seed),
    )


def affordable_rows(rows: pd.DataFrame, num_runs: int) -> int:
    """Return how many rows of this run a page of `num_runs` runs can hold."""
    num_chars = sum(int(rows[column].str.len().clip(upper=MAX_FIELD_CHARS).sum()) for column in TEXT_COLUMNS)
    return min(MAX_ROWS, int(MAX_TEXT_CHARS * len(rows) / max(1, num_chars))) // num_runs


def map_captions(rows: pd.DataFrame, shown: npt.NDArray[np.intp], max_points: int, options: PageOptions) -> Mapped:
    """Embed at most `max_points` of the captions at `shown`, put them on a plane and choose examples among them."""
    positions = shown[sample_positions(rows["cluster"].iloc[shown], limit=max_points, seed=options.seed)]
    sample = rows.iloc[positions]
    codes = sample["cluster"].cat.codes.to_numpy(dtype=np.intp)
    embedded = embed_texts(caption_texts(sample), options.embeddings, options.seed)
    proximity = measure_proximity(embedded.vectors, codes)
    contents = (sample["brand"] + "\n" + sample["text"] + "\n" + sample["summary"]).tolist()
    num_clusters = len(rows["cluster"].cat.categories)
    picked = [pick_examples(np.flatnonzero(codes == code), proximity, contents) for code in range(num_clusters)]
    examples = [{kind: positions[chosen].tolist() for kind, chosen in kinds.items()} for kinds in picked]
    return Mapped(positions, project(embedded.vectors, options.seed), proximity, embedded.method, examples)


def caption_texts(rows: pd.DataFrame) -> list[str]:
    """Return what is embedded of each caption: what is shown and what it is about, not the brand or the small print.

    Of one that says neither, such as a text that was imported, that is the words themselves.
    """
    columns = (rows[column].fillna("") for column in ("category", "summary", "text"))
    return [
        f"{category}. {summary}" if category or summary else text[:MAX_FIELD_CHARS]
        for category, summary, text in zip(*columns, strict=True)
    ]
