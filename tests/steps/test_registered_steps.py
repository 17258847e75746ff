"""Steps that a module adds to the table run, resume, are planned, verified, merged and reclustered as all others."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest
from support.cli import exported_bytes, load
from support.collections import draw_flat
from support.faulty_disk import Fault
from support.fork_server import Finished, ForkServer

from ictc.storage.journal import decode_line, encode_line

SCRIPTED = ("--engine", "scripted", "--num_clusters", 3)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ForkServer]:
    """Runs an `ictc` that has two steps more."""
    with ForkServer(tmp_path_factory.mktemp("server"), "support.extra_steps") as server:
        yield server


@pytest.fixture(scope="module")
def ads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve images, one of which is taken for a screen of interface."""
    return draw_flat(tmp_path_factory.mktemp("collection") / "ads", 12)


def run(server: ForkServer, ads: Path, out: Path, *arguments: object, **trouble: object) -> Finished:
    flags = ("run", "--ads_dir", ads, "--output_dir", out, *SCRIPTED, "--decode_workers", 1)
    return server.run(*flags, *arguments, root=out, **trouble)  # type: ignore[arg-type]


def succeed(server: ForkServer, *arguments: object, root: Path) -> Finished:
    finished = server.run(*arguments, root=root)
    assert finished.exit_code == 0, finished.stderr
    return finished


@pytest.fixture(scope="module")
def whole(server: ForkServer, ads: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of all steps."""
    out = tmp_path_factory.mktemp("whole") / "out"
    finished = run(server, ads, out)
    assert finished.exit_code == 0, finished.stderr
    return out


def asked(finished: Finished) -> Counter[str]:
    """Return how many requests of which step a command made."""
    return Counter(request.split()[0] for request in finished.asked)


def test_they_run_and_export(whole: Path) -> None:
    tones = load(whole, "step4_tones.json")
    assert set(tones) == set(load(whole, "step1_captions.json"))
    assert load(whole, "step5_slogan.json")["tones"] == dict(sorted(Counter(tones.values()).items()))


def test_a_second_command_asks_nothing(server: ForkServer, ads: Path, whole: Path) -> None:
    before = exported_bytes(whole)
    finished = run(server, ads, whole)
    assert (finished.exit_code, finished.asked, exported_bytes(whole)) == (0, [], before)


@pytest.mark.parametrize("nth", [1, 5, 11])
def test_a_killed_one_goes_on_where_it_was(
    server: ForkServer, ads: Path, whole: Path, tmp_path: Path, nth: int
) -> None:
    out = tmp_path / "out"
    one_by_one = ("--engine_options", '{"window": 1}')
    killed = run(server, ads, out, *one_by_one, fault=Fault("tone journal: write record", when="after", nth=nth))
    assert killed.was_killed
    finished = run(server, ads, out, *one_by_one)
    assert finished.exit_code == 0, finished.stderr
    twice = [request for request, times in Counter(killed.asked + finished.asked).items() if times > 1]
    assert len(twice) <= 1  # what was in flight
    assert asked(killed)["tone"] >= nth
    assert asked(finished)["caption"] == asked(finished)["label"] == 0
    assert exported_bytes(out) == exported_bytes(whole)


def test_they_are_planned(server: ForkServer, ads: Path, tmp_path: Path) -> None:
    planned = succeed(server, "plan", "--ads_dir", ads, "--json", *SCRIPTED, root=tmp_path)
    steps = {step["step"]: step["requests"] for step in json.loads(planned.stdout)["steps"]}
    assert steps == {"caption": 12, "label": 12, "synthesize": 1, "assign": 12, "tone": 12, "slogan": 1}
    told = run(server, ads, tmp_path / "out").stderr
    assert "Step 4 tones" in told
    assert "Step 5 slogan" in told


def test_status_tells_how_far_they_are(server: ForkServer, whole: Path) -> None:
    (status,) = json.loads(succeed(server, "status", whole, "--json", root=whole).stdout.join("[]"))
    done = {step["stage"]: (step["done"], step["total"], step["state"]) for step in status["steps"]}
    assert done["tone"] == (11, 11, "finished")
    assert done["slogan"] == (1, 1, "finished")


def test_they_are_verified(server: ForkServer, ads: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert run(server, ads, out).exit_code == 0
    assert succeed(server, "verify", out, root=out).stdout == f"{out}: in order\n"
    (segment,) = out.glob("state/tone/*/*.jsonl")
    lines = segment.read_bytes().splitlines(keepends=True)
    record = decode_line(lines[-1])
    assert record is not None
    segment.write_bytes(b"".join(lines[:-1]) + encode_line({**record, "data": {"tone": "square"}}))
    verified = server.run("verify", out, root=out)
    assert verified.exit_code == 1
    assert "Step 4 tones: 1 of 11 images" in verified.stdout
    segment.write_bytes(b"".join(lines))
    (out / "step5_slogan.json").write_bytes(orjson.dumps({"slogan": "another", "tones": {}}))
    assert "step5_slogan.json: says something else" in server.run("verify", out, root=out).stdout


def test_shards_do_what_is_of_a_part_and_the_merge_the_rest(
    server: ForkServer, ads: Path, whole: Path, tmp_path: Path
) -> None:
    shards = [tmp_path / "shard_0", tmp_path / "shard_1"]
    for index, shard in enumerate(shards):
        part = run(server, ads, shard, "--num_shards", 2, "--shard_index", index)
        assert part.exit_code == 0, part.stderr
        assert set(asked(part)) == {"caption", "label", "tone"}
    merged = succeed(server, "merge", *shards, "--output_dir", tmp_path / "merged", root=tmp_path)
    assert asked(merged) == {"synthesize": 1, "assign": 11, "slogan": 1}
    assert exported_bytes(tmp_path / "merged") == exported_bytes(whole)


def test_reclustering_takes_over_what_is_of_a_part(server: ForkServer, whole: Path, tmp_path: Path) -> None:
    flags = ("recluster", "--source_dir", whole, "--output_dir")
    other_k = succeed(server, *flags, tmp_path / "k", "--num_clusters", 4, root=tmp_path)
    assert asked(other_k) == {"synthesize": 1, "assign": 11, "slogan": 1}
    assert load(tmp_path / "k", "step4_tones.json") == load(whole, "step4_tones.json")
    other_question = succeed(
        server, *flags, tmp_path / "q", "--num_clusters", 3, "--criterion", "the season", root=tmp_path
    )
    assert asked(other_question) == {"label": 11, "synthesize": 1, "assign": 11, "tone": 11, "slogan": 1}


def test_one_alone_takes_the_results_of_what_it_needs(server: ForkServer, ads: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    refused = run(server, ads, out, "--steps", "4")
    assert refused.exit_code == 2
    assert "--steps 4 needs the result of Step 1" in refused.stderr
    assert run(server, ads, out, "--steps", "1").exit_code == 0
    assert asked(run(server, ads, out, "--steps", "4")) == {"tone": 11}
    assert asked(run(server, ads, out, "--steps", "5")) == {"slogan": 1}
    gap = run(server, ads, out, "--steps", "1,5")
    assert gap.exit_code == 2
    assert "leaves out 4, which the later step reads" in gap.stderr
