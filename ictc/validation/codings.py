"""What coders said of a sample, from the files that their pages save: read, checked, and what can't be used counted.

The files may have been cut, edited, mixed up or made for another run, so nothing in them is taken on trust. They are
only ever read.
"""

from __future__ import annotations

import codecs
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import pandas as pd

from ictc.analytics.results import RunResults
from ictc.analytics.tables import printable
from ictc.errors import ConfigError, InputError
from ictc.validation.drawing import Drawing, digest_assignments, rank_in_strata, stratum_codes

FORMAT = "ictc codings 1"
NONE, CANT_TELL = "none", "cant_tell"
"""Answers besides the number of a cluster."""
MISSING = -1
"""Code of an image that a coder saw and could not tell."""


COLUMNS_BESIDES = ("image_id", "model", "stratum")
"""Columns of tables of codings, which no coder can be called."""


def note_column(coder: str) -> str:
    """Return what the column of a coder's notes is called."""
    return f"{coder}_note"


def coder_name(number: int) -> str:
    """Return what the coder of a page is called, in its file's name too; coders count from 1."""
    return f"coder_{number}"


@dataclass(frozen=True, kw_only=True)
class CoderFile:
    """What one file says, its content not yet compared with a run.

    Attributes:
        answers: by image id: the number of a cluster, `NONE` or `CANT_TELL`, with the note.
        left_out: entries that are no answers, by what is wrong with them.
    """

    path: Path
    coder: str
    drawing: str
    level: str
    seed: int
    per_cluster: int
    answers: dict[str, tuple[int | str, str]]
    left_out: Counter[str]


@dataclass(frozen=True, eq=False, kw_only=True)
class Codings:
    """What all coders said of the images of one drawing.

    Attributes:
        run: the results, of the level that was coded.
        coders: their names, in the order of the files.
        table: a row a coded image, by id: `stratum` (code of the model's answer), a column of codes a coder (of a
            cluster its place among the definitions, their number for none, `MISSING` for "can't tell", null where the
            coder has not said anything), in the order of the ids.
        notes: what coders wrote, by coder and image id.
        complaints: what was left out of which file, a line each.
    """

    run: RunResults
    drawing: Drawing
    per_cluster: int
    coders: tuple[str, ...]
    table: pd.DataFrame
    notes: dict[str, dict[str, str]]
    complaints: tuple[str, ...]

    @property
    def item(self) -> str:
        """What people call that which was coded."""
        return "text" if self.run.metadata.get("imported") == "texts" else "image"


def read_codings(run: RunResults, paths: Sequence[Path]) -> Codings:
    """Read the files of all coders.

    Args:
        run: of the finest level, with the column "image_id".

    Raises:
        ConfigError: a file is missing, of another run, or of assignments that have changed since.
        InputError: a file is damaged, two are of one coder, or there is no answer.
    """
    files = [read_coder_file(path) for path in paths]
    drawing = find_drawing(run, files)
    at_level = run.at_level(drawing.level) if drawing.level else run
    per_cluster = max(one.per_cluster for one in files)
    strata = stratum_of_drawn(at_level, seed=drawing.seed, per_cluster=per_cluster)
    names = name_coders(files)
    columns, notes, complaints = {}, {}, []
    for name, one in zip(names, files, strict=True):
        codes, left_out = encode_answers(one, at_level, strata)
        columns[name] = pd.Series(codes, dtype="Int64")
        notes[name] = {image_id: note for image_id, (_, note) in one.answers.items() if note and image_id in codes}
        complaints += [f"{one.path}: left out: {what} ({count:,})" for what, count in sorted(left_out.items())]
    table = pd.DataFrame(columns).sort_index()
    if table.empty or not (table >= 0).any(axis=None):
        raise InputError(f"{', '.join(map(str, paths))}: no image of the sample has an answer there")
    table.insert(0, "stratum", strata[table.index])
    return Codings(
        run=at_level,
        drawing=drawing,
        per_cluster=per_cluster,
        coders=tuple(names),
        table=table.rename_axis("image_id"),
        notes=notes,
        complaints=tuple(complaints),
    )


def read_coder_file(path: Path) -> CoderFile:
    """Read a file as a page saves it.

    Raises:
        ConfigError: there is no such file.
        InputError: it is no such file, or damaged.
    """
    try:
        content = orjson.loads(path.read_bytes().removeprefix(codecs.BOM_UTF8))  # which some editors put in front
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from None
    except orjson.JSONDecodeError:
        raise InputError(f"{path} is damaged or no JSON; save it again from the coder's page") from None
    match content:
        case {
            "format": str(form),
            "coder": str(coder),
            "drawing": str(drawing),
            "level": str(level),
            "seed": int(seed),
            "per_cluster": int(per_cluster),
            "codings": list(entries),
        } if form == FORMAT:
            left_out: Counter[str] = Counter()
            answers = dict(iter_answers(entries, left_out))
            return CoderFile(
                path=path,
                coder=printable(coder) or "coder",
                drawing=drawing,
                level=level,
                seed=seed,
                per_cluster=per_cluster,
                answers=answers,
                left_out=left_out,
            )
    raise InputError(f"{path} is no file that a coding page saves; save it there again")


def iter_answers(entries: Sequence[Any], left_out: Counter[str]) -> Iterator[tuple[str, tuple[int | str, str]]]:
    """Yield each answer with its note by image id, and count what is none.

    An image that a file names twice with different answers has none: which is meant, nobody can tell.
    """
    said: dict[str, list[tuple[int | str, str]]] = {}
    for entry in entries:
        match entry:
            case {"image_id": str(), "answer": None}:
                continue  # undone
            case {"image_id": str(image_id), "answer": (int() | str()) as answer} if not isinstance(answer, bool):
                note = entry.get("note")
                said.setdefault(image_id, []).append((answer, note if isinstance(note, str) else ""))
            case _:
                left_out["entries that are no answers"] += 1
    for image_id, answers in said.items():
        if len({answer for answer, _ in answers}) == 1:
            yield image_id, answers[0]
        else:
            left_out["images with several answers"] += 1


def find_drawing(run: RunResults, files: Sequence[CoderFile]) -> Drawing:
    """Return the drawing that all files are about.

    Raises:
        ConfigError: they are about several, or about none of this run as it is now.
    """
    first = files[0]
    drawing = Drawing(assignments=digest_assignments(run), level=first.level, seed=first.seed)
    for one in files:
        if one.drawing != first.drawing:
            raise ConfigError(f"{one.path} and {first.path} are about different samples; give those of one")
    is_level = first.level in [level.name for level in run.levels] if first.level else not run.levels
    if not is_level or first.drawing != drawing.name:
        raise ConfigError(
            f"{first.path} is about another run, or the clusters or assignments of {run.directory} have changed since "
            "its sample was drawn; draw a new one: ictc validate"
        )
    return drawing


def stratum_of_drawn(run: RunResults, *, seed: int, per_cluster: int) -> pd.Series:
    """Return the code of the stratum of each image that is drawn, by id."""
    ids, codes = run.judged["image_id"], stratum_codes(run)
    chosen = rank_in_strata(ids, codes, seed=seed) < per_cluster
    return pd.Series(codes[chosen], index=pd.Index(ids[chosen], name="image_id"))


def name_coders(files: Sequence[CoderFile]) -> list[str]:
    """Return the name of each file's coder.

    Raises:
        InputError: two are of one coder, or one is called as a column of the results is.
    """
    names = [one.coder for one in files]
    for one in files:
        if one.coder in (*COLUMNS_BESIDES, *(note_column(name) for name in names)):
            raise InputError(f'{one.path}: its "coder" is called {one.coder}, as a column of the results is; rename it')
    for place, name in enumerate(names):
        if name in names[:place]:
            first = files[names.index(name)].path
            raise InputError(f"{files[place].path} and {first} are both of {name}; each coder has a page of their own")
    return names


def encode_answers(one: CoderFile, run: RunResults, strata: pd.Series) -> tuple[dict[str, int], Counter[str]]:
    """Return the code of each answer by image id, and what can't be used, by why."""
    code_of: dict[int | str, int] = {definition.cluster_id: code for code, definition in enumerate(run.definitions)}
    code_of |= {NONE: len(run.definitions), CANT_TELL: MISSING}
    codes: dict[str, int] = {}
    left_out = Counter(one.left_out)
    for image_id, (answer, _) in one.answers.items():
        if image_id not in strata.index:
            left_out["images that are not in the sample"] += 1
        elif answer not in code_of:
            left_out["answers that name no cluster"] += 1
        else:
            codes[image_id] = code_of[answer]
    return codes, left_out
