"""What is particular to a step is known in its own module alone, checked on the source."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.step_configs import make_config

import ictc
from ictc.records import ClusterDefinition
from ictc.steps.results import Results
from ictc.steps.table import STEPS
from ictc.storage.manifest import Manifest

PACKAGE = Path(ictc.__file__).parent
WALKERS = ("pipeline.py", "merge.py", "recluster.py", "runs", "executors", "stages", "planning")
"""Those who work with whatever steps the table has."""

TELLS_OF_CLUSTERS = "runs/summary.py"
"""The end of a run shows clusters with their images: what the product is for."""


def modules(*names: str) -> list[Path]:
    paths = [
        path
        for name in names
        for path in ([PACKAGE / name] if name.endswith(".py") else (PACKAGE / name).rglob("*.py"))
    ]
    return [path for path in paths if path.relative_to(PACKAGE).as_posix() != TELLS_OF_CLUSTERS]


def everybody_else() -> list[Path]:
    return [path for path in PACKAGE.rglob("*.py") if path.relative_to(PACKAGE).parts[0] != "steps"]


def constants(tree: ast.AST) -> Iterator[str]:
    return (node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str))


def imported(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{name.name}" for name in node.names)


def fields_read(tree: ast.AST) -> Iterator[str]:
    """Yield what is read of something called a key, as `key["field"]` or `key.get("field")`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Subscript) and is_key(node.value) and isinstance(node.slice, ast.Constant):
            yield str(node.slice.value)
        is_get = isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "get"
        if is_get and is_key(node.func.value) and node.args and isinstance(node.args[0], ast.Constant):
            yield str(node.args[0].value)


def is_key(node: ast.AST) -> bool:
    return (isinstance(node, ast.Name) and node.id.endswith("key")) or (
        isinstance(node, ast.Attribute) and node.attr.endswith("key") and "manifest" not in ast.unparse(node)
    )


def key_fields(tmp_path: Path) -> set[str]:
    results = Results(Manifest(tmp_path / "manifest.jsonl", {}, 0))
    (tmp_path / "manifest.jsonl").touch()
    given = (ClusterDefinition(1, name="one", description=""), ClusterDefinition(2, name="two", description=""))
    configs = (
        make_config(),
        make_config(given=given),
        make_config(combined="digest", dedupe="near", allow_none=True, multi_label=True),
    )
    return {name for config in configs for step in STEPS for name in step.key(config, results)}


@pytest.mark.parametrize("path", modules(*WALKERS), ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_who_walks_the_table_knows_no_step_by_name(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    known = {step.name for step in STEPS} | {step.number for step in STEPS}
    assert not known & set(constants(tree))
    assert not {f"ictc.steps.{step.name}" for step in STEPS} & set(imported(tree))


def test_nobody_else_names_the_files_of_a_step() -> None:
    names = {file.name for step in STEPS for file in step.files}
    assert len(names) > 10
    found = {
        (path.name, name) for path in everybody_else() for name in names & set(constants(ast.parse(path.read_text())))
    }
    assert not found


def test_nobody_else_reads_the_fields_of_a_key(tmp_path: Path) -> None:
    fields = key_fields(tmp_path)
    assert {
        "model",
        "prompt",
        "num_clusters",
        "given",
        "clusters",
        "combined",
        "dedupe",
        "allow_none",
        "multi_label",
    } <= fields
    found = {
        (path.name, name)
        for path in everybody_else()
        for name in fields & set(fields_read(ast.parse(path.read_text())))
    }
    assert not found


def test_steps_come_after_those_that_they_need() -> None:
    for place, step in enumerate(STEPS):
        assert set(step.needs) <= set(STEPS[:place])
    assert len({step.name for step in STEPS}) == len({step.number for step in STEPS}) == len(STEPS)
