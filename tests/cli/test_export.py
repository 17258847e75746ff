"""`ictc export` writes what the tools it names can read."""

from __future__ import annotations

import csv
from pathlib import Path

import orjson
import pyarrow.parquet as pq
import pytest
from support.cli import Ictc
from support.collections import draw_image
from support.result_folders import write_results

pytest.importorskip("pandas", reason="the exports need the extra analysis")

from ictc.report.exports import suffix_of

CLUSTERS = {f"ad_{number:02d}": ("Trust", "Bargains", "-Novelty")[number % 3] for number in range(15)}
FORMULAS = ("=1+1", "+1", "-1", "@SUM(A1)", "\tx", "plain")


@pytest.fixture
def ads(tmp_path: Path) -> Path:
    """All images but the last."""
    for number, image_id in enumerate(list(CLUSTERS)[:-1]):
        draw_image(tmp_path / "ads" / image_id / "image.jpg", number)
    return tmp_path / "ads"


@pytest.fixture
def run(tmp_path: Path) -> Path:
    ids = list(CLUSTERS)
    return write_results(
        tmp_path / "run",
        CLUSTERS,
        label={image_id: FORMULAS[number % len(FORMULAS)] for number, image_id in enumerate(ids)},
        platform={image_id: None if number % 2 else "TikTok" for number, image_id in enumerate(ids)},
        summary={image_id: f"About thing {number}" for number, image_id in enumerate(ids)},
        confidence={image_id: None if number == 3 else number / 20 for number, image_id in enumerate(ids)},
    )


def test_csv_holds_every_row_and_no_formula(ictc: Ictc, run: Path, tmp_path: Path) -> None:
    outcome = ictc("export", run, "--format", "csv", "--output", tmp_path / "results.csv")
    assert outcome.exit_code == 0, outcome.stderr
    with (tmp_path / "results.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["image_id"] for row in rows] == list(CLUSTERS)
    assert rows[0].keys() == set(pq.read_schema(run / "results.parquet").names)
    assert {row["label"] for row in rows} == {"'=1+1", "'+1", "'-1", "'@SUM(A1)", "'\tx", "plain"}
    assert rows[2]["cluster"] == "'-Novelty"


def test_hugging_face_datasets_loads_the_folder(
    ictc: Ictc, run: Path, ads: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outcome = ictc("export", run, "--format", "huggingface", "--output", tmp_path / "out", "--ads_dir", ads)
    assert outcome.exit_code == 0, outcome.stderr
    assert "14 ads" in outcome.stdout
    assert "1 left out" in outcome.stdout
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    datasets = pytest.importorskip("datasets", reason="datasets is not installed")
    loaded = datasets.load_dataset("imagefolder", data_dir=str(tmp_path / "out"), cache_dir=str(tmp_path / "cache"))
    rows = {row["image_id"]: row for row in loaded["train"]}
    assert {image_id: row["cluster"] for image_id, row in rows.items()} == dict(list(CLUSTERS.items())[:-1])
    assert rows["ad_01"]["image"].size == (96, 64)
    assert (rows["ad_03"]["confidence"], rows["ad_04"]["confidence"]) == (None, 0.2)
    assert (rows["ad_00"]["platform"], rows["ad_01"]["platform"]) == ("TikTok", None)


def test_fiftyone_finds_classes_labels_and_images(ictc: Ictc, run: Path, ads: Path, tmp_path: Path) -> None:
    """The layout that FiftyOne documents for `FiftyOneImageClassificationDataset`."""
    out = tmp_path / "out"
    outcome = ictc("export", run, "--format", "fiftyone", "--output", out, "--ads_dir", ads)
    assert outcome.exit_code == 0, outcome.stderr
    labels = orjson.loads((out / "labels.json").read_bytes())
    assert labels["classes"] == ["Trust", "Bargains", "-Novelty"]
    assert {path.stem for path in (out / "data").iterdir()} == labels["labels"].keys()
    clusters = {name: labels["classes"][one["label"]] for name, one in labels["labels"].items()}
    assert clusters == dict(list(CLUSTERS.items())[:-1])
    assert labels["labels"]["ad_04"]["confidence"] == 0.2
    assert labels["labels"]["ad_04"]["attributes"]["ad_label"] == "\tx"


@pytest.mark.parametrize(
    ("kind", "path", "suffix"),
    [
        ("jpeg", "https://cdn.example/v/1_n.jpg?stp=c0.5000x0.5000f_dst-emg0_p180x180&ccb=1-7", ".jpg"),
        ("jpeg", "https://cdn.example/media/1.JPEG?width=600", ".JPEG"),
        ("jpeg", "https://cdn.example/img/1", ".jpg"),
        ("jpeg", "https://cdn.example/a.php?file=x.png", ".jpg"),
        ("png", "https://cdn.example/a%20b.jpg#x.gif", ".png"),
        ("webp", "https://cdn.example/a.jpg", ".webp"),
        ("tiff", "sub.d/ad.tif", ".tif"),
        ("gif", "sub.d/ad", ".gif"),
        ("bmp", "shard.tar/ad.dib", ".dib"),
        ("png", "data:image/png;sha256,0123", ".png"),
    ],
)
def test_a_file_ends_in_what_it_is(tmp_path: Path, kind: str, path: str, suffix: str) -> None:
    copy = draw_image(tmp_path / f"copy.{kind}").rename(tmp_path / "0123abcd")
    assert suffix_of(copy, path) == suffix


def test_a_datamap_has_a_place_for_each_ad(ictc: Ictc, run: Path, tmp_path: Path) -> None:
    pytest.importorskip("sklearn", reason="the map needs the extra analysis")
    command = ("export", run, "--format", "datamap", "--embeddings", "tfidf", "--output")
    assert ictc(*command, tmp_path / "map.json").exit_code == 0
    ictc(*command, tmp_path / "again.json")
    assert (tmp_path / "map.json").read_bytes() == (tmp_path / "again.json").read_bytes()
    datamap = orjson.loads((tmp_path / "map.json").read_bytes())
    assert [point["image_id"] for point in datamap["points"]] == list(CLUSTERS)
    assert all(0 <= point[axis] <= 1 for point in datamap["points"] for axis in "xy")
    assert len({(point["x"], point["y"]) for point in datamap["points"]}) == len(CLUSTERS)
    assert [cluster["name"] for cluster in datamap["clusters"]] == ["Trust", "Bargains", "-Novelty"]


def test_a_folder_in_use_is_left_alone(ictc: Ictc, run: Path, ads: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "precious.txt").write_text("mine")
    for form in ("huggingface", "fiftyone"):
        outcome = ictc("export", run, "--format", form, "--output", tmp_path / "out", "--ads_dir", ads)
        assert outcome.exit_code == 2
        assert "new or an empty folder" in outcome.stderr
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["precious.txt"]


def test_images_that_are_nowhere_are_told(ictc: Ictc, run: Path, tmp_path: Path) -> None:
    outcome = ictc("export", run, "--format", "fiftyone", "--output", tmp_path / "out")
    assert outcome.exit_code == 1
    assert "--ads_dir" in outcome.stderr


def test_several_tracks_are_not_mixed(ictc: Ictc, run: Path, tmp_path: Path) -> None:
    write_results(tmp_path / "tracks" / "a", CLUSTERS)
    write_results(tmp_path / "tracks" / "b", CLUSTERS)
    outcome = ictc("export", tmp_path / "tracks", "--format", "csv", "--output", tmp_path / "out.csv")
    assert outcome.exit_code == 2
    assert "several results; name one" in outcome.stderr


@pytest.mark.parametrize(("format_", "folder"), [("huggingface", "train"), ("fiftyone", "data")])
def test_each_image_has_a_file_of_its_own_whatever_the_ids(
    ictc: Ictc, tmp_path: Path, format_: str, folder: str
) -> None:
    clusters = {"Ad": "Trust", "ad": "Bargains", "夏季新品特惠活动" * 10: "Trust", "ad.b": "Bargains"}
    originals = {}
    for number, image_id in enumerate(clusters):
        path = draw_image(tmp_path / "ads" / image_id / "image.jpg", number)
        originals[path] = path.read_bytes()
    run = write_results(tmp_path / "run", clusters)
    outcome = ictc("export", run, "--format", format_, "--output", tmp_path / "out", "--ads_dir", tmp_path / "ads")
    assert outcome.exit_code == 0, outcome.stderr
    files = [path for path in (tmp_path / "out" / folder).iterdir() if path.suffix == ".jpg"]
    assert len({path.stem.casefold() for path in files}) == len(clusters)
    assert {path.read_bytes() for path in files} == set(originals.values())
    assert all(path.read_bytes() == content for path, content in originals.items())
