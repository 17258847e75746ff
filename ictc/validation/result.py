"""What a validation comes to, as a whole: agreement, precision and recall, corrected shares; written, and found again.

It is kept beside the results that it is about, with what coders said, so that shares of any kind of group can be
corrected later on. It is about the assignments that were coded: once they are others, it is told of and not used.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ictc.analytics.reliability import Agreement, cohen_kappa, krippendorff_alpha
from ictc.analytics.results import RunResults, load_results
from ictc.analytics.tables import to_records, write_csv
from ictc.analytics.trends import period_of
from ictc.errors import StorageError
from ictc.storage.json_files import read_json, write_json
from ictc.validation.codings import MISSING, Codings, note_column
from ictc.validation.drawing import FOLDER, Drawing, answer_names, digest_assignments, stratum_codes
from ictc.validation.shares import correct_shares, count_cells, mean_answers, measure_accuracy, measure_clusters

RESULT_FILE, CODINGS_TABLE, SHARES_TABLE = "validation.json", "codings.csv", "shares.csv"
FORMAT = "ictc validation 1"
CANT_TELL = "can't tell"


@dataclass(frozen=True, eq=False, kw_only=True)
class Validation:
    """What coders say of a run.

    Attributes:
        alpha: Krippendorff's, among coders; None for one coder.
        kappas: Cohen's, of each two coders.
        model_kappas: of each coder with the model, weighted to the collection.
        accuracy: share of the images that coders put where the model has them, with its interval.
        clusters: as from `measure_clusters`.
        shares: as from `correct_shares`, with the column "by" before.
        num_missing: coded images on which nobody could tell.
    """

    codings: Codings
    alpha: Agreement | None
    kappas: dict[tuple[str, str], Agreement]
    model_kappas: dict[str, Agreement]
    accuracy: tuple[float, ...]
    clusters: pd.DataFrame
    shares: pd.DataFrame
    num_missing: int

    @property
    def num_coded(self) -> int:
        """Images with an answer."""
        return len(self.codings.table) - self.num_missing


def validate_run(codings: Codings, groupings: Mapping[str, pd.Series]) -> Validation:
    """Compute all that codings say of a run.

    Args:
        groupings: of all images of the run in the order of its rows, by what they are called, such as "month".
    """
    codes, strata = coder_codes(codings), codings.table["stratum"].to_numpy(dtype=np.intp)
    overall = count_cells(codings)
    weights = (overall.all_images[0] / np.maximum(overall.coded[0], 1))[strata]
    columns = dict(zip(codings.coders, codes.T, strict=True))
    tables = {"all": overall, **{by: count_cells(codings, groups) for by, groups in groupings.items()}}
    accuracy = tuple(float(one[0]) for one in measure_accuracy(overall))
    shares = [correct_shares(cells).assign(by=by) for by, cells in tables.items() if len(cells.groups)]
    return Validation(
        codings=codings,
        alpha=krippendorff_alpha(codes, strata=strata) if len(codings.coders) > 1 else None,
        kappas={
            (one, other): cohen_kappa(columns[one], columns[other], strata=strata)
            for one, other in combinations(codings.coders, 2)
        },
        model_kappas={
            name: cohen_kappa(column, strata, strata=strata, weights=weights) for name, column in columns.items()
        },
        accuracy=accuracy,
        clusters=measure_clusters(overall).drop(columns="group"),
        shares=_in_front(pd.concat(shares, ignore_index=True), "by"),
        num_missing=int((codes < 0).all(axis=1).sum()),
    )


def usual_groupings(run: RunResults) -> dict[str, pd.Series]:
    """Return what shares are corrected by besides overall, platform and month, where images have any."""
    found = {"platform": run.judged["platform"], "month": period_of(run.judged["timestamp"], "month")}
    return {by: groups.astype("category") for by, groups in found.items() if groups.notna().any()}


def coder_codes(codings: Codings) -> np.ndarray[Any, np.dtype[np.intp]]:
    """Return the codes, `MISSING` where there is no answer, shape (images, coders)."""
    return np.asarray(codings.table[list(codings.coders)].fillna(MISSING), dtype=np.intp)


def _in_front(frame: pd.DataFrame, column: str) -> pd.DataFrame:
    return frame[[column, *(name for name in frame.columns if name != column)]]


def find_disagreements(codings: Codings) -> pd.DataFrame:
    """Return the coded images on which coders differ from each other or from the model, in the order of the ids."""
    codes, strata = coder_codes(codings), codings.table["stratum"].to_numpy(dtype=np.intp)[:, None]
    differs = ((codes != strata) & (codes >= 0)).any(axis=1)
    return codings.table[differs]


def answers_table(codings: Codings) -> pd.DataFrame:
    """Return what was said of each coded image, in words: image_id, the model's cluster, each coder's, their notes."""
    names = np.array([*answer_names(codings.run), CANT_TELL], dtype=object)  # the last one is MISSING
    table = codings.table
    columns = {"image_id": table.index, "model": names[table["stratum"].to_numpy(dtype=np.intp)]}
    for coder in codings.coders:
        said = table[coder]
        columns[coder] = [None if pd.isna(code) else names[int(code)] for code in said]
    for coder in codings.coders:
        columns[note_column(coder)] = [codings.notes[coder].get(image_id, "") for image_id in table.index]
    return pd.DataFrame(columns)


def save_validation(validation: Validation, folder: Path) -> None:
    """Write the result as JSON, what coders said and the shares as CSV.

    Raises:
        StorageError: the disk refused.
    """
    codings = validation.codings
    write_csv(answers_table(codings), folder / CODINGS_TABLE)
    write_csv(validation.shares, folder / SHARES_TABLE)
    write_json(folder / RESULT_FILE, describe_validation(validation))


def describe_validation(validation: Validation) -> dict[str, Any]:
    """Return what the file says."""
    codings = validation.codings
    drawing = codings.drawing
    value, low, high = validation.accuracy
    return {
        "format": FORMAT,
        "drawing": drawing.name,
        "assignments": drawing.assignments,
        "level": drawing.level,
        "seed": drawing.seed,
        "per_cluster": codings.per_cluster,
        "coders": list(codings.coders),
        "images": len(codings.run.judged),
        "coded": validation.num_coded,
        "cant_tell": validation.num_missing,
        "left_out": list(codings.complaints),
        "alpha": None if validation.alpha is None else asdict(validation.alpha),
        "kappas": [{"coders": list(pair), **asdict(one)} for pair, one in validation.kappas.items()],
        "kappas_with_model": [{"coder": name, **asdict(one)} for name, one in validation.model_kappas.items()],
        "accuracy": {"value": value, "low": low, "high": high},
        "answers": answer_names(codings.run),
        "clusters": to_records(validation.clusters),
        "shares": to_records(validation.shares),
        "codings": [
            {
                "image_id": image_id,
                "stratum": int(stratum),
                "codes": [None if pd.isna(code) else int(code) for code in said],
            }
            for image_id, stratum, *said in codings.table.itertuples()
        ],
    }


def _check_table(table: pd.DataFrame, run: RunResults) -> None:
    """Refuse codings that are not of this run, as they may have been edited.

    Raises:
        ValueError: they are not.
    """
    strata = pd.Series(stratum_codes(run), index=run.judged["image_id"])
    codes = table.drop(columns="stratum").fillna(MISSING).to_numpy()
    is_sound = table.index.is_unique and table["stratum"].equals(strata.reindex(table.index).rename("stratum"))
    if not is_sound or not ((codes >= MISSING) & (codes <= len(run.definitions))).all():
        raise ValueError


@dataclass(frozen=True, eq=False, kw_only=True)
class FoundValidation:
    """A validation beside results.

    Attributes:
        codings: None if it can't be used.
        problem: why it can't, for people; "" if it can.
    """

    codings: Codings | None
    problem: str = ""

    @property
    def source(self) -> str:
        """Who said how much, for people."""
        assert self.codings is not None
        coders = len(self.codings.coders)
        num_coded = len(mean_answers(self.codings)[0])
        return f"{coders} coder{' says' if coders == 1 else 's say'} of {num_coded:,} {self.codings.item}s"


def find_validation(directory: Path, columns: Sequence[str] = (), *, level: str | None = "") -> FoundValidation | None:
    """Return what is kept beside the results in a directory, None if nothing is.

    Args:
        columns: of the results, those that shares are to be corrected by.
        level: the one that shares are wanted of; the finest if "", that which was coded if None.

    Raises:
        StorageError: the file is damaged.
    """
    path = directory / FOLDER / RESULT_FILE
    if not path.is_file():
        return None
    content = read_json(path)
    try:
        if content["format"] != FORMAT:
            raise StorageError(f"{path} is of another version of ictc; run ictc validate --codings again")
        return _judge(load_results(directory, ["image_id", *columns]), content, level=level)
    except (KeyError, TypeError, ValueError, AttributeError):
        raise StorageError(f"{path} is damaged; run ictc validate --codings again") from None


def _judge(run: RunResults, content: Mapping[str, Any], *, level: str | None) -> FoundValidation:
    folder = run.directory / FOLDER
    if content["assignments"] != digest_assignments(run):
        problem = f"{folder} is about assignments that have changed since: shares are not corrected"
        return FoundValidation(codings=None, problem=problem)
    finest = run.levels[-1].name if run.levels else ""
    wanted = content["level"] if level is None else run.at_level(level).level if level else finest
    if content["level"] != wanted:
        coded = content["level"]
        problem = f"{folder} is about the level {coded}: shares of {coded} are corrected, those of {wanted} are not"
        return FoundValidation(codings=None, problem=problem)
    coders: Sequence[str] = content["coders"]
    rows = content["codings"]
    columns = {
        name: pd.Series([row["codes"][place] for row in rows], dtype="Int64") for place, name in enumerate(coders)
    }
    ids = pd.Index([row["image_id"] for row in rows], name="image_id")
    table = pd.DataFrame({"stratum": [row["stratum"] for row in rows], **columns}).set_index(ids)
    _check_table(table, run.at_level(wanted) if wanted else run)
    drawing = Drawing(assignments=content["assignments"], level=content["level"], seed=content["seed"])
    codings = Codings(
        run=run.at_level(wanted) if wanted else run,
        drawing=drawing,
        per_cluster=content["per_cluster"],
        coders=tuple(coders),
        table=table,
        notes={name: {} for name in coders},
        complaints=(),
    )
    return FoundValidation(codings=codings)
