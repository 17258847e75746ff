"""`ictc consensus`, `ictc archetypes` and `ictc trends` over runs and over results made for them."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from support.cli import Ictc, load
from support.collections import draw_observation
from support.result_folders import write_results

DAY = 86_400
FIRST_DAY = 1_740_787_200  # 2025-03-01


@pytest.fixture(scope="module")
def ads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("collection") / "ads"
    for number in range(40):
        draw_observation(folder, f"ad_{number:02d}", number, timestamp=FIRST_DAY + number * DAY)
    return folder


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_runs_with_several_k_have_a_consensus(ictc: Ictc, ads: Path, tmp_path: Path) -> None:
    for num_clusters in (3, 4, 5):
        ictc.succeed(ads, tmp_path / f"k{num_clusters}", "--num_clusters", num_clusters)
    folders = [tmp_path / f"k{num_clusters}" for num_clusters in (3, 4, 5)]
    outcome = ictc("consensus", *folders, "--output_dir", tmp_path / "out")
    assert outcome.exit_code == 0, outcome.stderr
    summary = load(tmp_path / "out", "consensus.json")
    assigned = {row["image_id"] for row in load(folders[0], "ictc_final_results.json")["results"]}
    rows = read_csv(tmp_path / "out" / "consensus_assignment.csv")
    assert {row["image_id"] for row in rows} == assigned
    assert summary["images"] == len(assigned)
    assert summary["runs"] == ["marketing, K=3", "marketing, K=4", "marketing, K=5"]
    assert sum(summary["pairs_together_in_m_runs"]) == len(assigned) * (len(assigned) - 1) // 2
    assert len(summary["clusters"]) == 4
    assert len(summary["cluster_fates"]) == 2 * (3 + 4 + 5)
    assert sum(int(row["size"]) for row in read_csv(tmp_path / "out" / "consensus_groups.csv")) == len(assigned)
    for row in rows:
        assert 0 < float(row["support"]) <= 1
        assert row["cluster"] in {cluster["cluster"] for cluster in summary["clusters"]}
    again = ictc("consensus", *folders, "--output_dir", tmp_path / "again")
    assert again.exit_code == 0
    for path in (tmp_path / "out").iterdir():
        assert path.read_bytes() == (tmp_path / "again" / path.name).read_bytes()
    truth = tmp_path / "out" / "consensus_assignment.csv"
    outcome = ictc("evaluate", truth, "--truth", truth, "--column", "cluster")
    assert "accuracy (Hungarian)                  1.000" in outcome.stdout


def test_tracks_have_archetypes(ictc: Ictc, ads: Path, tmp_path: Path) -> None:
    ictc.succeed(ads, tmp_path / "all", "--track", "1,2,3")
    outcome = ictc("archetypes", tmp_path / "all", "--output_dir", tmp_path / "out")
    assert outcome.exit_code == 0, outcome.stderr
    summary = load(tmp_path / "out", "archetypes.json")
    assert summary["tracks"] == ["marketing, K=3", "identity, K=3", "cultural, K=3"]
    assert sum(row["count"] for row in summary["archetypes"]) == summary["images"]
    assert len(summary["agreement"]) == 3
    for row in read_csv(tmp_path / "out" / "archetypes.csv"):
        assert float(row["lift"]) == pytest.approx(int(row["count"]) / float(row["expected"]))
    refused = ictc("consensus", tmp_path / "all", "--output_dir", tmp_path / "refused")
    assert refused.exit_code == 2
    assert "these runs ask different things" in refused.stderr


def test_shares_over_time_add_up(ictc: Ictc, ads: Path, tmp_path: Path) -> None:
    ictc.succeed(ads, tmp_path / "out")
    outcome = ictc("trends", tmp_path / "out", "--by", "month", "--min_ads", 1, "--output_dir", tmp_path / "trends")
    assert outcome.exit_code == 0, outcome.stderr
    rows = read_csv(tmp_path / "trends" / "trends_month.csv")
    assert {row["month"] for row in rows} == {"2025-03", "2025-04"}
    for month in ("2025-03", "2025-04"):
        chosen = [row for row in rows if row["month"] == month]
        assert sum(float(row["share"]) for row in chosen) == pytest.approx(1)
        assert {int(row["total"]) for row in chosen} == {sum(int(row["count"]) for row in chosen)}
        assert all(float(row["low"]) <= float(row["share"]) <= float(row["high"]) for row in chosen)
    assert "2025-04" in outcome.stdout
    assert load(tmp_path / "trends", "trends_month.json")["images"] == sum(int(row["count"]) for row in rows)


def test_a_shift_that_is_there_is_found_and_hostile_brands_are_text(ictc: Ictc, tmp_path: Path) -> None:
    ids = [f"ad_{n}" for n in range(300)]
    brands = ["=SUM(A1)", "<b>\x1b[1mBold\u202e</b>", "ACME, Inc.", "Acme"]
    write_results(
        tmp_path / "out",
        {one: "sale" if n % 4 == 0 or n % 20 == 1 else "mood" for n, one in enumerate(ids)},
        brand={one: brands[n % 4] for n, one in enumerate(ids)},
    )
    outcome = ictc("trends", tmp_path / "out", "--by", "brand", "--output_dir", tmp_path / "trends")
    assert outcome.exit_code == 0, outcome.stderr
    assert "\x1b" not in outcome.stdout
    rows = {(row["brand"], row["cluster"]): row for row in read_csv(tmp_path / "trends" / "trends_brand.csv")}
    assert len(rows) == 6
    assert rows["ACME, Inc.", "mood"]["total"] == "150"
    assert rows["'=SUM(A1)", "sale"]["clear"] == "True"
    assert float(rows["'=SUM(A1)", "sale"]["shift"]) == pytest.approx(1 - 15 / 225)
    assert "+93.3%" in outcome.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("consensus", "k2", "--output_dir", "c"), "give the directories of 2 to 12 runs; here are the results of 1"),
        (("consensus", "k2", "other", "--output_dir", "c"), "no image has a cluster in all of"),
        (("consensus", "k2", "k3", "--output_dir", "c", "--num_clusters", 9), "tell only 3 groups of images apart"),
        (("consensus", "k2", "k3", "--output_dir", "c", "--num_clusters", 1), "Must be >= 2"),
        (("archetypes", "k2", "k3"), "give two or more tracks, each once"),
        (("archetypes", "nowhere"), "nowhere: no results.parquet"),
        (("trends", "k2", "--by", "month"), "no image with a cluster has a timestamp"),
        (("trends", "k2", "--by", "brand"), "no image with a cluster has a brand"),
        (("trends", ".", "--by", "brand"), "holds several results; name one of"),
        (("trends", "k2", "--by", "decade"), "decade"),
    ],
)
def test_what_cannot_be_compared_is_said_in_one_line(
    arguments: tuple[object, ...], message: str, ictc: Ictc, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_results(Path("k2"), {"a": "x", "b": "x", "c": "y"})
    write_results(Path("k3"), {"a": "p", "b": "q", "c": "r"})
    write_results(Path("other"), {"z": "x"})
    outcome = ictc(*arguments)
    assert outcome.exit_code in (1, 2)
    assert message in outcome.stderr
    assert outcome.stderr.count("\n") == 1
    assert not outcome.stdout
