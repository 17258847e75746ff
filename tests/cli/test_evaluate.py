"""`ictc evaluate`: scores, what could not be compared, the confusion matrix, and tables that are wrong."""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterable
from pathlib import Path
from unicodedata import normalize
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from PIL import Image
from sklearn import metrics
from support.cli import Ictc, load
from support.collections import draw_flat
from support.result_folders import write_results

import ictc as package
from ictc.analytics.agreement import match_clusters
from ictc.analytics.association import contingency_table
from ictc.analytics.confusion import confusion_matrix, draw_confusion


def write_table(path: Path, header: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    return path


TRUTH = ["cat"] * 6 + ["dog"] * 5 + ["owl"] * 4
CLUSTERS = ["felines"] * 5 + ["canines"] * 5 + ["birds"] * 5


def write_both(folder: Path, clusters: list[str], truth: list[str]) -> tuple[Path, Path]:
    """Write one table of clusters and one of classes for the same images."""
    return (
        write_table(
            folder / "assignments.csv", ("id", "cluster"), ((f"ad_{n}", one) for n, one in enumerate(clusters))
        ),
        write_table(folder / "truth.csv", ("image_id", "truth"), ((f"ad_{n}", one) for n, one in enumerate(truth))),
    )


def test_ids_in_another_unicode_form_are_the_same_images(ictc: Ictc, tmp_path: Path) -> None:
    names = ["café", "Müller", "São", "über", "plain", "한국"]
    rows = [(f"{name}", "ab"[number % 2]) for number, name in enumerate(names)]
    decomposed = [(normalize("NFD", name), one) for name, one in rows]
    clusters = write_table(tmp_path / "clusters.csv", ("id", "cluster"), decomposed)
    results = []
    for truth in (decomposed, rows):
        table = write_table(tmp_path / "truth.csv", ("id", "truth"), truth)
        outcome = ictc("evaluate", clusters, "--truth", table, "--output_dir", tmp_path / "out")
        assert "6 images compared" in outcome.stdout
        results.append(load(tmp_path / "out", "evaluation.json"))
    assert results[0].pop("notes") == []
    assert "5 ids of the truth, such as 'café', differ" in results[1].pop("notes")[0]
    assert results[0] == results[1]


def test_an_id_that_could_be_two_images_is_neither(ictc: Ictc, tmp_path: Path) -> None:
    forms = ["\u212b", "\u00c5", "A\u030a"]  # all of them look like Å
    clusters = write_table(tmp_path / "clusters.csv", ("id", "cluster"), [(forms[0], "x"), (forms[1], "y"), ("c", "x")])
    truth = write_table(tmp_path / "truth.csv", ("id", "truth"), [(forms[2], "x"), ("c", "x")])
    outcome = ictc("evaluate", clusters, "--truth", truth)
    assert "1 images compared" in outcome.stdout
    assert "with a class but no cluster: 1" in outcome.stdout
    assert "Unicode form" not in outcome.stdout


def test_the_scores_are_those_of_scikit_learn(ictc: Ictc, tmp_path: Path) -> None:
    assignments, truth = write_both(tmp_path, CLUSTERS, TRUTH)
    outcome = ictc("evaluate", assignments, "--truth", truth, "--output_dir", tmp_path / "out")
    assert outcome.exit_code == 0, outcome.stderr
    result = load(tmp_path / "out", "evaluation.json")
    assert result["scores"] | {"purity": 0} == pytest.approx(
        {
            "accuracy": 13 / 15,
            "accuracy_of_all": 13 / 15,
            "nmi": metrics.normalized_mutual_info_score(TRUTH, CLUSTERS),
            "ari": metrics.adjusted_rand_score(TRUTH, CLUSTERS),
            "ami": metrics.adjusted_mutual_info_score(TRUTH, CLUSTERS),
            "bcubed_precision": (5 * 1 + (1 + 16) / 5 + (1 + 16) / 5) / 15,
            "bcubed_recall": ((25 + 1) / 6 + (16 + 1) / 5 + 4) / 15,
            "bcubed_f1": result["scores"]["bcubed_f1"],
            "purity": 0,
        }
    )
    named = [{"felines": "cat", "canines": "dog", "birds": "owl"}[cluster] for cluster in CLUSTERS]
    precision, recall, f1, images = metrics.precision_recall_fscore_support(TRUTH, named)
    assert [row["class"] for row in result["per_class"]] == ["cat", "dog", "owl"]
    for column, expected in {"precision": precision, "recall": recall, "f1": f1, "images": images}.items():
        assert [row[column] for row in result["per_class"]] == pytest.approx(list(expected))
    assert result["notes"] == []
    assert "accuracy (Hungarian)                  0.867" in outcome.stdout
    assert "counted as wrong" not in outcome.stdout
    assert not outcome.stderr


def test_the_confusion_matrix_holds_every_image_with_the_matched_clusters_on_the_diagonal(
    ictc: Ictc, tmp_path: Path
) -> None:
    assignments, truth = write_both(tmp_path, CLUSTERS, TRUTH)
    ictc("evaluate", assignments, "--truth", truth, "--output_dir", tmp_path / "out")
    with (tmp_path / "out" / "confusion.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    assert rows == [
        ["class", "felines", "canines", "birds"],
        *(["cat", "5", "1", "0"], ["dog", "0", "4", "1"], ["owl", "0", "0", "4"]),
    ]
    table = contingency_table(CLUSTERS, TRUTH)
    (axes, _) = draw_confusion(confusion_matrix(table, match_clusters(table)), "title").axes
    shares = [[5 / 6, 1 / 6, 0], [0, 4 / 5, 1 / 5], [0, 0, 1]]
    assert np.asarray(axes.images[0].get_array()) == pytest.approx(np.array(shares))
    assert [text.get_text() for text in axes.texts] == ["5", "1", "4", "1", "4"]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["cat", "dog", "owl"]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["felines", "canines", "birds"]
    with Image.open(tmp_path / "out" / "confusion.png") as image:
        assert min(image.size) > 600
    assert ET.parse(tmp_path / "out" / "confusion.svg").getroot().tag.endswith("svg")


def test_the_same_evaluation_writes_the_same_bytes(ictc: Ictc, tmp_path: Path) -> None:
    assignments, truth = write_both(tmp_path, CLUSTERS, TRUTH)
    for name in ("one", "two"):
        ictc("evaluate", assignments, "--truth", truth, "--output_dir", tmp_path / name)
    files = sorted(path.name for path in (tmp_path / "one").iterdir())
    assert files == ["confusion.csv", "confusion.png", "confusion.svg", "evaluation.json", "per_class.csv"]
    for name in files:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_images_that_cannot_be_compared_are_counted_and_told(ictc: Ictc, tmp_path: Path) -> None:
    clusters = {"a": "x", "b": "x", "c": "y", "not in truth": "y", "no class": "y"}
    write_results(tmp_path / "out", clusters, ui_only=("screen", "screen without class"))
    rows = [("a", "p"), ("b", "p"), ("c", "q"), ("screen", "q"), ("gone", "p")]
    empty = [("no class", ""), ("screen without class", " ")]
    truth = write_table(tmp_path / "truth.csv", ("image_id", "kind"), [*rows, *empty])
    outcome = ictc("evaluate", tmp_path / "out", "--truth", truth, "--column", "kind", "--output_dir", tmp_path / "ev")
    assert "3 images compared: 2 clusters, 2 classes" in outcome.stdout
    assert "with a class but no cluster: 2 (1 ui_only)" in outcome.stdout
    assert "with an empty class in the truth: 2 (1 clustered, 1 ui_only)" in outcome.stdout
    assert "with a cluster but not in the truth: 1" in outcome.stdout
    result = load(tmp_path / "ev", "evaluation.json")
    assert (result["scores"]["accuracy"], result["scores"]["accuracy_of_all"]) == (1, 3 / 5)
    assert (result["with_class_without_cluster"], result["with_cluster_not_in_truth"], result["empty_class"]) == (
        2,
        1,
        2,
    )


@pytest.mark.parametrize(
    ("clusters", "truth", "told"),
    [
        ("aabbcc", "xxxxyy", ("3 clusters for 2 classes", "1 of the clusters stand for no class")),
        ("aaaabb", "xxyyzz", ("2 clusters for 3 classes", "cannot exceed 0.67")),
    ],
)
def test_unequal_numbers_of_clusters_and_classes_are_explained(
    clusters: str, truth: str, told: tuple[str, ...], ictc: Ictc, tmp_path: Path
) -> None:
    tables = write_both(tmp_path, list(clusters), list(truth))
    outcome = ictc("evaluate", tables[0], "--truth", tables[1])
    assert outcome.exit_code == 0
    assert all(words in outcome.stdout for words in told)


def test_a_finished_run_is_evaluated(ictc: Ictc, tmp_path: Path) -> None:
    ictc.succeed(draw_flat(tmp_path / "ads", 24), tmp_path / "out")
    rows = load(tmp_path / "out", "ictc_final_results.json")["results"]
    perfect = write_table(
        tmp_path / "truth.csv", ("image_id", "truth"), ((row["image_id"], row["cluster"].upper()) for row in rows)
    )
    outcome = ictc("evaluate", tmp_path / "out", "--truth", perfect)
    assert f"{len(rows)} images compared: 3 clusters, 3 classes" in outcome.stdout
    assert "accuracy (Hungarian)                  1.000" in outcome.stdout


HOSTILE = [
    "$\\frac{1}{$",
    "<script>alert(1)</script>",
    "=cmd|'/c calc'!A0",
    "\x1b[31mred\u202e",
    "日本 🎈",
    "x" * 1_000_000,
]


def test_hostile_names_are_text_everywhere(ictc: Ictc, tmp_path: Path) -> None:
    tables = write_both(tmp_path, HOSTILE * 2, [f"{one}!" for one in HOSTILE] * 2)
    outcome = ictc("evaluate", tables[0], "--truth", tables[1], "--output_dir", tmp_path / "out")
    assert outcome.exit_code == 0, outcome.stderr
    assert "accuracy (Hungarian)                  1.000" in outcome.stdout
    assert "\x1b" not in outcome.stdout
    assert max(map(len, outcome.stdout.splitlines())) < 250
    svg = ET.parse(tmp_path / "out" / "confusion.svg")
    assert not [element for element in svg.iter() if str(element.tag).endswith("script")]
    for name in ("per_class.csv", "confusion.csv"):
        with (tmp_path / "out" / name).open(encoding="utf-8", newline="") as file:
            csv.field_size_limit(2_000_000)
            assert not [cell for row in csv.reader(file) for cell in row if cell.startswith(("=", "+", "-", "@"))]


def test_many_classes_are_drawn_without_numbers(tmp_path: Path) -> None:
    labels = [f"class {n}" for n in range(150)]
    table = contingency_table(labels, labels)
    (axes, _) = draw_confusion(confusion_matrix(table, match_clusters(table)), "title").axes
    assert not axes.texts
    assert 40 < len(axes.get_yticks()) <= 75


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("out", "--truth", "none.csv"), "cannot read none.csv: No such file or directory"),
        (("none", "--truth", "truth.csv"), "cannot read none: No such file or directory"),
        (("both", "--truth", "truth.csv"), "holds several results; name one of"),
        (("empty", "--truth", "truth.csv"), "no results.parquet here or one folder below"),
        (("truth.csv", "--truth", "truth.csv"), "no column cluster or cluster_id"),
        (("out", "--truth", "truth.csv", "--column", "class"), "no column class; its first line names image_id, truth"),
        (("out", "--truth", "others.csv"), "ids such as 'a' and 'z' differ"),
        (("out", "--truth", "header.csv"), "nothing to compare: 1 images have a cluster and 0 have a class"),
    ],
)
def test_what_cannot_be_evaluated_is_said_in_one_line(
    arguments: tuple[str, ...], message: str, ictc: Ictc, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("out", "both/one", "both/two"):
        write_results(Path(name), {"a": "x"})
    Path("empty").mkdir()
    for name, rows in (("truth", [("a", "p")]), ("others", [("z", "p")]), ("header", [])):
        write_table(Path(f"{name}.csv"), ("image_id", "truth"), rows)
    outcome = ictc("evaluate", *arguments)
    assert outcome.exit_code in (1, 2)
    assert message in outcome.stderr
    assert outcome.stderr.count("\n") == 1
    assert not outcome.stdout


def test_a_missing_package_names_the_extra(ictc: Ictc, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("ictc.analytics.")]:
        monkeypatch.delitem(sys.modules, name)
        if hasattr(package.analytics, child := name.rpartition(".")[2]):
            monkeypatch.delattr(package.analytics, child)
    monkeypatch.setitem(sys.modules, "pandas", None)
    outcome = ictc("evaluate", tmp_path, "--truth", tmp_path / "truth.csv")
    assert outcome.exit_code == 2
    assert outcome.stderr == "ictc: error: this needs pandas: pip install 'ictc[analysis]'\n"
