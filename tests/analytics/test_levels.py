"""Nested clusters in the analyses: each takes a level, and says which there are."""

from __future__ import annotations

import csv
from pathlib import Path

import orjson
import pandas as pd
import pyarrow.parquet as pq
import pytest
from support.cli import Ictc
from support.collections import draw_image
from support.result_folders import make_level, write_results

import ictc as package
from ictc.analytics.levels import lift_sets
from ictc.analytics.results import load_results
from ictc.errors import ConfigError

LEVELS = (make_level("coarse", ["Goods", "Services"]), make_level("fine", ["Shoes", "Bread", "Bank"], (1, 1, 2)))
ADS = {f"ad_{number:02d}": ("Shoes", "Bread", "Bank", None)[number % 4] for number in range(32)}
COARSE = {"Shoes": "Goods", "Bread": "Goods", "Bank": "Services", None: None}


@pytest.fixture
def out(tmp_path: Path) -> Path:
    columns = {
        "timestamp": {ad: f"2025-0{1 + place % 2}-15T10:00:00Z" for place, ad in enumerate(ADS)},
        "image_path": {ad: f"{ad}.png" for ad in ADS},
        "summary": {ad: f"summary {place}" for place, ad in enumerate(ADS)},
    }
    return write_results(tmp_path / "out", ADS, levels=LEVELS, **columns)


@pytest.fixture
def truth(tmp_path: Path) -> Path:
    """The coarse clusters, one image of them wrong."""
    with (tmp_path / "truth.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["image_id", "truth"])
        rows.writerows([ad, COARSE[name]] for ad, name in ADS.items() if name and ad != "ad_00")
        rows.writerow(["ad_00", "Services"])
    return tmp_path / "truth.csv"


def test_results_are_read_at_a_level(out: Path) -> None:
    fine, coarse = load_results(out), load_results(out, level=" Coarse")
    assert (fine.name, coarse.name) == ("marketing, K=3", "marketing, K=2, coarse")
    assert [one.name for one in coarse.definitions] == coarse.judged["cluster"].cat.categories.tolist()
    assert coarse.rows["cluster"].tolist() == [COARSE[name] for name in fine.rows["cluster"]]
    assert coarse.rows["cluster"].tolist() == fine.rows["level.coarse"].tolist()
    assert coarse.rows["level.fine"].tolist() == fine.rows["cluster"].tolist()
    assert coarse.rows["cluster_id"].tolist() == [1 if name != "Bank" else 2 for name in fine.rows["cluster"]]
    assert coarse.rows["cluster_id"].dtype == fine.rows["cluster_id"].dtype
    assert len(coarse.none) == len(fine.none) == 8
    assert "cluster_path" not in fine.judged
    only = load_results(out, ["image_id"], level="coarse")
    assert list(only.rows.columns) == ["image_id", "cluster"]
    with pytest.raises(ConfigError, match=r"--level medium: .* has the levels coarse, fine"):
        fine.at_level("medium")


def test_a_run_has_a_table_of_its_levels(out: Path) -> None:
    levels = package.Run(out).levels
    assert levels[["level", "name", "size"]].to_numpy().tolist() == [
        ["coarse", "Goods", 16],
        ["coarse", "Services", 8],
        ["fine", "Shoes", 8],
        ["fine", "Bread", 8],
        ["fine", "Bank", 8],
    ]
    assert levels["parent"].dropna().tolist() == [1, 1, 2]
    flat = package.Run(write_results(out.with_name("flat"), {"a": "x", "b": "y"}))
    assert flat.levels.empty
    assert pd.api.types.is_integer_dtype(flat.levels["parent"].dtype)


def test_every_level_is_compared_with_the_truth(ictc: Ictc, out: Path, truth: Path, tmp_path: Path) -> None:
    told = ictc("evaluate", out, "--truth", truth, "--output_dir", tmp_path / "scores")
    assert told.exit_code == 0, told.stderr
    assert "(marketing, K=3) against" in told.stdout
    written = orjson.loads((tmp_path / "scores" / "evaluation.json").read_bytes())
    assert (written["level"], written["clusters"]) == ("fine", 3)
    coarse, fine = written["levels"]
    assert (coarse["level"], coarse["accuracy"]) == ("coarse", pytest.approx(23 / 24))
    assert (fine["level"], fine["accuracy"]) == ("fine", written["scores"]["accuracy"])
    assert "Each level\n  level   clusters  accuracy" in told.stdout
    one = ictc("evaluate", out, "--truth", truth, "--level", "coarse", "--output_dir", tmp_path / "one")
    assert "(marketing, K=2, coarse) against" in one.stdout
    assert "Each level" not in one.stdout
    assert "levels" not in orjson.loads((tmp_path / "one" / "evaluation.json").read_bytes())
    each = ictc("evaluate", out, "--truth", truth, "--level", "all", "--output_dir", tmp_path / "each")
    assert each.stdout.count(" against ") == 2
    assert [path.name for path in sorted((tmp_path / "each").iterdir())] == ["level_1", "level_2"]


def test_all_clusters_that_fit_are_those_of_a_level() -> None:
    fitting = pd.Series({"a": ["Bread", "Bank", "Shoes"], "b": ["Bank"], "c": []})
    assert lift_sets(fitting, LEVELS, 0).to_dict() == {"a": ["Goods", "Services"], "b": ["Services"], "c": []}
    assert lift_sets(fitting, LEVELS, 1).to_dict() == fitting.to_dict()


def test_levels_that_are_not_there_are_told(ictc: Ictc, out: Path, truth: Path, tmp_path: Path) -> None:
    flat = write_results(tmp_path / "flat", {"a": "x", "b": "y"})
    for command in (("evaluate", out, "--truth", truth), ("sample", out), ("trends", out, "--by", "month")):
        told = ictc(*command, "--level", "finest")
        assert (told.exit_code, "has the levels coarse, fine" in told.stderr) == (2, True)
        told = ictc(command[0], flat, *command[2:], "--level", "coarse")
        assert (told.exit_code, "has no levels; leave out --level" in told.stderr) == (2, True)


def test_samples_and_trends_are_of_a_level(ictc: Ictc, out: Path, tmp_path: Path) -> None:
    for ad in ADS:
        draw_image(tmp_path / "ads" / f"{ad}.png")
    told = ictc("sample", out, "--level", "coarse", "--per_cluster", 3, "--ads_dir", tmp_path / "ads")
    assert "9 ads of 2 clusters and of those that none fits" in told.stdout
    with (out / "sample" / "sample.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["cluster"] for row in rows] == ["Goods"] * 3 + ["Services"] * 3 + ["None of these"] * 3
    assert all(COARSE[row["level.fine"] or None] == (row["cluster"] if row["level.fine"] else None) for row in rows)
    told = ictc("trends", out, "--by", "month", "--level", "coarse", "--min_ads", 1)
    assert "[1] Goods\n  [2] Services\n" in told.stdout


def test_exports_tell_the_coarser_clusters(ictc: Ictc, out: Path, tmp_path: Path) -> None:
    for ad in ADS:
        draw_image(tmp_path / "ads" / f"{ad}.png")
    expected = {ad: COARSE[name] for ad, name in ADS.items()}
    found = {}
    for form in ("csv", "huggingface", "fiftyone", "datamap"):
        told = ictc("export", out, "--format", form, "--output", tmp_path / form, "--ads_dir", tmp_path / "ads")
        assert told.exit_code == 0, told.stderr
    with (tmp_path / "csv").open(newline="") as file:
        found["csv"] = {row["image_id"]: row["level.coarse"] or None for row in csv.DictReader(file)}
    table = pq.read_table(tmp_path / "huggingface" / "train" / "metadata.parquet").to_pylist()
    found["huggingface"] = {row["image_id"]: row["level.coarse"] for row in table}
    labels = orjson.loads((tmp_path / "fiftyone" / "labels.json").read_bytes())["labels"].values()
    found["fiftyone"] = {one["attributes"]["image_id"]: one["attributes"]["level.coarse"] for one in labels}
    datamap = orjson.loads((tmp_path / "datamap").read_bytes())
    found["datamap"] = {point["image_id"]: point["level.coarse"] for point in datamap["points"]}
    assert [level["name"] for level in datamap["levels"]] == ["coarse", "fine"]
    assert found["csv"] == expected
    with_cluster = {ad: name for ad, name in expected.items() if name}
    assert [found[form] for form in ("huggingface", "fiftyone", "datamap")] == [with_cluster] * 3
