"""`ictc report` as a command: what it tells and what it refuses; the page itself is tested in a browser."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.cli import Ictc
from support.result_folders import write_results

pytest.importorskip("pandas", reason="the report needs the extra analysis")
pytest.importorskip("bokeh", reason="the report needs the extra analysis")


@pytest.fixture
def ictc(capsys: pytest.CaptureFixture[str]) -> Ictc:
    return Ictc(capsys)


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
