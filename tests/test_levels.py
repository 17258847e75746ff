"""`--levels`: nested clusters from end to end, in shards, killed, given, reclustered and proved."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import orjson
import pyarrow.parquet as pq
import pytest
from support.cli import Ictc, exported_bytes, load
from support.collections import draw_flat
from support.faulty_disk import Fault
from support.fork_server import ForkServer

import ictc as package
from ictc.cli.main import run_command
from ictc.errors import ConfigError

LEVELS = ("--num_clusters", "2,4,7", "--levels", "coarse,medium,fine", "--synthesize_runs", 3)
OF_STEP_3 = ("step3_final_assignment.json", "ictc_final_results.json", "results.parquet", "step3_metadata.json")
OF_STEP_2B = ("step2b_dynamic_clusters.json", "step2b_levels.json", "step2b_metadata.json")


@pytest.fixture(scope="module")
def ads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_flat(tmp_path_factory.mktemp("ads"), 40)


@pytest.fixture(scope="module")
def whole(ads: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run with three levels; only read."""
    out = tmp_path_factory.mktemp("whole") / "out"
    command = ["run", "--ads_dir", ads, "--output_dir", out, "--engine", "scripted", *LEVELS]
    assert run_command([*map(str, command)]) == 0
    return out


def rows_of(out: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(out / "results.parquet").to_pylist()
    return rows


def test_every_image_has_its_path_through_the_levels(ictc: Ictc, whole: Path) -> None:
    levels = load(whole, "step2b_levels.json")
    assert [(level["name"], level["num_clusters"]) for level in levels] == [("coarse", 2), ("medium", 4), ("fine", 7)]
    finest = [{name: one[name] for name in ("cluster_id", "name", "description")} for one in levels[-1]["clusters"]]
    assert finest == load(whole, "step2b_dynamic_clusters.json")
    names = [[one["name"] for one in level["clusters"]] for level in levels]
    rows = rows_of(whole)
    for row in rows:
        medium = levels[2]["clusters"][row["cluster_id"] - 1]["parent"]
        coarse = levels[1]["clusters"][medium - 1]["parent"]
        assert row["cluster_path"] == [names[0][coarse - 1], names[1][medium - 1], row["cluster"]]
    assert [row["cluster_path"] for row in load(whole, "ictc_final_results.json")["results"]] == [
        row["cluster_path"] for row in rows
    ]
    metadata = load(whole, "step3_metadata.json")
    assert metadata["num_clusters"] == 7
    assert metadata["num_clusters_of_levels"] == {"coarse": 2, "medium": 4, "fine": 7}
    sizes = [{one["name"]: one["size"] for one in level["clusters"]} for level in metadata["levels"]]
    for place, of_level in enumerate(sizes):
        counted = Counter(row["cluster_path"][place] for row in rows)
        assert of_level == {name: counted[name] for name in of_level}
    assert ictc("verify", whole).exit_code == 0
    assert ictc("status", whole).exit_code == 0


def test_equal_seeds_and_any_order_of_numbers_give_equal_bytes(ictc: Ictc, ads: Path, whole: Path, out: Path) -> None:
    told = ictc.succeed(ads, out, *("--num_clusters", "7, 2,4"), *LEVELS[2:])
    assert "2 > 4 > 7 nested ones from" in told.stdout + told.stderr
    assert exported_bytes(out) == exported_bytes(whole)


def test_without_levels_nothing_speaks_of_them(ictc: Ictc, ads: Path, whole: Path, out: Path) -> None:
    ictc.succeed(ads, out)
    assert not (out / "step2b_levels.json").exists()
    assert "cluster_path" not in rows_of(out)[0]
    flat = exported_bytes(out)
    ictc.succeed(ads, out, *LEVELS)
    assert {name: flat.get(name) for name in OF_STEP_3} != {name: exported_bytes(out)[name] for name in OF_STEP_3}
    assert exported_bytes(out) == exported_bytes(whole)
    ictc.succeed(ads, out)
    assert exported_bytes(out) == flat


def test_shards_merged_have_the_levels_of_the_whole(ictc: Ictc, ads: Path, whole: Path, tmp_path: Path) -> None:
    shards = [tmp_path / "shards" / str(number) for number in range(3)]
    for number, shard in enumerate(shards):
        ictc.succeed(ads, shard, "--num_shards", 3, "--shard_index", number, *LEVELS)
    merged = ictc("merge", *shards, "--output_dir", tmp_path / "merged")
    assert merged.exit_code == 0, merged.stderr
    expected, found = exported_bytes(whole), exported_bytes(tmp_path / "merged")
    assert {name: found[name] for name in (*OF_STEP_2B, *OF_STEP_3)} == {
        name: expected[name] for name in (*OF_STEP_2B, *OF_STEP_3)
    }
    again = ictc("merge", *shards, "--output_dir", tmp_path / "flat", "--num_clusters", 3)
    assert again.exit_code == 0, again.stderr
    assert not (tmp_path / "flat" / "step2b_levels.json").exists()


def test_levels_that_are_given_are_those_of_shards_and_whole(
    ictc: Ictc, ads: Path, whole: Path, tmp_path: Path
) -> None:
    given = ("--clusters", tmp_path / "levels.json", "--num_clusters", "2,4,7")
    levels = load(whole, "step2b_levels.json")
    levels[0]["clusters"][0]["name"] = "Edited"
    (tmp_path / "levels.json").write_bytes(orjson.dumps(levels))
    ictc.succeed(ads, tmp_path / "undivided", *given)
    assert load(tmp_path / "undivided", "step2b_levels.json") == levels
    shards = [tmp_path / "shards" / str(number) for number in range(2)]
    for number, shard in enumerate(shards):
        ictc.succeed(ads, shard, "--num_shards", 2, "--shard_index", number, *given)
        assert ictc("verify", shard).exit_code == 0
    (tmp_path / "levels.json").unlink()
    merged = ictc("merge", *shards, "--output_dir", tmp_path / "merged")
    assert merged.exit_code == 0, merged.stderr
    assert exported_bytes(tmp_path / "merged") == exported_bytes(tmp_path / "undivided")
    assert ictc("verify", tmp_path / "merged").exit_code == 0


def test_coarser_clusters_that_are_edited_cost_nothing(ictc: Ictc, ads: Path, whole: Path, tmp_path: Path) -> None:
    levels = load(whole, "step2b_levels.json")
    levels[1]["clusters"][0]["name"] = "Edited"
    (tmp_path / "levels.json").write_bytes(orjson.dumps(levels))
    source = ("recluster", "--source_dir", whole, "--output_dir", tmp_path / "out")
    for _ in range(2):
        outcome = ictc(*source, "--clusters", tmp_path / "levels.json")
        assert outcome.exit_code == 0, outcome.stderr
    levels[1]["clusters"][0]["name"] = "Edited again"
    (tmp_path / "levels.json").write_bytes(orjson.dumps(levels))
    told = ictc(*source, "--clusters", tmp_path / "levels.json")
    assert "Step 3 assignments: all 40 are up to date" in told.stderr or "0/40" not in told.stderr
    assert any("Edited again" in row["cluster_path"] for row in rows_of(tmp_path / "out"))
    assert ictc("verify", tmp_path / "out").exit_code == 0


def test_levels_are_made_of_captions_that_are_there(ictc: Ictc, whole: Path, tmp_path: Path) -> None:
    source = ("recluster", "--source_dir", whole, "--output_dir", tmp_path / "out")
    assert ictc(*source, "--num_clusters", "6", "--levels", "a,b").exit_code == 0
    sizes = [(level["name"], level["num_clusters"]) for level in load(tmp_path / "out", "step2b_levels.json")]
    assert sizes == [("a", 2), ("b", 6)]
    assert ictc(*source, "--num_clusters", "3").exit_code == 0  # the levels of the source are its own
    assert not (tmp_path / "out" / "step2b_levels.json").exists()
    apart = ictc("recluster", "--source_dir", whole, "--output_dir", tmp_path / "apart", "--num_clusters", "2,3")
    assert apart.exit_code == 0
    assert {path.name for path in (tmp_path / "apart").iterdir() if path.is_dir()} >= {"k2", "k3"}


def test_python_takes_levels_as_lists(ads: Path, whole: Path, tmp_path: Path) -> None:
    made = package.cluster(
        *(ads,),
        **{"output_dir": tmp_path / "out", "engine": "scripted", "synthesize_runs": 3},
        num_clusters=[2, 4, 7],
        levels=["coarse", "medium", "fine"],
    )
    assert exported_bytes(made.directory) == exported_bytes(whole)
    again = made.recluster(output_dir=tmp_path / "again", num_clusters=[2, 3])
    names = [level["name"] for level in load(again.directory, "step2b_levels.json")]
    assert names == ["level 1", "level 2"]
    with pytest.raises(ConfigError, match="each level needs another number"):
        made.recluster(output_dir=tmp_path / "twice", num_clusters=[3, 3])


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--num_clusters", "4,4"), "each level needs another number of clusters"),
        (("--num_clusters", "2,x"), "--num_clusters x: input should be a valid integer"),
        (("--num_clusters", "2,4", "--levels", "a,b,c"), "--levels a,b,c names 3 levels, and --num_clusters 2,4 has 2"),
        (("--num_clusters", "3", "--levels", "a,b,c"), "--num_clusters 3 has no room for 3 levels"),
        (("--num_clusters", "auto", "--levels", "a,b"), "--levels needs --num_clusters with numbers"),
        (("--num_clusters", "2,4", "--synthesize_runs", 1), "--synthesize_runs 1 makes no levels"),
        (("--levels", "a"), "--levels a: name two levels or more"),
        (("--levels", "a,,b"), "each name needs 1 to 60 characters"),
        (("--levels", "a,A"), "a name is there twice"),
        (("--levels", "all,b"), "no level can be called 'all'"),
        (("--levels", "a,b", "--clusters", "f.json"), "--clusters says which levels there are"),
        (("--num_clusters", "2,70", "--top_hooks", 60), "--num_clusters 70 can't be made from the 60 labels"),
    ],
)
def test_levels_that_make_no_sense_are_refused_in_one_line(
    ictc: Ictc, ads: Path, out: Path, flags: tuple[object, ...], words: str
) -> None:
    told = ictc.run(ads, out, *flags)
    assert told.exit_code == 2
    (error,) = told.stderr.splitlines()
    assert words in error


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda levels: levels[1]["clusters"][0].pop("parent"), "level 'medium': 1 clusters have no parent"),
        (lambda levels: levels[1]["clusters"][0].update(parent=9), "has the parent 9, which level 'coarse' does not"),
        (lambda levels: levels.pop(), "no cluster"),
        (lambda levels: levels[0].update(level="x"), "line 1, 'level': Extra inputs are not permitted"),
        (
            lambda levels: levels[2]["clusters"][1].update(name=levels[2]["clusters"][0]["name"].upper()),
            "level 'fine', cluster 2: the name",
        ),
        (lambda levels: levels[0]["clusters"][0].update(name=""), "'clusters.0.name'"),
        (lambda levels: levels[0]["clusters"][0].update(cluster_id=7), "must be 1 to 2, each once"),
        (lambda levels: levels.__delitem__(slice(1, None)), "there are fewer than two levels"),
    ],
)
def test_a_file_of_levels_that_do_not_nest_is_refused(
    ictc: Ictc, ads: Path, whole: Path, out: Path, tmp_path: Path, spoil: Callable[[Any], object], words: str
) -> None:
    levels = load(whole, "step2b_levels.json")
    spoil(levels)
    if words == "no cluster":  # what is left of it nests, and says another K
        words = "--num_clusters 2,4,7, and --clusters"
    (tmp_path / "levels.json").write_bytes(orjson.dumps(levels))
    told = ictc.run(ads, out, "--clusters", tmp_path / "levels.json", "--num_clusters", "2,4,7")
    assert told.exit_code == 2
    assert words in told.stderr


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda levels: levels[2]["clusters"][0].update(parent=99), "has the parent 99"),
        (lambda levels: levels[2]["clusters"][0].update(name="Other"), "is not what definitions.json holds"),
        (lambda levels: levels[0].update(name="Other"), "and the key says"),
        (lambda levels: levels.clear(), "there are no levels, and the key says otherwise"),
    ],
)
def test_levels_that_were_tampered_with_are_found(
    ictc: Ictc, ads: Path, out: Path, spoil: Callable[[Any], object], words: str
) -> None:
    ictc.succeed(ads, out, *LEVELS)
    (path,) = out.glob("state/synthesize/*/levels.json")
    levels = orjson.loads(path.read_bytes())
    spoil(levels)
    path.write_bytes(orjson.dumps(levels))
    told = ictc("verify", out)
    assert (told.exit_code, words in told.stdout) == (1, True), told.stdout


def test_damaged_levels_are_made_again(ictc: Ictc, ads: Path, whole: Path, out: Path) -> None:
    ictc.succeed(ads, out, *LEVELS)
    (path,) = out.glob("state/synthesize/*/levels.json")
    path.write_bytes(path.read_bytes()[:100])
    assert ictc("verify", out).exit_code == 1
    told = ictc.succeed(ads, out, *LEVELS)
    assert "2 > 4 > 7 nested ones from" in told.stdout + told.stderr
    assert exported_bytes(out) == exported_bytes(whole)


def test_exports_that_were_tampered_with_are_found(ictc: Ictc, ads: Path, out: Path) -> None:
    ictc.succeed(ads, out, *LEVELS)
    path = out / "step2b_levels.json"
    written = path.read_bytes()
    path.write_bytes(written.replace(b'"parent": 1', b'"parent": 2', 1))
    assert "step2b_levels.json: " in ictc("verify", out).stdout
    path.write_bytes(written)
    names = [one["name"] for one in load(out, "step2b_levels.json")[0]["clusters"]]
    table = out / "ictc_final_results.json"
    text = table.read_text().replace(f'"cluster_path":["{names[0]}"', f'"cluster_path":["{names[1]}"', 1)
    table.write_text(text)
    assert "ictc_final_results.json: " in ictc("verify", out).stdout
    flat = out.with_name("flat")
    ictc.succeed(ads, flat)
    (flat / path.name).write_bytes(written)
    assert "step2b_levels.json: is there, and the result says nothing of the kind" in ictc("verify", flat).stdout


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ForkServer]:
    with ForkServer(tmp_path_factory.mktemp("scratch")) as server:
        yield server


@pytest.mark.parametrize("nth", [1, 4, 8, 12])
def test_a_step_killed_between_its_levels_asks_nothing_again(
    server: ForkServer, ads: Path, whole: Path, out: Path, nth: int
) -> None:
    command = ("run", "--ads_dir", ads, "--output_dir", out, "--engine", "scripted", *LEVELS)
    # what is synced before it dies: the proposals of each level, what was placed in each of nine, the names of levels
    killed = server.run(
        *command, root=out, fault=Fault("synthesize journal: sync", nth=nth, when="after"), quickly=True
    )
    assert killed.was_killed
    resumed = server.run(*command, root=out, quickly=True)
    assert resumed.exit_code == 0, resumed.stderr
    assert exported_bytes(out) == exported_bytes(whole)
    asked = [line for line in killed.asked + resumed.asked if line.split()[1].startswith(("place-", "name-"))]
    assert len(asked) == len(set(asked)) > 0


@pytest.mark.parametrize("when", ["before", "midway", "after"])
@pytest.mark.parametrize("file", ["levels", "definitions"])
def test_a_step_killed_while_it_keeps_its_levels_goes_on(
    server: ForkServer, ads: Path, whole: Path, out: Path, file: str, when: str
) -> None:
    command = ("run", "--ads_dir", ads, "--output_dir", out, "--engine", "scripted", *LEVELS)
    killed = server.run(*command, root=out, fault=Fault(f"synthesize {file}.json: write", when=when), quickly=True)
    assert killed.was_killed
    assert server.run(*command, root=out, quickly=True).exit_code == 0
    assert exported_bytes(out) == exported_bytes(whole)
