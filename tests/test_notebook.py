"""The notebook of examples/: it runs from its first to its last cell, and is kept as somebody who opens it wants it."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pytest

nbclient = pytest.importorskip("nbclient", reason="the notebook is run with nbclient")
nbformat = pytest.importorskip("nbformat", reason="the notebook is run with nbclient")
pytest.importorskip("ipykernel", reason="the notebook needs a kernel")
pytest.importorskip("onnxruntime", reason="the notebook uses the lite engine")
pytest.importorskip("matplotlib", reason="the notebook needs the extra analysis")

EXAMPLES = Path(__file__).parents[1] / "examples"
NOTEBOOK = EXAMPLES / "cluster_ads.ipynb"


def code_cells(notebook: Any) -> list[Any]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def test_it_is_kept_without_outputs_and_names_no_place_of_a_machine() -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    assert all((cell.outputs, cell.execution_count) == ([], None) for cell in code_cells(notebook))
    assert notebook.metadata.kernelspec.name == "python3"
    assert not re.search(r"/(home|root|tmp|work|Users)\b|[A-Z]:\\\\", NOTEBOOK.read_text(encoding="utf-8"))


@pytest.mark.lite
@pytest.mark.timeout(900)
def test_it_runs_and_shows_tables_plots_and_the_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    folder = shutil.copytree(EXAMPLES, tmp_path / "examples", ignore=shutil.ignore_patterns("demo"))
    notebook = nbformat.read(folder / NOTEBOOK.name, as_version=4)
    client = nbclient.NotebookClient(notebook, timeout=800, resources={"metadata": {"path": str(folder)}})
    client.execute()
    shown = [output.data for cell in code_cells(notebook) for output in cell.outputs if "data" in output]
    tables = [data["text/html"] for data in shown if "<table" in data.get("text/html", "")]
    frames = [data["text/html"] for data in shown if data.get("text/html", "").startswith("<iframe")]
    assert len(tables) >= 5
    assert len([data for data in shown if "image/png" in data]) == 2
    assert len(frames) == 1
    assert "srcdoc=" in frames[0][:50]
    said = "".join(output.text for cell in code_cells(notebook) for output in cell.outputs if "text" in output)
    assert "product category (general): 32 images, 2" in said
    assert "Step 2b clusters: 3 from" in said
