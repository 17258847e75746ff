"""What is published follows the files of a run, also after what interrupted it."""

from __future__ import annotations

from pathlib import Path

import pytest

from ictc.errors import StorageError
from ictc.stages.publish import publish, publish_to


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run directory with two exports, published nowhere yet."""
    pytest.importorskip("fsspec")
    run = tmp_path / "run"
    (run / "state").mkdir(parents=True)
    publish_to(run, f"file://{tmp_path / 'there'}")
    for name in ("a.json", "b.json"):
        (run / name).write_text(name)
    return run


def published(run: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in (run.parent / "there").iterdir()}


def test_changes_and_deletions_are_followed(run: Path) -> None:
    publish(run)
    assert published(run) == {"a.json": "a.json", "b.json": "b.json"}
    (run / "a.json").write_text("changed")
    (run / "b.json").unlink()
    publish(run)
    assert published(run) == {"a.json": "changed"}


def test_what_was_copied_before_a_refusal_and_deleted_since_is_deleted_there(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fsspec_local = pytest.importorskip("fsspec.implementations.local")
    copy = fsspec_local.LocalFileSystem.put_file

    def copy_one(self: object, source: str, target: str) -> None:
        if target.endswith("b.json"):
            raise OSError("no more")
        copy(self, source, target)

    with monkeypatch.context() as refusing:
        refusing.setattr(fsspec_local.LocalFileSystem, "put_file", copy_one)
        with pytest.raises(StorageError, match="cannot write to file://"):
            publish(run)
    assert published(run) == {"a.json": "a.json"}
    (run / "a.json").unlink()
    publish(run)
    assert published(run) == {"b.json": "b.json"}
