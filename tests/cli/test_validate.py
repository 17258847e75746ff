"""`ictc validate` as its users meet it: a sample, files of coders of all sorts, and what is told of them."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from support.cli import Ictc, load
from support.result_folders import make_level, write_results

pytest.importorskip("pandas", reason="validation needs the extra analysis")

NAMES = ("Bargains", "Trust", "=Novelty")
ADS = [f"ad_{number:03d}" for number in range(90)]
CLUSTERS = {ad: (*NAMES, None)[min(number % 5, 3)] for number, ad in enumerate(ADS)}
Answer = int | str | None


def right(image_id: str) -> Answer:
    """Return the answer that agrees with the model."""
    cluster = CLUSTERS[image_id]
    return "none" if cluster is None else NAMES.index(cluster) + 1


def write_run(directory: Path, clusters: dict[str, str | None] = CLUSTERS) -> Path:
    platform = {ad: ("Facebook", "TikTok", None)[number % 3] for number, ad in enumerate(ADS)}
    stamps = {ad: f"2025-0{1 + number % 2}-11T10:00:00Z" for number, ad in enumerate(ADS)}
    return write_results(directory, clusters, names=NAMES, platform=platform, timestamp=stamps)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return write_run(tmp_path / "run")


def draw(ictc: Ictc, run: Path, *arguments: object) -> None:
    outcome = ictc("validate", run, *arguments)
    assert outcome.exit_code == 0, outcome.stderr


def code(run: Path, path: Path, answer: Callable[[str], Answer] = right, coder: str = "coder_1", **change: Any) -> Path:
    """Write the file that a coder's page saves."""
    page = (run / "validation" / "coder_1.html").read_text(encoding="utf-8")
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page)
    assert found is not None
    data = json.loads(found[1])
    head = {name: data[name] for name in ("format", "drawing", "level", "seed", "per_cluster")}
    codings = [
        {"image_id": item["id"], "answer": answer(item["id"]), "note": "", "at": "2026-01-01T00:00:00Z"}
        for item in data["items"]
    ]
    path.write_text(json.dumps({**head, "coder": coder, "codings": codings, **change}), encoding="utf-8")
    return path


def read(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_the_sample_keeps_how_likely_each_image_was_to_be_drawn(ictc: Ictc, run: Path) -> None:
    draw(ictc, run, "--per_cluster", 9)
    told = load(run / "validation", "sample.json")
    assert [row["drawn"] for row in told["strata"]] == [9, 9, 9, 9]
    assert [row["cluster"] for row in told["strata"]] == [*NAMES, "None of these"]
    probability = {row["cluster"]: row["drawn"] / row["size"] for row in told["strata"]}
    assert all(one["probability"] == probability[one["stratum"]] for one in told["sample"])
    assert sum(1 / one["probability"] for one in told["sample"]) == pytest.approx(len(ADS))


def test_equal_codings_give_the_raw_shares(ictc: Ictc, run: Path, tmp_path: Path) -> None:
    draw(ictc, run, "--per_cluster", 6)
    outcome = ictc("validate", run, "--codings", code(run, tmp_path / "a.json"))
    assert outcome.exit_code == 0, outcome.stderr
    assert "coded by 1 coder: 24 of 90 images" in outcome.stdout
    rows = read(run / "validation" / "shares.csv")
    assert {row["by"] for row in rows} == {"all", "platform", "month"}
    assert all(float(row["corrected"]) == pytest.approx(float(row["raw"])) for row in rows)
    assert all(float(row["low"]) <= float(row["corrected"]) <= float(row["high"]) for row in rows)
    assert "'=Novelty" in {row["cluster"] for row in rows}


def test_coders_who_differ_are_told_of_and_count_alike(ictc: Ictc, run: Path, tmp_path: Path) -> None:
    draw(ictc, run, "--per_cluster", 100)  # all of them: nothing is left to chance
    files = [
        code(run, tmp_path / "a.json"),
        code(run, tmp_path / "b.json", lambda ad: 1 if right(ad) == 2 else right(ad), coder="coder_2"),
    ]
    outcome = ictc("validate", run, "--codings", *files)
    assert outcome.exit_code == 0, outcome.stderr
    told = load(run / "validation", "validation.json")
    overall = {row["cluster"]: row for row in told["shares"] if row["by"] == "all"}
    assert overall["Trust"]["raw"] == pytest.approx(0.2)
    assert overall["Trust"]["corrected"] == pytest.approx(0.1)
    assert overall["Bargains"]["corrected"] == pytest.approx(0.3)
    for row in overall.values():
        assert row["low"] == pytest.approx(row["corrected"]) == row["high"]
    precision = {row["cluster"]: row["precision"] for row in told["clusters"]}
    recall = {row["cluster"]: row["recall"] for row in told["clusters"]}
    assert precision == pytest.approx({"Bargains": 1, "Trust": 0.5, "=Novelty": 1, "None of these": 1})
    assert recall == pytest.approx({"Bargains": 2 / 3, "Trust": 1, "=Novelty": 1, "None of these": 1})
    assert [row["coders"] for row in told["kappas"]] == [["coder_1", "coder_2"]]
    sheet = (run / "validation" / "disagreements.html").read_text(encoding="utf-8")
    assert "18 of 90 coded images" in sheet
    assert "Coders differ" in sheet
    table = read(run / "validation" / "codings.csv")
    assert sum(row["coder_1"] != row["coder_2"] for row in table) == 18


def test_what_nobody_could_tell_is_left_out_and_counted(ictc: Ictc, run: Path, tmp_path: Path) -> None:
    draw(ictc, run, "--per_cluster", 6)
    path = code(run, tmp_path / "a.json", lambda ad: "cant_tell" if right(ad) == 1 else right(ad))
    outcome = ictc("validate", run, "--codings", path)
    assert outcome.exit_code == 0, outcome.stderr
    assert "6 more on which nobody could tell" in outcome.stdout
    overall = {row["cluster"]: row for row in load(run / "validation", "validation.json")["shares"][:4]}
    # nothing is known of the model's "Bargains", so their fifth may be any cluster
    assert overall["Bargains"]["low"] == pytest.approx(0.0, abs=0.2)
    assert overall["Trust"]["high"] >= 0.4


def test_what_cannot_be_used_is_counted_in_a_line_each(ictc: Ictc, run: Path, tmp_path: Path) -> None:
    draw(ictc, run, "--per_cluster", 6)
    path = code(run, tmp_path / "a.json")
    content = json.loads(path.read_bytes())
    good = content["codings"]
    content["codings"] = [
        *good,
        {"image_id": "stranger", "answer": 1},
        {"image_id": good[0]["image_id"], "answer": "cant_tell"},
        {"image_id": good[1]["image_id"], "answer": 77},
        {"answer": 1},
        "nonsense",
        {"image_id": good[2]["image_id"], "answer": None},
        {"image_id": good[3]["image_id"], "answer": True},
    ]
    content["codings"] = [one for one in content["codings"] if one is not good[1]]
    path.write_text(json.dumps(content), encoding="utf-8")
    outcome = ictc("validate", run, "--codings", path)
    assert outcome.exit_code == 0, outcome.stderr
    assert outcome.stdout.splitlines()[:4] == [
        f"{path}: left out: answers that name no cluster (1)",
        f"{path}: left out: entries that are no answers (3)",
        f"{path}: left out: images that are not in the sample (1)",
        f"{path}: left out: images with several answers (1)",
    ]
    assert "22 of 90 images" in outcome.stdout


def refuse(ictc: Ictc, run: Path, *files: Path, because: str) -> None:
    outcome = ictc("validate", run, "--codings", *files)
    assert outcome.exit_code in (1, 2)
    assert because in outcome.stderr
    assert outcome.stderr.count("\n") == 1
    assert not (run / "validation" / "validation.json").exists()


def test_files_that_are_of_no_use_are_refused(ictc: Ictc, run: Path, tmp_path: Path) -> None:
    draw(ictc, run, "--per_cluster", 6)
    good = code(run, tmp_path / "good.json")
    (tmp_path / "cut.json").write_bytes(good.read_bytes()[:-20])
    (tmp_path / "list.json").write_text("[1, 2]", encoding="utf-8")
    refuse(ictc, run, tmp_path / "cut.json", because="damaged")
    refuse(ictc, run, tmp_path / "list.json", because="no file that a coding page saves")
    refuse(ictc, run, tmp_path / "gone.json", because="No such file")
    refuse(ictc, run, good, good, because="both of coder_1")
    for name in ("image_id", "model", "stratum", "coder_1_note"):
        refuse(ictc, run, good, code(run, tmp_path / "name.json", coder=name), because="as a column of the results is")
    refuse(ictc, run, code(run, tmp_path / "other.json", drawing="0" * 16), because="another run")
    refuse(ictc, run, code(run, tmp_path / "seed.json", seed=7), because="another run")
    refuse(ictc, run, code(run, tmp_path / "level.json", level="coarse"), because="another run")
    refuse(ictc, run, code(run, tmp_path / "none.json", codings=[]), because="no image of the sample has an answer")
    both = (good, code(run, tmp_path / "b.json", coder="coder_2", drawing="0" * 16))
    refuse(ictc, run, *both, because="different samples")


def test_once_assignments_are_others_codings_are_of_no_use(ictc: Ictc, run: Path, tmp_path: Path) -> None:
    draw(ictc, run)
    path = code(run, tmp_path / "a.json")
    moved = {**CLUSTERS, ADS[0]: "Trust"}
    other = write_run(tmp_path / "other", moved)
    refuse(ictc, other, path, because="have changed since its sample was drawn")
    (run / "validation").rename(other / "validation")
    outcome = ictc("validate", other)
    assert outcome.exit_code == 2
    assert "move the folder away" in outcome.stderr


def test_a_larger_sample_holds_the_smaller_one_and_takes_its_codings(ictc: Ictc, run: Path, tmp_path: Path) -> None:
    draw(ictc, run, "--per_cluster", 4)
    small = code(run, tmp_path / "small.json")
    few = {one["image_id"] for one in load(run / "validation", "sample.json")["sample"]}
    draw(ictc, run, "--per_cluster", 8, "--coders", 3)
    many = {one["image_id"] for one in load(run / "validation", "sample.json")["sample"]}
    assert few < many
    assert (run / "validation" / "coder_3.html").exists()
    large = code(run, tmp_path / "large.json", coder="coder_2")
    outcome = ictc("validate", run, "--codings", small, large)
    assert outcome.exit_code == 0, outcome.stderr
    assert "32 of 90 images" in outcome.stdout
    draw(ictc, run, "--per_cluster", 4)
    assert {one["image_id"] for one in load(run / "validation", "sample.json")["sample"]} == many
    outcome = ictc("validate", run, "--seed", 1)
    assert outcome.exit_code == 2
    assert "--seed" in outcome.stderr


def test_flags_of_the_drawing_are_refused_beside_codings(ictc: Ictc, run: Path, tmp_path: Path) -> None:
    draw(ictc, run)
    outcome = ictc("validate", run, "--seed", 3, "--codings", code(run, tmp_path / "a.json"))
    assert outcome.exit_code == 2
    assert "--seed is about drawing a sample" in outcome.stderr


@pytest.mark.parametrize("answer", ["1", "none"])
def test_coders_who_said_one_thing_only_have_no_kappa(ictc: Ictc, run: Path, tmp_path: Path, answer: str) -> None:
    draw(ictc, run)
    for number in (1, 2):
        path = code(run, tmp_path / f"{number}.json", lambda _: int(answer) if answer == "1" else answer, f"c{number}")
        content = json.loads(path.read_bytes())
        path.write_text(json.dumps({**content, "codings": content["codings"][:1]}), encoding="utf-8")
    told = ictc("validate", run, "--codings", tmp_path / "1.json", tmp_path / "2.json")
    assert told.exit_code == 0, told.stderr
    assert re.search(r"c1 and c2, Cohen's kappa +– +1\n", told.stdout)
    written = load(run / "validation", "validation.json")
    assert written["alpha"]["value"] is None
    assert sorted(row["coded"] for row in written["clusters"]) == [0, 0, 0, 1]
    for row in written["clusters"]:
        for name in ("precision", "recall"):
            assert row["coded"] or row[name] is None, f"{name} of a cluster of which nothing is coded"


def test_a_mark_of_the_byte_order_is_passed_over(ictc: Ictc, run: Path, tmp_path: Path) -> None:
    draw(ictc, run, "--per_cluster", 5)
    path = code(run, tmp_path / "a.json")
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert ictc("validate", run, "--codings", path).exit_code == 0


def test_a_seed_that_no_file_holds_is_refused(ictc: Ictc, run: Path) -> None:
    outcome = ictc("validate", run, "--seed", 2**64)
    assert outcome.exit_code == 2
    assert "--seed" in outcome.stderr


def test_codings_without_a_file_are_a_wrong_use(ictc: Ictc, run: Path) -> None:
    outcome = ictc("validate", run, "--codings")
    assert outcome.exit_code == 2
    assert "--codings requires at least 1" in outcome.stderr


def test_images_that_are_not_found_are_counted(ictc: Ictc, run: Path, tmp_path: Path) -> None:
    ads = tmp_path / "ads"
    for ad in ADS[:88]:
        (ads / ad).mkdir(parents=True)
        Image.new("RGB", (8, 8)).save(ads / ad / "image.jpg")
    some = ictc("validate", run, "--per_cluster", 100, "--ads_dir", ads)
    assert "2 of the 90 have no image that can be found and read" in some.stdout
    assert some.stdout.rstrip().endswith(f"--ads_dir {ads}")
    for ad in ADS[88:]:
        (ads / ad).mkdir()
        Image.new("RGB", (8, 8)).save(ads / ad / "image.jpg")
    assert "no image" not in ictc("validate", run, "--per_cluster", 100, "--ads_dir", ads).stdout


def test_a_folder_of_images_that_is_not_there_is_refused(ictc: Ictc, run: Path, tmp_path: Path) -> None:
    for command in (("validate",), ("sample", "--output_dir", tmp_path / "out"), ("report",)):
        outcome = ictc(command[0], run, *command[1:], "--ads_dir", tmp_path / "gone")
        assert outcome.exit_code == 2
        assert "gone: there is no such folder" in outcome.stderr


def test_what_lies_in_another_folder_is_gone_on_with_there(ictc: Ictc, run: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "else where"
    drawn = ictc("validate", run, "--per_cluster", 5, "--output_dir", elsewhere)
    assert drawn.stdout.rstrip().endswith(f"coder_1.json coder_2.json --output_dir '{elsewhere}'")
    draw(ictc, run, "--per_cluster", 5)
    codings = code(run, tmp_path / "a.json")
    told = ictc("validate", run, "--codings", codings, "--output_dir", elsewhere)
    assert (elsewhere / "validation.json").exists()
    assert f"look into {run / 'validation'} only" in told.stdout
    assert f"ictc report {run} --output {run / 'report.html'}" in ictc("validate", run, "--codings", codings).stdout


def test_texts_are_called_texts_from_the_drawing_on(ictc: Ictc, run: Path, tmp_path: Path) -> None:
    metadata = load(run, "step3_metadata.json")
    (run / "step3_metadata.json").write_text(json.dumps({**metadata, "imported": "texts"}), encoding="utf-8")
    drawn = ictc("validate", run, "--per_cluster", 5)
    told = ictc("validate", run, "--codings", code(run, tmp_path / "a.json"))
    assert "20 of 90 texts" in drawn.stdout
    assert "image" not in drawn.stdout + told.stdout


def test_runs_in_which_clusters_overlap_are_refused(ictc: Ictc, run: Path) -> None:
    metadata = load(run, "step3_metadata.json")
    (run / "step3_metadata.json").write_text(json.dumps({**metadata, "multi_label": True}), encoding="utf-8")
    outcome = ictc("validate", run)
    assert outcome.exit_code == 2
    assert "several clusters" in outcome.stderr


def test_the_clusters_of_a_level_are_coded(ictc: Ictc, tmp_path: Path) -> None:
    levels = (make_level("coarse", ["Goods", "Services"]), make_level("fine", ["Shoes", "Hats", "Bank"], (1, 1, 2)))
    clusters = {ad: ("Shoes", "Hats", "Bank")[number % 3] for number, ad in enumerate(ADS)}
    run = write_results(tmp_path / "run", clusters, levels=levels)
    draw(ictc, run, "--level", "coarse", "--per_cluster", 5)
    assert [row["cluster"] for row in load(run / "validation", "sample.json")["strata"]] == ["Goods", "Services"]
    path = code(run, tmp_path / "a.json", lambda ad: 2 if clusters[ad] == "Bank" else 1)
    outcome = ictc("validate", run, "--codings", path)
    assert outcome.exit_code == 0, outcome.stderr
    overall = {row["cluster"]: row["corrected"] for row in load(run / "validation", "validation.json")["shares"]}
    assert overall["Goods"] == pytest.approx(2 / 3)
    (tmp_path / "truth.csv").write_text("image_id,truth\n" + "".join(f"{ad},x\n" for ad in ADS), encoding="utf-8")
    for level in ("coarse", "all"):
        for truth in ((), ("--truth", tmp_path / "truth.csv")):
            evaluated = ictc("evaluate", run, "--level", level, *truth)
            assert evaluated.exit_code == 0, evaluated.stderr
            assert "raw from the model and corrected" in evaluated.stdout
    assert "shares of coarse are corrected, those of fine are not" in ictc("evaluate", run).stderr


# What other commands make of it


def validated(ictc: Ictc, run: Path, tmp_path: Path) -> Path:
    """Let a coder say of every image of the model's "Trust" that it is "Bargains"; return the run."""
    draw(ictc, run, "--per_cluster", 100)
    path = code(run, tmp_path / "a.json", lambda ad: 1 if right(ad) == 2 else right(ad))
    assert ictc("validate", run, "--codings", path).exit_code == 0
    return run


def test_trends_tell_corrected_shares_beside_raw_ones(ictc: Ictc, run: Path, tmp_path: Path) -> None:
    validated(ictc, run, tmp_path)
    outcome = ictc("trends", run, "--by", "month", "--output_dir", tmp_path / "out")
    assert outcome.exit_code == 0, outcome.stderr
    assert "Corrected shares, by what 1 coder says of 90 images" in outcome.stdout
    raw = {(row["month"], row["cluster"]): row for row in read(tmp_path / "out" / "trends_month.csv")}
    rows = read(tmp_path / "out" / "trends_month_corrected.csv")
    for row in rows:
        bargains, trust = (float(raw[row["month"], name]["share"]) for name in ("Bargains", "Trust"))
        expected = {"Bargains": bargains + trust, "Trust": 0.0}.get(row["cluster"], float(row["raw"]))
        assert float(row["corrected"]) == pytest.approx(expected, abs=1e-9)
        assert float(row["raw"]) == pytest.approx(float(raw[row["month"], row["cluster"]]["share"]))
    shifts = {(row["month"], row["cluster"]): row["shift"] for row in rows}
    assert shifts["2025-01", "Trust"] == ""
    assert float(shifts["2025-02", "Trust"]) == pytest.approx(0, abs=1e-9)
    assert load(tmp_path / "out", "trends_month.json")["corrected"]


def test_brands_are_compared_with_all_others_also_when_corrected(ictc: Ictc, tmp_path: Path) -> None:
    brands = {ad: ("Acme", "ACME Inc.", "Zeta", "")[number % 4] for number, ad in enumerate(ADS)}
    run = write_results(tmp_path / "run", CLUSTERS, names=NAMES, brand=brands)
    validated(ictc, run, tmp_path)
    outcome = ictc("trends", run, "--by", "brand", "--output_dir", tmp_path / "out")
    assert outcome.exit_code == 0, outcome.stderr
    rows = {(row["brand"], row["cluster"]): row for row in read(tmp_path / "out" / "trends_brand_corrected.csv")}
    for cluster in ("Bargains", "'=Novelty"):
        acme, zeta = (float(rows[name, cluster]["corrected"]) for name in ("ACME Inc.", "Zeta"))
        assert float(rows["ACME Inc.", cluster]["shift"]) == pytest.approx(acme - zeta)
        assert float(rows["Zeta", cluster]["shift"]) == pytest.approx(zeta - acme)


def test_evaluate_and_consensus_and_the_report_tell_it(ictc: Ictc, run: Path, tmp_path: Path) -> None:
    assert "let people code a sample: ictc validate" in ictc("evaluate", run).stderr
    validated(ictc, run, tmp_path)
    alone = ictc("evaluate", run, "--output_dir", tmp_path / "out")
    assert "people agree with the model on 80.0% of all" in alone.stdout
    shares = {row["cluster"]: row for row in load(tmp_path / "out", "evaluation.json")["corrected_shares"]}
    assert (shares["Trust"]["raw"], shares["Trust"]["corrected"]) == (pytest.approx(0.2), 0)
    (tmp_path / "truth.csv").write_text("image_id,truth\n" + "".join(f"{ad},x\n" for ad in ADS), encoding="utf-8")
    beside = ictc("evaluate", run, "--truth", tmp_path / "truth.csv")
    assert "raw from the model and corrected for its errors" in beside.stdout
    other = write_results(tmp_path / "other", {**CLUSTERS, ADS[0]: "Trust"}, names=NAMES)
    told = ictc("consensus", run, other, "--output_dir", tmp_path / "consensus")
    assert told.exit_code == 0, told.stderr
    assert "people agree with marketing, K=3 on 80.0% of all images" in told.stdout
    assert ictc("report", run, "--output", tmp_path / "report.html").exit_code == 0
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "Checked by people" in page
    assert "<strong>80%</strong> of all ads" in page


def test_what_is_out_of_date_is_told_and_not_used(ictc: Ictc, run: Path, tmp_path: Path) -> None:
    validated(ictc, run, tmp_path)
    other = write_run(tmp_path / "other", {**CLUSTERS, ADS[0]: "Trust"})
    (run / "validation").rename(other / "validation")
    outcome = ictc("trends", other, "--by", "month")
    assert outcome.exit_code == 0
    assert "assignments that have changed since: shares are not corrected" in outcome.stdout
    assert "Corrected shares" not in outcome.stdout
    assert "have changed since" in ictc("evaluate", other).stderr


@pytest.mark.parametrize("damage", ["{", "{}", '{"format": "ictc validation 1"}', "[]"])
def test_a_damaged_validation_is_an_error_in_one_line(ictc: Ictc, run: Path, tmp_path: Path, damage: str) -> None:
    validated(ictc, run, tmp_path)
    (run / "validation" / "validation.json").write_text(damage, encoding="utf-8")
    outcome = ictc("trends", run, "--by", "month")
    assert outcome.exit_code == 1
    assert "validation.json is damaged; run ictc validate --codings again" in outcome.stderr


def test_codings_that_were_edited_there_are_not_used(ictc: Ictc, run: Path, tmp_path: Path) -> None:
    validated(ictc, run, tmp_path)
    path = run / "validation" / "validation.json"
    content = json.loads(path.read_bytes())
    for change in ({"image_id": "stranger"}, {"stratum": 3 - content["codings"][0]["stratum"]}, {"codes": [99]}):
        edited = [{**content["codings"][0], **change}, *content["codings"][1:]]
        path.write_text(json.dumps({**content, "codings": edited}), encoding="utf-8")
        assert "is damaged" in ictc("trends", run, "--by", "month").stderr
