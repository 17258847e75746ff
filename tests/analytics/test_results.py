"""Reading exported results: what is there, what is not, and what cannot be."""

from __future__ import annotations

from pathlib import Path

import orjson
import pandas as pd
import pytest
from support.cli import Ictc
from support.collections import draw_observation
from support.result_folders import write_results

from ictc.analytics.results import find_results, load_results, name_runs
from ictc.errors import ConfigError, IctcError, StorageError


def test_a_finished_run_is_read_as_it_was_exported(ictc: Ictc, tmp_path: Path) -> None:
    for number in range(20):
        draw_observation(tmp_path / "ads", f"ad_{number:02d}", number, observation={"platform": "TikTok"})
    (tmp_path / "ads" / "empty").mkdir()
    ictc.succeed(tmp_path / "ads", tmp_path / "out", "--engine_options", '{"fail": ["ad_03"]}')
    exported = orjson.loads((tmp_path / "out" / "ictc_final_results.json").read_bytes())
    run = load_results(tmp_path / "out")
    assert run.name == "marketing, K=3"
    assert run.criterion == "Marketing Strategy"
    assert run.metadata == exported["metadata"]
    assert [vars_of(one) for one in run.definitions] == exported["cluster_definitions"]
    assert run.rows["image_id"].tolist() == [row["image_id"] for row in exported["results"]]
    assert run.rows["cluster"].tolist() == [row["cluster"] for row in exported["results"]]
    assert run.rows["cluster"].cat.ordered
    assert run.rows["cluster"].cat.categories.tolist() == [one.name for one in run.definitions]
    assert len(run.rows) + len(run.filtered) == 21
    filtered = run.filtered.set_index("image_id")
    assert tuple(filtered.loc["ad_03", ["platform", "outcome", "stage"]]) == ("TikTok", "rejected", "caption")
    assert tuple(filtered.loc["empty", ["outcome", "stage", "reason"]]) == (
        "broken",
        "caption",
        "folder holds no image",
    )
    assert set(filtered["outcome"]) == {"ui_only", "rejected", "broken"}


def vars_of(definition: object) -> dict[str, object]:
    return {name: getattr(definition, name) for name in ("cluster_id", "name", "description")}


def test_only_the_columns_that_are_asked_for_are_read(tmp_path: Path) -> None:
    run = load_results(write_results(tmp_path / "out", {"a": "x", "b": "y"}), ["image_id"])
    assert list(run.rows.columns) == ["image_id", "cluster"]


def test_results_are_found_in_a_folder_and_in_the_tracks_inside_it(tmp_path: Path) -> None:
    alone = write_results(tmp_path / "alone", {"a": "x"})
    tracks = [write_results(tmp_path / "all" / name, {"a": "x"}) for name in ("full_run", "track2_identity")]
    assert find_results([tmp_path / "all", alone, alone]) == [*tracks, alone]
    with pytest.raises(ConfigError, match=r"^\S+nowhere: no results.parquet .*`ictc run`"):
        find_results([alone, tmp_path / "nowhere"])


def test_runs_with_the_same_name_are_told_apart(tmp_path: Path) -> None:
    runs = [load_results(write_results(tmp_path / name, {"a": "x", "b": "y"})) for name in ("one", "two")]
    third = load_results(write_results(tmp_path / "three", {"a": "x"}))
    assert name_runs([*runs, third]) == [*(f"marketing, K=2 ({run.directory})" for run in runs), "marketing, K=1"]


@pytest.mark.parametrize("name", ["results.parquet", "step3_metadata.json"])
def test_an_unfinished_run_says_which_step_is_missing(name: str, tmp_path: Path) -> None:
    directory = write_results(tmp_path / "out", {"a": "x"})
    (directory / name).unlink()
    with pytest.raises(ConfigError, match=f"no {name}, which Step 3 makes"):
        load_results(directory)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("results.parquet", b"torn"),
        ("step3_metadata.json", b"{"),
        ("step3_metadata.json", b"[]"),
        ("step3_metadata.json", b'{"clusters": []}'),
        ("image_mapping.json", b'{\n"a": \n}\n'),
        ("rejected.jsonl", b"{torn\n"),
    ],
)
def test_a_damaged_file_is_named(name: str, content: bytes, tmp_path: Path) -> None:
    directory = write_results(tmp_path / "out", {"a": "x"}, ui_only=("b",))
    (directory / name).write_bytes(content)
    with pytest.raises(StorageError, match=name) as caught:
        _ = load_results(directory).filtered
    assert "\n" not in str(caught.value)


def test_files_of_different_runs_are_not_mixed(tmp_path: Path) -> None:
    directory = write_results(tmp_path / "out", {"a": "x"})
    other = write_results(tmp_path / "other", {"a": "y"})
    (other / "results.parquet").replace(directory / "results.parquet")
    with pytest.raises(IctcError, match="different runs"):
        load_results(directory)


def test_nothing_filtered_is_an_empty_table(tmp_path: Path) -> None:
    filtered = load_results(write_results(tmp_path / "out", {"a": "x"})).filtered
    assert isinstance(filtered, pd.DataFrame)
    assert list(filtered.columns)[-3:] == ["outcome", "stage", "reason"]
    assert filtered.empty
