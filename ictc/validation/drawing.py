"""The sample that people code: so many images of each cluster, drawn at random, and how likely each was to be drawn.

Which images are drawn hangs on their ids and the seed alone, never on their order. A larger sample of the same drawing
holds each smaller one, so what was coded of a smaller one stays good.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson
import pandas as pd

from ictc.analytics.results import RunResults
from ictc.analytics.tables import to_records
from ictc.errors import ConfigError, InputError
from ictc.storage.json_files import read_json, write_json
from ictc.storage.keys import digest

FOLDER = "validation"
SAMPLE_FILE = "sample.json"


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """What decides in which order images are drawn.

    Attributes:
        assignments: digest of the clusters, and of which image is in which, as from `digest_assignments`.
        level: of nested clusters, the one whose clusters are coded; "" if they are not nested.
    """

    assignments: str
    level: str
    seed: int

    @property
    def name(self) -> str:
        """What the files of coders name it by; it tells nobody anything else."""
        return digest([self.assignments, self.level, self.seed])


@dataclass(frozen=True, eq=False, kw_only=True)
class Sample:
    """A stratified sample: simple random samples without replacement, one of each cluster (Cochran 1977, chapter 5).

    Attributes:
        run: the results, of the level that is coded.
        strata: a row a cluster with images, and one for those that fit none: `code` (its place among the definitions,
            K for none), `cluster`, `size` (N_h), `drawn` (n_h) and `probability` of each of its images, n_h / N_h.
        images: `image_id` and `stratum`, the code, of all that are drawn, in the order of the ids.
    """

    drawing: Drawing
    per_cluster: int
    run: RunResults
    strata: pd.DataFrame
    images: pd.DataFrame


def draw_sample(run: RunResults, *, per_cluster: int, seed: int, level: str | None = None) -> Sample:
    """Draw `per_cluster` images of each cluster, all where it has fewer, and of those that no cluster fits.

    Args:
        run: of the finest level, with the column "image_id".
        level: the one whose clusters are coded, the finest if None.

    Raises:
        ConfigError: clusters overlap, or there is no such level.
        InputError: no image has a cluster.
    """
    run.check_partition()
    if run.judged.empty:
        raise InputError(f"{run.directory}: no image has a cluster, so there is nothing to validate")
    at_level = run if level is None else run.at_level(level)
    drawing = Drawing(assignments=digest_assignments(run), level=at_level.level, seed=seed)
    ids, codes = at_level.judged["image_id"], stratum_codes(at_level)
    chosen = rank_in_strata(ids, codes, seed=seed) < per_cluster
    images = pd.DataFrame({"image_id": ids[chosen], "stratum": codes[chosen]}).sort_values(
        "image_id", ignore_index=True
    )
    sizes = np.bincount(codes, minlength=len(at_level.definitions) + 1)
    code = np.flatnonzero(sizes)
    drawn = np.minimum(sizes[code], per_cluster)
    names = np.array(answer_names(at_level), dtype=object)
    columns = {
        "code": code,
        "cluster": names[code],
        "size": sizes[code],
        "drawn": drawn,
        "probability": drawn / sizes[code],
    }
    return Sample(drawing=drawing, per_cluster=per_cluster, run=at_level, strata=pd.DataFrame(columns), images=images)


def answer_names(run: RunResults) -> list[str]:
    """Return what the answers are called, by code: the clusters in their order, and last that none fits."""
    return [*(definition.name for definition in run.definitions), run.none_name]


def stratum_codes(run: RunResults) -> npt.NDArray[np.intp]:
    """Return the place of each image's cluster among the definitions, their number if none fits, shape (N,)."""
    codes = run.judged["cluster"].cat.codes.to_numpy(dtype=np.intp)
    return np.where(codes < 0, len(run.definitions), codes)


def rank_in_strata(ids: pd.Series, codes: npt.NDArray[np.intp], *, seed: int) -> npt.NDArray[np.intp]:
    """Return the place of each image in the order in which its stratum is drawn, from 0, shape (N,)."""
    frame = pd.DataFrame({"code": codes, "key": random_keys(ids, seed=seed), "id": ids.to_numpy()})
    ordered = frame.sort_values(["code", "key", "id"])
    ranks = pd.Series(ordered.groupby("code").cumcount(), index=ordered.index)
    return np.asarray(ranks.sort_index(), dtype=np.intp)


def random_keys(ids: pd.Series, *, seed: int, about: str = "") -> npt.NDArray[np.uint64]:
    """Return a random number for each id that hangs on nothing else but the seed, shape (N,).

    Args:
        about: what the numbers are for, so that orders for different things are independent.
    """
    start = blake2b(orjson.dumps(["validation", seed, about]), digest_size=8)
    keys = np.empty(len(ids), dtype=np.uint64)
    for place, image_id in enumerate(ids):
        one = start.copy()
        one.update(image_id.encode("utf-8", "surrogatepass"))
        keys[place] = int.from_bytes(one.digest(), "big")
    return keys


def digest_assignments(run: RunResults) -> str:
    """Return a digest of the finest clusters and of which image is in which, whatever the order of the images."""
    clusters = [definition.to_row() for definition in run.definitions]
    pairs = sorted(zip(run.judged["image_id"], stratum_codes(run).tolist(), strict=True))
    return digest([clusters, pairs])


def save_sample(sample: Sample, folder: Path) -> None:
    """Write the sample with all inclusion probabilities, unless one of another drawing, or a larger one, lies there.

    Raises:
        ConfigError: another sample lies there; nothing is written.
        StorageError: the disk refused.
    """
    path = folder / SAMPLE_FILE
    before = read_json(path)
    if path.exists() and (not isinstance(before, dict) or before.get("drawing") != sample.drawing.name):
        raise ConfigError(
            f"{folder} holds a sample with another --seed or --level, or of assignments that have changed since; "
            "move the folder away, or give another --output_dir"
        )
    if before is None or before.get("per_cluster", 0) < sample.per_cluster:
        write_json(path, describe_sample(sample))


def describe_sample(sample: Sample) -> dict[str, Any]:
    """Return what the file says."""
    probabilities = dict(zip(sample.strata["code"], sample.strata["probability"].tolist(), strict=True))
    names = answer_names(sample.run)
    return {
        "drawing": sample.drawing.name,
        "assignments": sample.drawing.assignments,
        "level": sample.drawing.level,
        "seed": sample.drawing.seed,
        "per_cluster": sample.per_cluster,
        "images": int(sample.strata["size"].sum()),
        "strata": to_records(sample.strata.drop(columns="code")),
        "sample": [
            {"image_id": image_id, "stratum": names[code], "probability": probabilities[code]}
            for image_id, code in sample.images.itertuples(index=False)
        ],
    }
