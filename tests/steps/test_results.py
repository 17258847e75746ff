"""What several files and keys say of all images is found out once, and again after every new record."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.cli import Ictc
from support.collections import draw_flat

from ictc.records import ImageRecord
from ictc.steps import label
from ictc.steps.caption import CAPTION
from ictc.steps.results import Results
from ictc.storage.journal import Journal
from ictc.storage.manifest import save_manifest


def test_what_is_made_of_records_is_made_again_when_there_are_others(tmp_path: Path) -> None:
    manifest = save_manifest(tmp_path / "manifest.jsonl", {}, [ImageRecord("a", path="a"), ImageRecord("b", path="b")])
    calls = []

    def count_done(results: Results) -> int:
        calls.append(None)
        return results.count_statuses(CAPTION).total()

    results = Results(manifest)
    assert results.once(count_done, CAPTION) == 0
    with Journal(tmp_path / "captions") as journal:
        results.journals[CAPTION] = journal
        for number, image_id in enumerate(("a", "b"), start=1):
            journal.append({"id": image_id, "input": "0" * 16, "status": "done", "data": {}})
            assert [results.once(count_done, CAPTION) for _ in range(2)] == [number, number]
        journal.append({"id": "b", "input": "1" * 16, "status": "done", "data": {}})
        results.once(count_done, CAPTION)
        assert len(calls) == 4


def test_a_run_reads_its_labels_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    label_of = label.label_of
    monkeypatch.setattr(
        label, "label_of", lambda results, image_id: read.append(image_id) or label_of(results, image_id)
    )
    ads = draw_flat(tmp_path / "ads", 8)
    Ictc(capsys).succeed(ads, tmp_path / "out", "--steps", "1,2a,2b")
    once_to_export_once_to_count = 2
    assert max(map(read.count, read)) == once_to_export_once_to_count
