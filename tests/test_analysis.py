"""The figures and findings of a study: what they are computed from, and that they are drawn whatever the data are."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import orjson
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from scipy import stats
from scipy.spatial.distance import jensenshannon
from sklearn import metrics
from support.result_folders import write_results
from support.study import FILTER_RATES, NUM_IMAGES, PLATFORMS, TRACKS, apportion, write_study

from ictc.analytics import figures
from ictc.analytics.figures import wrap_name
from ictc.analytics.results import load_results
from ictc.analytics.tables import printable
from ictc.errors import ConfigError
from ictc.validation.codings import read_codings
from ictc.validation.drawing import draw_sample
from ictc.validation.result import save_validation, validate_run

ANALYSIS = Path(__file__).parents[1] / "analysis"
sys.path.insert(0, str(ANALYSIS))

from study_figures import across_k, across_tracks, clusters, collection, formats, labels, platform_profiles  # noqa: E402
from study_figures.catalog import EXPLORATION, RESEARCH  # noqa: E402
from study_figures.command import publish  # noqa: E402
from study_figures.platforms import LARGE_RESIDUAL, compute_platform_clusters, describe_residuals  # noqa: E402
from study_figures.reading import Study, Unavailable, load_study  # noqa: E402

GOLDEN_BALANCE = {
    ("marketing", 5): ("0.909", "28.0", 5, "0.49"),
    ("marketing", 10): ("0.839", "33.8", 9, "0.94"),
    ("identity", 5): ("0.878", "45.0", 5, "0.66"),
    ("identity", 10): ("0.878", "30.2", 10, "0.80"),
    ("cultural", 5): ("0.934", "35.3", 5, "0.47"),
    ("cultural", 10): ("0.939", "20.8", 10, "0.52"),
}
HOSTILE = (
    r"$\frac{1}$ & $\undefined$",
    "two\nlines\tand \x1b[31m a bell\x07",
    "endless" * 40,
    "שלום עולם \u202eمرحبا",
    "<script>alert(1)</script> {0} {name:d} %s",
    "=cmd|A1 **b** _i_ `c` [广](//a.b) 🛒",
)
MARKUP = r"(?<!\\)[*_`<>\[\]|$!]"
"""What Markdown would read as such where no backslash stands before it."""
TRACK_NAMES = ("marketing", "identity", "cultural")


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """The reference study's margins."""
    return load_study(write_study(tmp_path_factory.mktemp("study")))


@pytest.fixture(scope="module")
def exported(study: Study) -> dict[tuple[str, int], pd.DataFrame]:
    """The results of each run, read without the package."""
    return {key: pd.read_parquet(run.directory / "results.parquet") for key, run in study.runs.items()}


def test_corrected_shares_are_drawn_beside_raw_ones(tmp_path: Path) -> None:
    clusters_of = {f"ad_{number}": ("Bargains", "Bargains", "Trust")[number % 3] for number in range(30)}
    run = write_results(tmp_path / "run", clusters_of)
    sample = draw_sample(load_results(run), per_cluster=30, seed=0)
    answers = [{"image_id": one, "answer": 1} for one in clusters_of]
    head = {"format": "ictc codings 1", "drawing": sample.drawing.name, "level": "", "seed": 0, "per_cluster": 30}
    (tmp_path / "a.json").write_bytes(orjson.dumps({**head, "coder": "coder_1", "codings": answers}))
    codings = read_codings(load_results(run), [tmp_path / "a.json"])
    save_validation(validate_run(codings, {}), run / "validation")
    data = clusters.compute_distributions(load_study([run]), False)
    assert data.corrected["marketing"]["corrected"].to_dict() == {"Bargains": 1.0, "Trust": 0.0}
    clusters.draw_distributions(data)
    assert any(
        "Corrected" in one.text and "Bargains has 100.0%" in one.text for one in clusters.describe_distributions(data)
    )


def test_the_collection_has_the_platforms_and_formats_of_the_reference_study(study: Study) -> None:
    data = collection.compute_collection(study)
    assert data.num_images == data.by_platform.sum() == data.by_format.sum() == NUM_IMAGES
    assert percentages(data.by_platform) == {"Facebook": 61.5, "Instagram": 20.5, "TikTok": 10.9, "YouTube": 7.2}
    assert len(data.by_format) == 13
    assert list(percentages(data.by_format).values())[:5] == [59.0, 12.1, 10.3, 6.6, 5.4]


def percentages(counts: pd.Series) -> dict[str, float]:
    return {str(name): round(100 * count / counts.sum(), 1) for name, count in counts.items()}


def test_filter_rates_are_those_of_the_reference_study(study: Study) -> None:
    data = collection.compute_filter_rates(study)
    assert data.rates["marketing"].round(3).to_dict() == FILTER_RATES
    for platform in PLATFORMS:
        filtered, images = int(data.filtered.at[platform, "marketing"]), int(data.images.at[platform, "marketing"])
        interval = stats.binomtest(filtered, images).proportion_ci(method="wilson")
        assert (data.low.at[platform, "marketing"], data.high.at[platform, "marketing"]) == pytest.approx(interval)
    assert (data.overall * NUM_IMAGES).round().astype(int).to_dict() == {
        track.name: NUM_IMAGES - sum(track.small.values()) for track in TRACKS
    }


def test_sizes_and_balance_are_those_of_the_reference_study(study: Study) -> None:
    for large in (False, True):
        drawn = clusters.compute_distributions(study, large=large).sizes
        assert {name: sizes.to_dict() for name, sizes in drawn.items()} == {
            track.name: dict(track.large if large else track.small) for track in TRACKS
        }
    balance = clusters.compute_balance(study)
    assert {(row.track, row.K): printed(row) for row in balance.itertuples()} == GOLDEN_BALANCE
    pies = clusters.compute_pies(study)
    assert [sizes.iloc[0] for sizes in pies.sizes.values()] == [28_036, 16_541]


def printed(row: Any) -> tuple[str, str, int, str]:
    """Return the measures in the digits of the reference study."""
    largest, variation = f"{100 * row.largest_share:.1f}", f"{row.coefficient_of_variation:.2f}"
    return f"{row.normalized_entropy:.3f}", largest, row.effective_clusters, variation


def test_platform_figures_agree_with_scipy(study: Study, exported: dict[tuple[str, int], pd.DataFrame]) -> None:
    associations, lifts = compute_platform_clusters(study), platform_profiles.compute_fingerprints(study)
    comparison = platform_profiles.compute_comparison(study)
    for track in TRACK_NAMES:
        rows = exported[track, 5]
        observed = pd.crosstab(rows["cluster"], rows["platform"])
        expected = stats.chi2_contingency(observed, correction=False)
        one = associations[track]
        assert one.test.statistic == pytest.approx(expected.statistic)
        assert one.test.cramers_v == pytest.approx(stats.contingency.association(observed, method="cramer"))
        same = {"index": observed.index, "columns": observed.columns}
        residuals = (observed - expected.expected_freq) / np.sqrt(expected.expected_freq)
        pd.testing.assert_frame_equal(one.test.residuals.reindex(**same), residuals, check_names=False)
        pd.testing.assert_frame_equal(one.shares.reindex(**same), observed / observed.sum(), check_names=False)
        pd.testing.assert_frame_equal(
            lifts[track].reindex(**same), observed / expected.expected_freq, check_names=False
        )
        distance = jensenshannon(observed["Facebook"], observed["YouTube"], base=2)
        assert comparison.distances[track].at["Facebook", "YouTube"] == pytest.approx(distance)
        entropy = stats.entropy(observed["TikTok"]) / np.log(5)
        assert comparison.diversity.at["TikTok", track] == pytest.approx(entropy)
    identity = platform_profiles.compute_identity(study)
    pd.testing.assert_frame_equal(identity.shares, associations["identity"].shares)


def test_large_residuals_are_called_out(study: Study) -> None:
    one = compute_platform_clusters(study)["marketing"]
    (sentence,) = describe_residuals({"marketing": one})
    assert sentence.values["large"] == int((one.test.residuals.abs().to_numpy() > LARGE_RESIDUAL).sum())
    assert sentence.values["residual"] == pytest.approx(one.test.residuals.to_numpy().max())


def test_only_formats_with_over_a_hundred_ads_are_shown(
    study: Study, exported: dict[tuple[str, int], pd.DataFrame]
) -> None:
    data, rows = formats.compute_formats(study), exported["cultural", 10]
    counts = rows["ad_format"].value_counts()
    assert list(data.counts.columns) == list(counts.index[counts > 100])
    assert data.num_left_out == (counts <= 100).sum() > 0
    crossed = pd.crosstab(rows["cluster"], rows["ad_format"])[list(data.counts.columns)]
    pd.testing.assert_frame_equal(data.counts, crossed.loc[data.counts.index], check_names=False)


def test_labels_are_counted(study: Study, exported: dict[tuple[str, int], pd.DataFrame]) -> None:
    counts = exported["identity", 5]["label"].value_counts()
    data = labels.compute_labels(study)["identity"]
    assert (data.num_labeled, data.num_distinct) == (79_220, len(counts))
    assert data.top.tolist() == counts.head(20).tolist()
    assert data.covered[1] == counts.iloc[0] / counts.sum()
    assert data.covered.iloc[-1] == 1
    assert data.normalized_entropy == pytest.approx(stats.entropy(counts) / np.log(len(counts)))


@pytest.mark.parametrize(("first", "second"), [("marketing", "identity"), ("identity", "cultural")])
def test_track_figures_agree_with_scikit_learn(
    study: Study, exported: dict[tuple[str, int], pd.DataFrame], first: str, second: str
) -> None:
    both = exported[first, 5].merge(exported[second, 5], on="image_id")
    columns = both["cluster_x"], both["cluster_y"]
    (one,) = (each for each in across_tracks.compute_contingency(study) if (each.first, each.second) == (first, second))
    assert one.agreement.num_items == len(both)
    assert one.agreement.ari == pytest.approx(metrics.adjusted_rand_score(*columns))
    assert one.agreement.nmi == pytest.approx(metrics.normalized_mutual_info_score(*columns))
    crossed = pd.crosstab(*columns)
    pd.testing.assert_frame_equal(one.counts.loc[crossed.index, crossed.columns], crossed, check_names=False)
    purities = across_tracks.compute_purity(study)[first]
    assert purities.overall[second] == pytest.approx(crossed.max(axis=1).sum() / len(both))
    assert purities.baseline[second] == pytest.approx(columns[1].value_counts(normalize=True).max())
    largest = crossed.index[0]
    assert purities.clusters.at[largest, second] == pytest.approx(
        crossed.loc[largest].max() / crossed.loc[largest].sum()
    )


def test_mappings_lead_from_the_first_track_to_the_others(study: Study) -> None:
    data = across_tracks.compute_mappings(study)
    assert [(one.first, one.second) for one in data] == [("marketing", "identity"), ("marketing", "cultural")]
    assert all(np.allclose(one.shares.sum(axis=1), 1) for one in data)


def test_figures_of_two_k_agree_with_scikit_learn(study: Study, exported: dict[tuple[str, int], pd.DataFrame]) -> None:
    data = across_k.compute_k_effect(study)
    for track, one in data.items():
        both = exported[track, 5].merge(exported[track, 10], on="image_id")
        ari = metrics.adjusted_rand_score(both["cluster_x"], both["cluster_y"])
        assert one.agreement.ari == pytest.approx(ari)
        assert across_k.reading_of(ari) == ("subdivision" if track == "identity" else "reorganization")
        assert one.table.shape == (5, 10)
        assert one.balances[1].largest_share == pytest.approx(both["cluster_y"].value_counts(normalize=True).max())


@pytest.fixture(scope="module")
def hostile_dirs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two tracks at two K with names that are markup, formulas, endless or written from right to left."""
    rng = np.random.default_rng(7)
    ids = [f"image_{number:03d}" for number in range(700)]
    facts = {
        "platform": draw(rng, ids, [*HOSTILE, None, ""]),
        "ad_format": draw(rng, ids, [HOSTILE[0], HOSTILE[2], "REEL_FROM_SEARCH"]),
        "timestamp": dict.fromkeys(ids),
    }
    root = tmp_path_factory.mktemp("hostile")
    for track in ("identity", "cultural"):
        for k in (3, 6):
            names = tuple(f"{track} {k} {name}" if k == 6 else name for name in HOSTILE[:k])
            assigned = draw(rng, ids[:-40], list(names))
            known = {"label": draw(rng, ids, list(HOSTILE)), "brand": draw(rng, ids, list(HOSTILE)), **facts}
            folder = root / f"k{k}" / track
            write_results(folder, assigned, track=track, names=names, ui_only=tuple(ids[-40:]), **known)
    return [root / "k3", root / "k6"]


def draw(rng: np.random.Generator, ids: list[str], values: list[Any]) -> dict[str, Any]:
    return {
        image_id: values[number] for image_id, number in zip(ids, rng.integers(0, len(values), len(ids)), strict=True)
    }


@pytest.fixture(scope="module")
def hostile_output(hostile_dirs: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What both scripts make of it."""
    out = tmp_path_factory.mktemp("figures")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(figures, "DPI", 60)
        publish(hostile_dirs, EXPLORATION, out, "findings")
    done = run_script("research_findings.py", *hostile_dirs, "--output_dir", out)
    assert done.returncode == 0, done.stderr
    assert "5 of 5 figures" in done.stdout
    return out


def run_script(name: str, *arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, ANALYSIS / name, *arguments]
    settings = {**os.environ, **environment}
    return subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False, env=settings)


@pytest.mark.parametrize("name", [spec.name for spec in (*EXPLORATION, *RESEARCH)])
def test_each_figure_is_drawn_of_hostile_names(hostile_output: Path, name: str) -> None:
    with Image.open(hostile_output / f"{name}.png") as image:
        pixels = np.asarray(image.convert("L"))
    assert 0.005 < (pixels < 200).mean() < 0.9
    assert len(np.unique(pixels)) > 20
    root = ElementTree.parse(hostile_output / f"{name}.svg").getroot()
    tags = {element.tag.rpartition("}")[2] for element in root.iter()}
    assert "path" in tags
    assert "script" not in tags


@pytest.mark.parametrize("name", ["findings", "research_findings"])
def test_every_number_of_the_findings_is_in_the_json(hostile_output: Path, name: str) -> None:
    content = orjson.loads((hostile_output / f"{name}.json").read_bytes())
    sentences = [sentence for figure in content["figures"] for sentence in figure["findings"]]
    assert all(figure["findings"] for figure in content["figures"])
    for sentence in sentences:
        values = sentence["values"]
        numbers = [value for value in values.values() if not isinstance(value, str)]
        for written, step in written_numbers(without_names(sentence["text"], values)):
            assert any(abs(written - number) <= 0.5001 * step for number in numbers), sentence
    text = (hostile_output / f"{name}.md").read_text(encoding="utf-8")
    bullets = [re.sub(r"\\(.)", r"\1", line[2:]) for line in text.splitlines() if line.startswith("- ")]
    assert bullets == [sentence["text"] for sentence in sentences]
    marks = [mark for line in text.splitlines() if line.startswith("- ") for mark in re.findall(MARKUP, line[2:])]
    assert marks == []


def without_names(text: str, values: dict[str, Any]) -> str:
    for value in sorted(
        (printable(value) for value in values.values() if isinstance(value, str)), key=len, reverse=True
    ):
        text = text.replace(value, "")
    return text


def written_numbers(text: str) -> Iterator[tuple[float, float]]:
    """Yield each number of a text with the place value of its last digit."""
    for whole, fraction, percent in re.findall(r"([+-]?\d[\d,]*)(\.\d+)?(%?)", text):
        scale = 0.01 if percent else 1.0
        decimals = max(len(fraction) - 1, 0)
        yield scale * float(whole.replace(",", "").rstrip(",") + fraction), scale * 10.0**-decimals


def test_what_one_track_without_platforms_lacks_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(figures, "DPI", 60)
    clusters_of = {f"{number}": f"c{number % 3}" for number in range(30)}
    one = write_results(tmp_path / "one", clusters_of, track="general", label=dict.fromkeys(clusters_of, "same"))
    publish([one], (*EXPLORATION, *RESEARCH), tmp_path / "figures", "findings")
    content = orjson.loads((tmp_path / "figures" / "findings.json").read_bytes())
    skipped = {figure["figure"]: figure["skipped"] for figure in content["figures"] if "skipped" in figure}
    drawn = {path.stem for path in (tmp_path / "figures").glob("*.png")}
    assert drawn == {"02_clusters_small_k", "04_balance", "08_labels", "rq_summary"}
    assert len(skipped) + len(drawn) == 20
    assert skipped["01_platforms_and_formats"] == skipped["05_platform_clusters"] == "no image has a platform"
    assert skipped["03_clusters_large_k"] == "all results have K=3; it needs two K"
    assert skipped["15_cultural_pies"] == "no results of the track cultural"
    assert skipped["rq1_01_track_contingency"] == "only one track at K=3; it compares several"
    output, text = capsys.readouterr().out, (tmp_path / "figures" / "findings.md").read_text(encoding="utf-8")
    for name, reason in skipped.items():
        assert f"  {name}: skipped: {reason}\n" in output
        assert f"(`{name}`): {reason}\n" in text


def test_tracks_over_different_images_are_not_compared(tmp_path: Path) -> None:
    for track, start in (("marketing", 0), ("identity", 10)):
        write_results(
            tmp_path / track, {str(number): f"c{number % 2}" for number in range(start, start + 10)}, track=track
        )
    study = load_study([tmp_path])
    assert len(study.images) == 20
    with pytest.raises(Unavailable, match="marketing, K=2 and identity, K=2 have no image in common"):
        across_tracks.compute_contingency(study)


def test_degenerate_clusters_are_drawn_without_impossible_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(figures, "DPI", 60)
    ids = [str(number) for number in range(8)]
    platform = dict(zip(ids, "AABBCCDD", strict=True))
    for track in ("identity", "cultural"):
        write_results(
            tmp_path / track, dict.fromkeys(ids, "all"), track=track, names=("all", "none"), platform=platform
        )
    publish([tmp_path], (*EXPLORATION, *RESEARCH), tmp_path / "figures", "findings")
    text = (tmp_path / "figures" / "findings.md").read_text(encoding="utf-8")
    assert not re.search(r"\b(nan|inf|None)\b", text)
    assert "normalized entropy 0.000, largest cluster 100.0%" in text


def test_a_study_that_cannot_be_told_apart_is_refused(tmp_path: Path) -> None:
    for name, k in (("a", 2), ("b", 2), ("c", 3), ("d", 4)):
        write_results(tmp_path / name, {str(number): f"c{number % k}" for number in range(12)})
    with pytest.raises(ConfigError, match="K=2, 3, 4; name the folders of one K or of two"):
        load_study([tmp_path / name for name in ("a", "c", "d")])
    done = run_script("eda_and_findings.py", tmp_path / "a", tmp_path / "b", "--output_dir", tmp_path / "out")
    assert done.returncode == 2
    assert re.fullmatch(r"eda_and_findings: error: .*a and .*b are both marketing, K=2; .*\n", done.stderr)
    assert not (tmp_path / "out").exists()


def test_a_missing_package_is_named_with_the_extra_that_brings_it(tmp_path: Path) -> None:
    (tmp_path / "pandas.py").write_text("raise ModuleNotFoundError(name='pandas')")
    one = write_results(tmp_path / "one", {"a": "x"})
    done = run_script("research_findings.py", one, "--output_dir", tmp_path / "out", PYTHONPATH=str(tmp_path))
    assert done.returncode == 2
    assert done.stderr == "research_findings: error: this needs pandas: pip install 'ictc[analysis]'\n"


@given(st.text(max_size=200), st.integers(4, 40), st.integers(1, 4))
def test_a_wrapped_name_fits(name: str, width: int, most_lines: int) -> None:
    lines = wrap_name(name, width=width, most_lines=most_lines).split("\n")
    assert len(lines) <= most_lines
    assert all(len(line) <= width and (line.isprintable()) for line in lines)


@given(st.lists(st.floats(0.01, 100), min_size=1, max_size=20), st.integers(0, 100_000))
def test_apportioned_counts_are_whole_and_complete(weights: list[float], total: int) -> None:
    counts = apportion(weights, total)
    assert sum(counts) == total
    assert all(abs(count - weight * total / sum(weights)) < 1 for count, weight in zip(counts, weights, strict=True))
