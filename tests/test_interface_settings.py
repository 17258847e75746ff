"""Settings by name that Python would take for something else than they say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.cli import load
from support.collections import draw_flat

import ictc
from ictc.errors import ConfigError


def run(tmp_path: Path) -> ictc.Run:
    return ictc.cluster(draw_flat(tmp_path / "ads", 5), output_dir=tmp_path / "out", num_clusters=2, engine="scripted")


def test_words_for_yes_and_no_are_what_they_say(tmp_path: Path) -> None:
    made = run(tmp_path)
    other: dict[str, Any] = {"num_clusters": 2, "criterion": "the color", "engine": "scripted"}
    anew = made.recluster(output_dir=tmp_path / "anew", keep_labels="no", **other)
    kept = made.recluster(output_dir=tmp_path / "kept", keep_labels="yes", redo_2a="false", **other)
    labels = load(made.directory, "step2a_hooks.json")
    assert load(kept.directory, "step2a_hooks.json") == labels
    assert load(anew.directory, "step2a_hooks.json") != labels
    with pytest.raises(ConfigError, match="--keep_labels perhaps: input should be a valid boolean"):
        made.recluster(output_dir=tmp_path / "none", keep_labels="perhaps", **other)


@pytest.mark.parametrize(("images", "output_dir", "name"), [("", "out", "images"), ("ads", " ", "output_dir")])
def test_a_place_without_a_name_is_not_the_folder_one_is_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, images: str, output_dir: str, name: str
) -> None:
    draw_flat(tmp_path / "ads", 2)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=f"{name} is empty; give a path or a URL"):
        ictc.cluster(images, output_dir=output_dir, engine="scripted", num_clusters=2)
    assert [entry.name for entry in tmp_path.iterdir()] == ["ads"]
