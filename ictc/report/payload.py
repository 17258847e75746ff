"""The data that the page's script works on, as JSON that is safe inside HTML."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import orjson
import pandas as pd
from markupsafe import Markup

from ictc.report.clusters import clip, cluster_color, cluster_marker
from ictc.report.levels import describe_levels
from ictc.report.reading import RunReport
from ictc.report.words import TEXTS
from ictc.steps.evidence import COLUMNS as COLUMNS_OF_EVIDENCE
from ictc.steps.synthesis.levels import find_paths

COLUMNS = ("image_id", "image_path", "timestamp", "category", "brand", "text", "summary", "label")
OPTIONAL = tuple(COLUMNS_OF_EVIDENCE)
"""The columns that some runs have besides."""

UNSAFE_IN_HTML = {b"<": b"\\u003c", b">": b"\\u003e", b"&": b"\\u0026"}
UNSAFE_IN_SCRIPTS = {"\u2028".encode(): b"\\u2028", "\u2029".encode(): b"\\u2029"}


def dump_json(value: Any) -> Markup:
    """Return JSON that no HTML parser can take for markup, whatever the strings in `value` say."""
    content = orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY)
    for unsafe, escaped in {**UNSAFE_IN_HTML, **UNSAFE_IN_SCRIPTS}.items():
        content = content.replace(unsafe, escaped)
    return Markup(content.decode())


def build_payload(runs: Sequence[RunReport], names: Sequence[str], images: Mapping[str, str]) -> dict[str, Any]:
    """Return all that the script needs: the runs, each with its rows by column, and the images by id."""
    clusters = [run.results.rows.set_index("image_id")["cluster"].cat.codes for run in runs]
    return {
        "runs": [
            {**describe_run(run, name), "elsewhere": list(find_elsewhere(run, number, clusters))}
            for number, (run, name) in enumerate(zip(runs, names, strict=True))
        ],
        "images": dict(images),
    }


def describe_run(run: RunReport, name: str) -> dict[str, Any]:
    """Return a run's clusters and, column by column, the rows that are shown."""
    rows, paths = run.results.rows.iloc[run.shown], find_paths(run.results.levels)
    return {
        "name": name,
        "words": {
            "many": run.words.many,
            "one_said": run.words.said.removesuffix("s"),
            "read": run.words.read,
            "are_texts": run.words is TEXTS,
        },
        "num_results": len(run.results.rows),
        "clusters": [
            {
                "name": clip(definition.name),
                "description": clip(definition.description),
                "color": cluster_color(code),
                "marker": cluster_marker(code),
                "inside": [clip(name) for name in paths.get(definition.cluster_id, ())[:-1]],
            }
            for code, definition in enumerate(run.results.definitions)
        ],
        "levels": describe_levels(run),
        "rows": {
            **{column: [clip(value) for value in rows[column].fillna("")] for column in COLUMNS},
            "cluster": rows["cluster"].cat.codes.tolist(),
            "confidence": [None if np.isnan(value) else round(value, 4) for value in rows["confidence"].astype(float)],
            **{column: [clip(value) for value in rows[column].fillna("")] for column in OPTIONAL if column in rows},
            **({"fitting": encode_fitting(run, rows)} if run.results.is_several else {}),
            **encode_values(rows, "platform"),
            **encode_values(rows, "ad_format"),
        },
        "analyses": [describe_analysis(run.analyses.get(image_id)) for image_id in rows["image_id"]],
        "map": describe_map(run),
    }


def encode_fitting(run: RunReport, rows: pd.DataFrame) -> list[list[list[int]]]:
    """Return of each row the codes of all clusters that fit it, the best first, each with its score."""
    codes = {definition.name: code for code, definition in enumerate(run.results.definitions)}
    return [
        [[codes[name], int(score)] for name, score in zip(names, scores, strict=True)]
        for names, scores in zip(rows["clusters"], rows["cluster_scores"], strict=True)
    ]


def describe_analysis(fields: Mapping[str, str] | None) -> dict[str, str] | None:
    """Return a track's own fields with their names for people."""
    if fields is None:
        return None
    return {clip(name.replace("_", " ").capitalize(), 60): clip(value) for name, value in fields.items()}


def encode_values(rows: pd.DataFrame, column: str) -> dict[str, Any]:
    """Return a column as codes, -1 where it is unknown, and the values that they stand for."""
    codes, values = pd.factorize(rows[column], sort=True)
    return {column: codes.tolist(), f"{column}_values": [clip(value, 120) for value in values]}


def describe_map(run: RunReport) -> dict[str, Any]:
    """Return what is known of the embedded captions; `row` counts in the rows shown."""
    mapped = run.mapped
    places = mapped.places
    return {
        "method": mapped.method,
        "row": np.searchsorted(run.shown, mapped.positions).tolist(),
        "x": None if places is None else [round(float(x), 4) for x in places[:, 0]],
        "y": None if places is None else [round(float(y), 4) for y in places[:, 1]],
        "rival": mapped.proximity.rival.tolist(),
        "margin": [round(float(margin), 3) for margin in mapped.proximity.margin],
    }


def find_elsewhere(run: RunReport, number: int, clusters: Sequence[pd.Series]) -> Iterator[dict[str, Any]]:
    """Yield for each other run the codes of the clusters that this run's ads have there, -1 for none."""
    image_ids = run.results.rows["image_id"].iloc[run.shown]
    for other, codes in enumerate(clusters):
        if other != number:
            yield {"run": other, "cluster": codes.reindex(image_ids, fill_value=-1).tolist()}
