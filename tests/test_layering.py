"""The rules of the architecture, checked on the source: who imports whom, who prints, what is documented."""

from __future__ import annotations

import ast
import importlib
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.cli import start_ictc
from support.collections import draw_flat

import ictc

PACKAGE = Path(ictc.__file__).parent
MODULES = {
    ".".join(("ictc", *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__"): path
    for path in sorted(PACKAGE.rglob("*.py"))
}

BASE = {"records", "config", "errors", "secrecy", "version"}
MAY_IMPORT = {
    "errors": set(),
    "version": set(),
    "secrecy": set(),
    "records": set(),
    "answers": set(),
    "grouping": {"errors", "records"},
    "inference": set(),
    "config": {"errors", "secrecy"},
    "storage": {"records", "errors"},
    "dataset": {"records", "errors", "version"},
    "engines.base": {"records", "errors"},
    "tracks": {"engines.base", "answers", "records", "errors", "secrecy"},
    "engines": {"engines.base", "answers", "grouping", *BASE},
    "engines.provider": {"engines", "engines.base", *BASE},
    "stages": {"engines.base", "tracks", "dataset", "storage", *BASE},
    "steps": {"stages", "engines.base", "tracks", "grouping", "inference", "dataset", "storage", *BASE},
    "executors": {"stages", "engines", "engines.base", "engines.provider", "dataset", *BASE},
    "runs": {"steps", "executors", "stages", "engines.base", "engines.provider", "tracks", "dataset", "storage", *BASE},
    "pipeline": {"steps", "runs", "executors", "stages", "engines.provider", "tracks", "dataset", "storage", *BASE},
    "merge": {"steps", "pipeline", "runs", "engines.provider", "tracks", "storage", *BASE},
    "importing": {"steps", "pipeline", "runs", "stages", "tracks", "dataset", "storage", *BASE},
    "recluster": {"steps", "importing", "pipeline", "runs", "engines.provider", "tracks", "storage", *BASE},
    "suggesting": {
        *(
            "recluster",
            "pipeline",
            "runs",
            "executors",
            "steps",
            "stages",
            "engines.base",
            "tracks",
            "dataset",
            "storage",
        ),
        *BASE,
    },
    "intrusion": {
        *(
            "suggesting",
            "analytics",
            "pipeline",
            "runs",
            "stages",
            "steps",
            "engines.base",
            "tracks",
            "storage",
        ),
        *BASE,
    },
    "analytics": {"steps", "storage", *BASE},
    "validation": {"analytics", "steps", "storage", *BASE},
    "report": {"steps", "analytics", "validation", "runs", "stages", "engines", "dataset", "storage", *BASE},
    "planning": {"steps", "engines", "engines.base", "grouping", "dataset", "tracks", *BASE},
    "interface": {
        "pipeline",
        "recluster",
        "suggesting",
        "intrusion",
        "report",
        "analytics",
        "runs",
        "stages",
        "dataset",
        "storage",
        *BASE,
    },
    "cli": {
        *(
            "interface",
            "importing",
            "pipeline",
            "merge",
            "suggesting",
            "intrusion",
            "planning",
            "report",
            "analytics",
            "validation",
            "runs",
            "steps",
            "stages",
            "tracks",
        ),
        "storage",
        *BASE,
    },
}
"""From each layer to the layers below it that it may use; a layer may always use itself."""

PARTS_OF_DATASET = {"fetching": set(), "decoding": set(), "catalog": {"fetching"}}
"""From each part to those that it may use; `reader` joins them, and what errors mean is known to all."""

HEAVY = ("torch", "vllm", "transformers", "openai", "pyarrow", "PIL", "numpy", "pandas", "scipy", "matplotlib", "ray")
FIRST_LINE_WITHIN_S = 2.0


def syntax_tree(module: str) -> ast.Module:
    return ast.parse(MODULES[module].read_text(encoding="utf-8"))


def layer_of(module: str) -> str:
    """Return the name in `MAY_IMPORT` that `module` belongs to."""
    name = module.removeprefix("ictc").removeprefix(".")
    return name if name in ("engines.base", "engines.provider") else name.partition(".")[0]


def imported_modules(module: str) -> Iterator[str]:
    """Yield the modules of the package that `module` imports, also inside its functions."""
    for node in ast.walk(syntax_tree(module)):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names if name.name.startswith("ictc"))
        elif isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("ictc"):
            for name in node.names:
                submodule = f"{node.module}.{name.name}"
                yield submodule if submodule in MODULES else node.module


@pytest.mark.parametrize("module", [name for name in MODULES if name != "ictc"])
def test_imports_go_one_way(module: str) -> None:
    layer = layer_of(module)
    forbidden = {layer_of(name) for name in imported_modules(module)} - {"", layer} - MAY_IMPORT[layer]
    assert not forbidden


@pytest.mark.parametrize("part", PARTS_OF_DATASET)
def test_the_parts_of_dataset_are_apart(part: str) -> None:
    modules = [name for name in MODULES if name.startswith(f"ictc.dataset.{part}")]
    imported = {name for module in modules for name in imported_modules(module) if name.startswith("ictc.dataset.")}
    assert {name.split(".")[2] for name in imported} <= {"file_errors", part, *PARTS_OF_DATASET[part]}


@pytest.mark.parametrize("module", [name for name in MODULES if not name.startswith("ictc.cli")])
def test_only_the_command_line_prints_or_exits(module: str) -> None:
    tree = syntax_tree(module)
    calls = {ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    raised = {ast.unparse(node.exc) for node in ast.walk(tree) if isinstance(node, ast.Raise) and node.exc}
    assert not calls & {"print", "exit", "quit", "input", "sys.exit", "os._exit", "os.abort", "sys.stdout.write"}
    assert not any(error.startswith("SystemExit") for error in raised)


def test_importing_the_command_line_imports_nothing_heavy() -> None:
    script = f"import sys, ictc.cli.main, ictc.cli.run; print(*sorted(sys.modules.keys() & {set(HEAVY)!r}))"
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert loaded.split() == []


@pytest.mark.clock
def test_the_first_progress_line_comes_within_two_seconds(tmp_path: Path) -> None:
    ads = draw_flat(tmp_path / "ads", 8)
    seconds = [first_line_after(ads, tmp_path / f"out{number}") for number in range(3)]
    assert statistics.median(seconds) < FIRST_LINE_WITHIN_S, seconds


def first_line_after(ads: Path, out: Path) -> float:
    """Return the seconds from the command to its first line of progress."""
    started = time.monotonic()
    with start_ictc("run", "--ads_dir", ads, "--output_dir", out, "--engine", "scripted") as process:
        assert process.stderr is not None
        line = process.stderr.readline()
        seconds = time.monotonic() - started
        process.communicate(timeout=60)
    assert line.startswith("Step 0")
    return seconds


def public_definitions(module: str) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef]:
    for node in syntax_tree(module).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            yield node


@pytest.mark.parametrize("module", MODULES)
def test_what_is_public_is_documented(module: str) -> None:
    undocumented = [node.name for node in public_definitions(module) if not ast.get_docstring(node)]
    assert not undocumented
    has_code = bool(syntax_tree(module).body)
    assert not has_code or ast.get_docstring(syntax_tree(module)), f"{module} does not say what it knows"


def test_exported_names_exist() -> None:
    exporting = [name for name, path in MODULES.items() if "__all__" in path.read_text(encoding="utf-8")]
    assert "ictc.tracks" in exporting
    for name in exporting:
        module = importlib.import_module(name)
        missing = [exported for exported in module.__all__ if not hasattr(module, exported)]
        assert not missing, f"{name}.__all__ names {missing}"
        assert len(set(module.__all__)) == len(module.__all__)
