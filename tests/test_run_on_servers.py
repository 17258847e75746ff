"""Whole runs on servers of others: an account without money, and secrets in the key, the address and the words."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from support.cli import Ictc, exported_bytes, load
from support.collections import draw_flat
from support.fault_server import MODEL, Reply, completion, failure, say, serving

NUM_IMAGES = 8
KEY = "key-of-a-tale-1001"
PASSWORD = "pass-of-the-night"
TOKEN = "word-for-the-router"
OPTIONS = {"window": 3, "max_retries": 1, "max_outage_s": 0, "extra_body": {"api_key": TOKEN}}


def run_on(ictc: Ictc, url: str, ads: Path, out: Path, options: Mapping[str, Any] = OPTIONS) -> tuple[int, str]:
    """Run on a server and return the exit code and all that was said."""
    outcome = ictc("run", "--ads_dir", ads, "--output_dir", out, "--engine", "openai", "--base_url", url,
                   "--vlm_model", MODEL, "--criterion", "kind of ad", "--num_clusters", 2, "--report", "off",
                   "--engine_options", json.dumps(options))  # fmt: skip
    return outcome.exit_code, outcome.stdout + outcome.stderr


def test_a_balance_that_runs_out_costs_no_image(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    ictc, ads = Ictc(capsys), draw_flat(tmp_path / "ads", NUM_IMAGES)
    paid, num_calls = threading.Event(), 0

    def answer(body: Mapping[str, Any]) -> Reply:
        nonlocal num_calls
        num_calls += 1
        return say(body) if paid.is_set() or num_calls <= 5 else failure(402, "Insufficient Balance")

    with serving(answer) as server:
        exit_code, said = run_on(ictc, server.url, ads, tmp_path / "out")
        assert exit_code == 1
        assert "Insufficient Balance" in said
        assert "same command" in said
        paid.set()
        assert run_on(ictc, server.url, ads, tmp_path / "out")[0] == 0
        assert run_on(ictc, server.url, ads, tmp_path / "undisturbed")[0] == 0
    assert len(load(tmp_path / "out", "step3_final_assignment.json")) == NUM_IMAGES
    assert exported_bytes(tmp_path / "out") == exported_bytes(tmp_path / "undisturbed")


def test_no_secret_stands_in_what_a_run_says_or_writes(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", f"{KEY}\r\n")
    ictc, ads = Ictc(capsys), draw_flat(tmp_path / "ads", NUM_IMAGES)
    echo = f"refused, as you sent Authorization: Bearer {KEY} and somebody:{PASSWORD}"
    refused: set[str] = set()

    def answer(body: Mapping[str, Any]) -> Reply:
        if body.get("response_format", {}).get("json_schema", {}).get("name") != "caption":
            return failure(401, echo)
        words = json.dumps(body["messages"])
        if not refused:
            refused.add(words)
        return failure(400, echo) if words in refused else say(body)

    with serving(answer) as server:
        url = server.url.replace("://", f"://somebody:{PASSWORD}@")
        exit_code, said = run_on(ictc, url, ads, tmp_path / "out")
    assert exit_code == 1
    assert "refused, as you sent" in said
    written = {path: path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()}
    assert {"config.yaml", "run.json"} < {path.name for path in written}
    assert any(b"refused, as you sent" in content for path, content in written.items() if path.suffix != ".log")
    for secret in (KEY, PASSWORD, TOKEN):
        assert secret not in said
        assert not [path for path, content in written.items() if secret.encode() in content]


def test_no_secret_stands_in_results_though_the_model_was_told_it(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_KEEPSAKE", key := "corp/AbCdEf+0123456789==")
    secrets = [key, key[:18], "ab-of-the-amazon", "code-of-the-function"]
    body = {"aws_secret_access_key": secrets[2], "top_k": 5}

    def answer(request: Mapping[str, Any]) -> Reply:
        properties = request["response_format"]["json_schema"]["schema"]["properties"]
        if "answer" in properties:
            return say(request)
        if "clusters" in properties:
            clusters = [{"name": f"{name} {key}", "description": key} for name in ("One", "Two")]
            return completion(json.dumps({"clusters": clusters}))
        words = hashlib.sha256(json.dumps(request["messages"]).encode()).hexdigest()[:8]
        echo = key if "label" in properties else "; ".join(secrets)
        return completion(json.dumps({n: False if n == "ui_only" else f"{words} saw {echo}" for n in properties}))

    ads, out = draw_flat(tmp_path / "ads", NUM_IMAGES), tmp_path / "out"
    with serving(answer) as server:
        url = f"{server.url}?code={secrets[3]}&api-version=2"
        exit_code, said = run_on(Ictc(capsys), url, ads, out, {"api_key_env": "MY_KEEPSAKE", "extra_body": body})
    assert exit_code == 0, said
    written = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    assert all("saw ***" in caption["text"] for caption in load(out, "step1_captions.json").values())
    assert b"api-version=2" in written[out / "config.yaml"]
    for secret in secrets:
        assert secret not in said
        assert not [path for path, content in written.items() if secret.encode() in content]


def test_another_model_behind_the_same_name_answers_anew(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    ictc, ads = Ictc(capsys), draw_flat(tmp_path / "ads", NUM_IMAGES)

    def serve_root(root: str | None, created: int) -> Reply:
        entry = {"id": MODEL, "object": "model", "created": created, "root": root}
        return Reply(body=json.dumps({"object": "list", "data": [entry]}).encode())

    num_calls = []
    with serving(say) as server:
        for listing in (
            serve_root("/models/a", 1),
            serve_root("/models/a", 2),
            serve_root(None, 3),
            serve_root("/b", 4),
        ):
            server.list_models(listing)
            before = len(server.requests)
            exit_code, said = run_on(ictc, server.url, ads, tmp_path / "out")
            assert exit_code == 0, said
            num_calls.append(len(server.requests) - before)
    assert num_calls[1:3] == [0, 0]  # restarted with the same model, or silent about it
    assert num_calls[3] == num_calls[0] > NUM_IMAGES
