"""What `ictc import` has made is a run directory: each later command works on it, or says in one line why not."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.cli import Ictc, exported_bytes, load, start_ictc
from support.reference_directory import HOOKS, NUM_ADS, ad, write_reference, written_files

CRITERION = "what is complained about"
TOPICS = ("late parcels", "broken zips", "rude agents", "hidden fees")
NEVER = '{"die_on": ["synthesize"]}'
"""Engine options under which a request of Step 2b would end the command."""

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


def finish(*arguments: object) -> None:
    """Run a command in a process of its own."""
    process = start_ictc(*arguments)
    _, stderr = process.communicate(timeout=120)
    assert process.returncode == 0, stderr


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty texts, one of them empty, and a directory of the reference; each imported and clustered."""
    root = tmp_path_factory.mktemp("imports")
    with (root / "posts.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("id", "text", "platform"))
        rows = (
            (f"p{n}", f"Again {TOPICS[n % 4]}, for the {n}th time. " * (1 + n % 9), ("X", "Y")[n % 2])
            for n in range(40)
        )
        writer.writerows([*rows, ("empty", " ", "X")])
    write_reference(root / "full_run", written_files())
    scripted = ("--engine", "scripted", "--num_clusters", 3)
    finish("import", root / "posts.csv", "--output_dir", root / "texts", "--criterion", CRITERION, *scripted)
    finish("import", root / "full_run", "--output_dir", root / "ads", *scripted)
    return root


def succeed(ictc: Ictc, *arguments: object) -> str:
    outcome = ictc(*arguments)
    assert outcome.exit_code == 0, outcome.stderr
    return outcome.stdout + outcome.stderr


class TestRecluster:
    def test_of_an_import_gives_what_an_import_with_that_k_gives(
        self, ictc: Ictc, folder: Path, tmp_path: Path
    ) -> None:
        recluster = ("recluster", "--source_dir", folder / "texts", "--output_dir")
        succeed(ictc, *recluster, tmp_path / "k4", "--num_clusters", 4)
        direct = ("import", folder / "posts.csv", "--output_dir", tmp_path / "direct", "--criterion", CRITERION)
        succeed(ictc, *direct, "--engine", "scripted", "--num_clusters", 4)
        assert exported_bytes(tmp_path / "k4") == exported_bytes(tmp_path / "direct")
        assert "Step 2a labels: 40/40" in succeed(ictc, *recluster, tmp_path / "tone", "--criterion", "tone")
        for name in ("k4", "tone"):
            succeed(ictc, "verify", tmp_path / name)

    def test_of_a_reference_directory(self, ictc: Ictc, folder: Path, tmp_path: Path) -> None:
        source = folder / "full_run"
        before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in source.iterdir()}
        recluster = ("recluster", "--source_dir", source, "--engine", "scripted")
        said = succeed(ictc, *recluster, "--output_dir", tmp_path / "k3", "--num_clusters", 3)
        assert "Step 2a" not in said
        assert exported_bytes(tmp_path / "k3") == exported_bytes(folder / "ads")
        never = ("--engine_options", NEVER)
        again = succeed(ictc, *recluster, "--output_dir", tmp_path / "k3", "--num_clusters", 3, *never)
        assert "Step 3 assignments: all 24 are up to date" in again
        assert {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in source.iterdir()} == before

    def test_of_a_reference_directory_with_several_k_and_other_labels(
        self, ictc: Ictc, folder: Path, tmp_path: Path
    ) -> None:
        pytest.importorskip("pandas", reason="the comparison needs the extra analysis")
        recluster = ("recluster", "--source_dir", folder / "full_run", "--engine", "scripted")
        said = succeed(ictc, *recluster, "--output_dir", tmp_path / "ks", "--track", 1, "--num_clusters", "3,4")
        assert "Agreement" in said
        for name in ("k3", "k4"):
            succeed(ictc, "verify", tmp_path / "ks" / name)
            assert set(load(tmp_path / "ks" / name, "step2a_hooks.json").values()) == set(HOOKS)
        succeed(ictc, *recluster, "--output_dir", tmp_path / "redo", "--num_clusters", 3, "--redo_2a")
        assert set(load(tmp_path / "redo", "step2a_hooks.json").values()).isdisjoint(HOOKS)
        other = ("--criterion", "Emotional Tone", "--num_clusters", 3, "--keep_labels")
        succeed(ictc, *recluster, "--output_dir", tmp_path / "kept", *other)
        assert set(load(tmp_path / "kept", "step2a_hooks.json").values()) == set(HOOKS)

    def test_of_an_import_that_was_not_clustered(self, ictc: Ictc, folder: Path, tmp_path: Path) -> None:
        direct = ("import", folder / "posts.csv", "--output_dir", tmp_path / "bare", "--criterion", CRITERION)
        succeed(ictc, *direct, "--engine", "scripted", "--no_cluster")
        succeed(ictc, "verify", tmp_path / "bare")
        recluster = (
            "recluster",
            "--source_dir",
            tmp_path / "bare",
            "--output_dir",
            tmp_path / "k3",
            "--num_clusters",
            3,
        )
        succeed(ictc, *recluster)
        assert exported_bytes(tmp_path / "k3") == exported_bytes(folder / "texts")


class TestMerge:
    def test_of_one_import_is_that_import(self, ictc: Ictc, folder: Path, tmp_path: Path) -> None:
        succeed(ictc, "merge", folder / "ads", "--output_dir", tmp_path / "merged")
        assert exported_bytes(tmp_path / "merged") == exported_bytes(folder / "ads")
        succeed(ictc, "verify", tmp_path / "merged")

    def test_of_several_is_refused(self, ictc: Ictc, folder: Path, tmp_path: Path) -> None:
        shutil.copytree(folder / "ads", tmp_path / "other")
        refused = ictc("merge", folder / "ads", tmp_path / "other", "--output_dir", tmp_path / "merged")
        assert refused.exit_code == 2
        assert "put their sources together and import that" in refused.stderr


class TestRefusals:
    def test_no_run_goes_into_an_import(self, ictc: Ictc, folder: Path, tmp_path: Path) -> None:
        (tmp_path / "images").mkdir()
        before = exported_bytes(folder / "texts")
        refused = ictc("run", "--ads_dir", tmp_path / "images", "--output_dir", folder / "texts", "--criterion", "x")
        assert refused.exit_code == 2
        assert f"ictc import {folder / 'posts.csv'} --output_dir {folder / 'texts'} goes on with them" in refused.stderr
        assert exported_bytes(folder / "texts") == before

    def test_retry_says_which_command_does_it(self, ictc: Ictc, folder: Path) -> None:
        refused = ictc("retry", folder / "ads")
        assert refused.exit_code == 2
        assert f"ictc import {folder / 'full_run'} --output_dir {folder / 'ads'} --retry_rejected" in refused.stderr

    def test_no_import_goes_into_a_run(self, ictc: Ictc, folder: Path, tmp_path: Path) -> None:
        succeed(ictc, "recluster", "--source_dir", folder / "texts", "--output_dir", tmp_path, "--num_clusters", 3)
        refused = ictc("import", folder / "posts.csv", "--output_dir", tmp_path, "--criterion", "x")
        assert refused.exit_code == 2
        assert "holds another run" in refused.stderr

    def test_no_images_are_exported_of_texts(self, ictc: Ictc, folder: Path, tmp_path: Path) -> None:
        pytest.importorskip("pandas", reason="exports need the extra analysis")
        for kind in ("huggingface", "fiftyone"):
            refused = ictc("export", folder / "texts", "--format", kind, "--output", tmp_path / kind)
            assert "holds texts and no images; export it as csv or datamap" in refused.stderr


class TestLooking:
    def test_status_and_verify(self, ictc: Ictc, folder: Path) -> None:
        for name in ("texts", "ads"):
            assert "finished" in succeed(ictc, "status", folder / name)
            assert succeed(ictc, "verify", folder / name) == f"{folder / name}: in order\n"

    def test_evaluate_sample_and_export(self, ictc: Ictc, folder: Path, tmp_path: Path) -> None:
        pytest.importorskip("pandas", reason="exports need the extra analysis")
        with (tmp_path / "truth.csv").open("w", newline="") as file:
            csv.writer(file).writerows([("image_id", "truth"), *((f"p{n}", TOPICS[n % 4]) for n in range(40))])
        said = succeed(ictc, "evaluate", folder / "texts", "--truth", tmp_path / "truth.csv")
        assert "40 images compared: 3 clusters, 4 classes" in said
        said = succeed(ictc, "sample", folder / "texts", "--per_cluster", 2, "--output_dir", tmp_path / "sample")
        assert said.startswith("6 texts of 3 clusters")
        assert [path.name for path in (tmp_path / "sample").iterdir()] == ["sample.csv"]
        assert succeed(ictc, "export", folder / "texts", "--format", "csv", "--output", tmp_path / "o.csv").startswith(
            "40 texts"
        )
        with (tmp_path / "o.csv").open(newline="") as file:
            assert len(list(csv.DictReader(file))) == 40
        datamap = ("--format", "datamap", "--embeddings", "tfidf", "--output", tmp_path / "map.json")
        succeed(ictc, "export", folder / "texts", *datamap)
        assert len(load(tmp_path, "map.json")["points"]) == 40

    def test_results_of_a_reference_count_as_such(self, folder: Path) -> None:
        metadata = load(folder / "ads", "ictc_final_results.json")["metadata"]
        assert metadata["imported"] == "reference"
        assert metadata["step1"] == {"done": NUM_ADS, "ui_only": 1, "broken": 1}
        assert load(folder / "ads", "step1_captions.json").keys() == {ad(n) for n in range(NUM_ADS)}


@pytest.fixture(scope="module")
def pages(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The reports, made before the browser starts: both want an event loop."""
    pytest.importorskip("bokeh", reason="the report needs the extra analysis")
    root = tmp_path_factory.mktemp("pages")
    for name in ("texts", "ads"):
        finish("report", folder / name, "--output", root / f"{name}.html", "--embeddings", "tfidf")
    return {name: root / f"{name}.html" for name in ("texts", "ads")}


@pytest.fixture(scope="module")
def browser(pages: dict[str, Path]) -> Iterator[Any]:
    if CHROMIUM is None:
        pytest.skip("no Chromium here: apt-get install chromium")
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--disable-gpu", "--no-sandbox"])
        yield browser
        browser.close()


class TestReport:
    @pytest.mark.parametrize("width", [1360, 390])
    def test_a_page_of_texts_shows_them(self, browser: Any, pages: dict[str, Path], width: int) -> None:
        page = browser.new_page(viewport={"width": width, "height": 900})
        complaints: list[str] = []
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(pages["texts"].as_uri())
        page.wait_for_selector("html[data-ready]")
        assert page.locator(".eyebrow").inner_text() == "Text clusters by"
        assert page.locator(".lead").inner_text().startswith("40 of 41 texts were sorted by the model into 3 clusters")
        assert page.locator("#found").inner_text() == "All 40 texts"
        offered = [words.split("\n")[0].strip() for words in page.locator("#filters label:visible").all_inner_texts()]
        assert offered == ["Search", "Cluster", "Platform", "Order"]
        assert "Empty 1" in page.locator("#left-out summary").inner_text().replace("\xa0", " ")
        tile = page.locator("#results .tile").first
        assert tile.locator(".frame.text").inner_text().startswith("Again")
        assert page.locator(".frame.empty, .tile img").count() == 0
        assert all(
            frame.evaluate("node => node.scrollWidth <= node.clientWidth")
            for frame in page.locator(".frame.text").all()
        )
        tile.click()
        assert not page.locator("#detail-image").is_visible()
        assert "What it says" in page.locator("#detail-text").inner_text()
        words = page.locator("body").inner_text().split()
        assert not {"ad", "ads", "ads.", "images", "image"} & {word.strip(".,:;").lower() for word in words}
        assert complaints == []
        page.close()

    def test_a_page_of_a_reference_speaks_of_ads(self, browser: Any, pages: dict[str, Path]) -> None:
        page = browser.new_page()
        page.goto(pages["ads"].as_uri())
        page.wait_for_selector("html[data-ready]")
        assert page.locator(".lead").inner_text().startswith("24 of 26 images are ads")
        assert "a directory of the reference" in page.locator("#method").inner_text()
        assert "Step 1" not in page.locator("#method").inner_text()
        page.close()
