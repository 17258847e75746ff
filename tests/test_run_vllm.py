"""`ictc run` with the real vLLM and a tiny Qwen3.5 of random weights: the answers are noise, all else is real."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import psutil
import pytest
from support.cli import load, start_ictc
from support.collections import draw_flat, draw_image

pytestmark = [pytest.mark.vllm, pytest.mark.timeout(900)]

SUPPORT = Path(__file__).parent / "support"
SHORT, LONG = SUPPORT / "short_ads_track.py", SUPPORT / "ads_only_track.py"
"""Tracks whose captions take the tiny model less than a second, and some seconds."""

FAST_LOAD = ("--enforce_eager", "--max_rejected", 1)


def start_vllm(ads: Path, out: Path, model: Path, *arguments: object, **environment: str) -> subprocess.Popen[str]:
    """Start a run in a process of its own, as users do."""
    track = () if "--track" in arguments else ("--track", SHORT)
    clusters = () if "--num_clusters" in arguments else ("--num_clusters", 2)
    common = ("run", "--ads_dir", ads, "--output_dir", out, "--vlm_model", model, *track, *FAST_LOAD, *clusters)
    return start_ictc(*common, *arguments, env={**os.environ, **environment})


def start_script(ads: Path, out: Path, settings: Mapping[str, object], **environment: str) -> subprocess.Popen[str]:
    """Start a run from a script without a guard of its main module, as users write them."""
    given = {"enforce_eager": True, "max_rejected": 1.0, "output_dir": out, **settings}
    script = out.with_name("script.py")
    script.write_text(f"from pathlib import PosixPath\nimport ictc\nictc.cluster({ads!r}, **{given!r})\n")
    return subprocess.Popen(
        [sys.executable, script],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment},
    )


def run_vllm(ads: Path, out: Path, model: Path, *arguments: object, **environment: str) -> str:
    """Run to the end; return what it said on stderr."""
    process = start_vllm(ads, out, model, *arguments, **environment)
    stdout, stderr = process.communicate(timeout=600)
    assert process.returncode == 0, stdout + stderr
    return stderr


def check_accounting(out: Path, num_images: int) -> None:
    """Check that every image is in exactly one of the four ways out of Step 1, and every valid ad in a cluster."""
    rejected = [line for line in (out / "rejected.jsonl").read_text().splitlines() if '"stage":"caption"' in line]
    captions, ui_only, broken = (
        load(out, f"{name}.json") for name in ("step1_captions", "ui_only_images", "broken_images")
    )
    assert len(captions) + len(ui_only) + len(broken) + len(rejected) == num_images
    assert set(load(out, "step3_final_assignment.json")) == set(captions)


def test_all_steps_in_unified_mode_then_other_clusters(tiny_checkpoint: Path, tmp_path: Path) -> None:
    ads = draw_flat(tmp_path / "ads", 5)
    (ads / "broken.jpg").write_bytes(b"\xff\xd8\xff")
    draw_image(ads / "huge.png", 77, size=(3000, 2000))
    context = ("--max_model_len", 3100, "--max_image_tokens", 3000, "--verbose")
    levels = ("--num_clusters", "2,3", "--levels", "coarse,fine", "--synthesize_runs", 3)
    run_vllm(ads, tmp_path / "out", tiny_checkpoint, *context, *levels, "--evidence")
    check_accounting(tmp_path / "out", 7)
    check_levels(tmp_path / "out")
    assert load(tmp_path / "out", "step2b_metadata.json")["placed_labels"]
    check_evidence(tmp_path / "out")
    assert set(load(tmp_path / "out", "broken_images.json")) == {"broken"}
    final = load(tmp_path / "out", "ictc_final_results.json")
    assert len({cluster["name"] for cluster in final["cluster_definitions"]}) == 3
    assert all(0.33 <= row["confidence"] <= 1 for row in final["results"])
    labels = [row["label"] for row in final["results"] if row["label"]]
    assert labels
    assert all(2 <= len(label.split()) <= 4 for label in labels)
    check_that_only_one_prompt_was_too_long(tmp_path / "out", "huge")

    tone = ("--criterion", "Emotional Tone", "--num_clusters", "2,3", "--allow_none", "--synthesize_runs", 1)
    said = recluster_vllm(tmp_path / "out", tmp_path / "ks", tiny_checkpoint, *tone)
    assert said.count("Loading weights took") <= 1
    assert "K=2: Step 2a labels: 0/" in said
    for k in (2, 3):
        check_accounting(tmp_path / "ks" / f"k{k}", 7)
        check_evidence(tmp_path / "ks" / f"k{k}")
        assert len(load(tmp_path / "ks" / f"k{k}", "step2b_dynamic_clusters.json")) == k
        check_none(tmp_path / "ks" / f"k{k}", num_options=k + 1)


def check_levels(out: Path) -> None:
    """Check that two levels nest, and that every image has its path through them."""
    coarse, fine = ({one["name"]: one for one in level["clusters"]} for level in load(out, "step2b_levels.json"))
    assert (len(coarse), len(fine)) == (2, 3)
    assert {one["parent"] for one in fine.values()} == {1, 2}
    for row in load(out, "ictc_final_results.json")["results"]:
        above, own = row["cluster_path"]
        assert own == row["cluster"]
        assert fine[own]["parent"] == coarse[above]["cluster_id"]


def check_evidence(out: Path) -> None:
    """Check that each image with a cluster left Step 3b, and that clusters have rules; noise quotes nothing."""
    counts, rows = load(out, "step3b_metadata.json"), load(out, "ictc_final_results.json")["results"]
    assert sum(counts["step3b"].values()) == sum(row["cluster"] is not None for row in rows)
    assert sum(counts["quotes"].values()) == counts["step3b"]["done"]
    assert counts["quotes"]["dropped"] + counts["quotes"]["nothing_to_quote"] > 0
    captions = load(out, "step1_captions.json")
    quoted = [row for row in rows if row["evidence"] is not None]
    assert all(row["evidence"] in captions[row["image_id"]][row["evidence_field"]] for row in quoted)
    assert all(one["include"] and one["exclude"] for one in load(out, "step2b_dynamic_clusters.json"))


def check_fitting(out: Path) -> None:
    """Check that each image has some clusters with scores, but those to whose clusters noise gave several scores."""
    rejected = [line for line in (out / "rejected.jsonl").read_text().splitlines() if '"stage":"assign"' in line]
    rows = load(out, "ictc_final_results.json")["results"]
    assert rows
    assert len(rows) + len(rejected) == len(load(out, "step1_captions.json"))
    assert all("has the scores" in line or "cut off" in line for line in rejected)
    names = {cluster["name"] for cluster in load(out, "step2b_dynamic_clusters.json")}
    assert all(1 <= len(row["clusters"]) == len(row["cluster_scores"]) <= len(names) for row in rows)
    assert all({*row["clusters"]} <= names and row["cluster"] == row["clusters"][0] for row in rows)


def check_none(out: Path, num_options: int) -> None:
    """Check that images that no cluster fits are counted apart, and that scores are over all options."""
    rows, counts = load(out, "ictc_final_results.json")["results"], load(out, "step3_metadata.json")["step3"]
    none = [row for row in rows if row["cluster"] is None]
    assert counts == {"done": len(rows) - len(none), **({"none": len(none)} if none else {})}
    assert all(1 / num_options <= row["confidence"] <= 1 for row in rows)
    assert all(row["runner_up"] for row in none)


def check_that_only_one_prompt_was_too_long(out: Path, image_id: str) -> None:
    """Check that an image was asked about with fewer tokens, and that this cost nobody anything."""
    (log,) = (out / "logs").glob("ictc_*.log")
    assert f"'{image_id}': prompt too long; attempt 2" in log.read_text()
    assert log.read_text().count(": prompt too long") == 1
    assert image_id in load(out, "step1_captions.json")


def recluster_vllm(source: Path, out: Path, model: Path, *arguments: object) -> str:
    """Recluster to the end; return what it said on stderr."""
    process = start_ictc(
        *("recluster", "--source_dir", source, "--output_dir", out, "--vlm_model", model, "--max_model_len", 2048),
        *arguments,
    )
    stdout, stderr = process.communicate(timeout=600)
    assert process.returncode == 0, stdout + stderr
    assert "Step 1" not in stderr
    return stderr


def test_two_tracks_in_one_pass_with_tensor_parallel_and_a_separate_text_model(
    tiny_checkpoint: Path, tiny_text_checkpoint: Path, tmp_path: Path
) -> None:
    ads = draw_flat(tmp_path / "ads", 4)
    second = tmp_path / "second.py"
    second.write_text(f"{SHORT.read_text()}\nTRACK = replace(TRACK, name='second', directory='second')\n")
    two = ("--track", f"{SHORT},{second}", "--num_gpus", 2, "--llm_model", tiny_text_checkpoint, "--multi_label")
    run_vllm(ads, tmp_path / "out", tiny_checkpoint, *two, VLLM_CPU_OMP_THREADS_BIND="0|1")
    for directory in ("full_run", "second"):
        check_fitting(tmp_path / "out" / directory)
        metadata = load(tmp_path / "out" / directory, "ictc_final_results.json")["metadata"]
        assert (metadata["vlm_model"], metadata["llm_model"]) == (str(tiny_checkpoint), str(tiny_text_checkpoint))


def test_of_two_engines_one_is_killed_replaced_and_costs_nothing(tiny_checkpoint: Path, tmp_path: Path) -> None:
    ads = draw_flat(tmp_path / "ads", 24)
    one_core = {"VLLM_CPU_OMP_THREADS_BIND": "nobind", "OMP_NUM_THREADS": "1"}
    settings = {"vlm_model": tiny_checkpoint, "replicas": 2, "batch_vlm": 2, "ckpt_vlm": 1, "steps": 1, "track": LONG}
    process = start_script(ads, tmp_path / "out", settings, **one_core)
    wait_for_captions(process, tmp_path / "out", 1)
    killed, other = find_engine_processes(process.pid)
    os.kill(other, signal.SIGSTOP)  # else it might do all that is left
    os.kill(killed, signal.SIGKILL)
    wait_for_captions(process, tmp_path / "out", count_captions(tmp_path / "out") + 1)  # of the one that came instead
    assert other in find_engine_processes(process.pid)  # it keeps its model
    os.kill(other, signal.SIGCONT)
    stdout, stderr = process.communicate(timeout=600)
    assert process.returncode == 0, stdout + stderr
    assert "restarting it" in stderr
    assert re.search(r"engine [12] of 2 died .* with [12] images? in flight", stderr), stderr
    captions, ui_only = (load(tmp_path / "out", f"{name}.json") for name in ("step1_captions", "ui_only_images"))
    assert len(captions) + len(ui_only) == 24
    assert (tmp_path / "out" / "rejected.jsonl").read_bytes() == b""


def wait_for_captions(process: subprocess.Popen[str], out: Path, number: int) -> None:
    """Wait until a run has written so many captions down."""
    while count_captions(out) < number:
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)


def count_captions(out: Path) -> int:
    """Return how many captions the journal of a running run holds."""
    return sum(max(path.read_bytes().count(b"\n") - 1, 0) for path in out.glob("state/caption/*/*.jsonl"))


def find_engine_processes(pid: int) -> list[int]:
    """Return the processes in which vLLM's engines of the run `pid` compute."""
    living = [child for child in psutil.Process(pid).children() if child.status() != psutil.STATUS_ZOMBIE]
    return [child.pid for child in living if "EngineCore" in " ".join(child.cmdline())]
