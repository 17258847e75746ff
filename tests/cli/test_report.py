"""`ictc report` as a command: what it tells and what it refuses; the page itself is tested in a browser."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.cli import Ictc, load
from support.collections import draw_flat
from support.result_folders import write_results

pytest.importorskip("pandas", reason="the report needs the extra analysis")
pytest.importorskip("bokeh", reason="the report needs the extra analysis")


def test_the_page_is_written_and_named(ictc: Ictc, tmp_path: Path) -> None:
    run = write_results(tmp_path / "run", {"a": "Trust", "b": "Bargains"}, names=("Trust", "Bargains", "Empty"))
    page = tmp_path / "new" / "report.html"
    outcome = ictc("report", run, "--output", page, "--embeddings", "tfidf")
    assert (outcome.exit_code, outcome.stderr) == (0, "")
    assert outcome.stdout.startswith(f"Report: {page} (")
    text = page.read_text(encoding="utf-8")
    assert "No ad was sorted into this cluster." in text
    assert "Too few ads for a map." in text


def test_a_folder_without_results_is_refused(ictc: Ictc, tmp_path: Path) -> None:
    outcome = ictc("report", tmp_path, "--output", tmp_path / "report.html")
    assert outcome.exit_code == 2
    assert "results.parquet" in outcome.stderr
    assert not (tmp_path / "report.html").exists()


def test_results_without_any_ad_are_refused(ictc: Ictc, tmp_path: Path) -> None:
    run = write_results(tmp_path / "run", {}, names=("Trust",))
    for command in (("report", run, "--output", tmp_path / "report.html"), ("sample", run)):
        outcome = ictc(*command)
        assert outcome.exit_code == 2
        assert "no image has a cluster" in outcome.stderr


class TestAfterARun:
    """That something besides the results can't be made costs no finished run."""

    @pytest.fixture
    def broken(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def fail(*_: object) -> None:
            raise ValueError("of a library,\nin two lines")

        monkeypatch.setattr("ictc.report.page.build_page", fail)
        monkeypatch.setattr("ictc.analytics.comparison.compare_clusterings", fail)

    def test_a_page_that_cannot_be_made_is_told_with_how_to_try_again(
        self, ictc: Ictc, tmp_path: Path, broken: None
    ) -> None:
        out = tmp_path / "out"
        finished = ictc.succeed(draw_flat(tmp_path / "ads", 8), out, "--report", "on")
        (line,) = [line for line in finished.stderr.splitlines() if line.startswith("No report page")]
        assert "ValueError: of a library, in two lines; the results are finished" in line
        assert f"ictc report {out} --output {out / 'report.html'}. Log: {out / 'logs'}" in line
        assert "Traceback" in next((out / "logs").iterdir()).read_text()
        assert load(out, "run.json")["status"] == "finished"
        assert ictc("report", out, "--output", tmp_path / "page.html").exit_code == 1

    def test_so_is_a_comparison(self, ictc: Ictc, tmp_path: Path, broken: None) -> None:
        ictc.succeed(draw_flat(tmp_path / "ads", 8), tmp_path / "out")
        folders = ("--source_dir", tmp_path / "out", "--output_dir", tmp_path / "ks")
        finished = ictc("recluster", *folders, "--num_clusters", "2,3")
        assert finished.exit_code == 0
        assert "No comparison: ValueError" in finished.stderr
        assert load(tmp_path / "ks" / "k3", "run.json")["status"] == "finished"
