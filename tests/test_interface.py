"""The Python interface: what calls give, wherever they come from, is what the commands give, errors included."""

from __future__ import annotations

import ast
import asyncio
import io
import logging
import os
import signal
import subprocess
import sys
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from html import unescape
from pathlib import Path
from threading import Thread
from typing import Any

import orjson
import pyarrow.parquet as pq
import pytest
from support.cli import Ictc, exported_bytes, load
from support.collections import draw_flat
from support.result_folders import write_results
from support.scripted_run import REJECTED, WINDOW, Reference, find_recorded
from test_layering import HEAVY
from test_plan import pretend_hours
from test_run import wait_for_records

import ictc
from ictc.errors import ConfigError, IctcError, InputError, StorageError
from ictc.interface.background import BackgroundRun
from ictc.interface.progress import TextReporter
from ictc.runs.reporter import Reporter
from ictc.runs.summary import TrackSummary
from ictc.storage.keys import digest

AS_THE_REFERENCE: dict[str, Any] = {
    "engine": "scripted",
    "engine_options": {"window": WINDOW, "fail": [REJECTED]},
    "num_clusters": 3,
    "ckpt_vlm": 5,
    "ckpt_llm": 5,
    "decode_workers": 1,
}
"""The settings of the run that others are compared with."""

SCRIPT = """
import json, os, signal, sys
import ictc
from support.fork_server import write_down_requests

images, output_dir, asked, settings = sys.argv[1:]
signal.signal(signal.SIGINT, signal.default_int_handler)  # whatever this process was started by
write_down_requests(os.open(asked, os.O_WRONLY | os.O_CREAT | os.O_TRUNC))
run = ictc.cluster(images, output_dir=output_dir, **json.loads(settings))
print(*run.results.shape)
"""


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Ictc:
    return Ictc(capsys)


@pytest.fixture
def ads(tmp_path: Path) -> Path:
    return draw_flat(tmp_path / "ads", 12)


def cluster(ads: Path, out: Path, **settings: Any) -> ictc.Run:
    """Run few clusters of a small collection."""
    return ictc.cluster(ads, output_dir=out, **{"engine": "scripted", "num_clusters": 3, **settings})


class Script:
    """A plain script in a process of its own, without a guard of its main module."""

    def __init__(self, tmp_path: Path, ads: Path, out: Path) -> None:
        self._ads, self._out = ads, out
        self._asked = tmp_path / "asked"
        self._path = tmp_path / "script.py"
        self._path.write_text(SCRIPT)

    def start(self, **settings: Any) -> subprocess.Popen[str]:
        given = orjson.dumps({**AS_THE_REFERENCE, **settings}).decode()
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        return subprocess.Popen(
            [sys.executable, str(self._path), str(self._ads), str(self._out), str(self._asked), given],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        )

    def asked(self) -> list[tuple[str, str]]:
        """Return what the last call asked the engine for: the folder of its result, and the id."""
        pairs = [line.split() for line in self._asked.read_text().splitlines()]
        folders = {path.parent.name: digest(orjson.loads(path.read_bytes())) for path in self._current()}
        return [(folders[stage], image_id) for stage, image_id in pairs]

    def _current(self) -> list[Path]:
        return list(self._out.glob("state/*/current.json"))


class TestWhereverItIsCalled:
    def test_a_plain_script_gets_what_the_command_gives(
        self, drawn_ads: Path, reference: Reference, tmp_path: Path
    ) -> None:
        script = Script(tmp_path, drawn_ads, tmp_path / "out")
        process = script.start()
        stdout, stderr = process.communicate(timeout=120)
        assert process.returncode == 0, stderr
        assert stdout.split() == [str(len(load(tmp_path / "out", "step3_final_assignment.json"))), "15"]
        assert "Step 1 captions" in stderr
        assert exported_bytes(tmp_path / "out") == reference.exports

    def test_a_running_event_loop_goes_on_after_it(self, drawn_ads: Path, reference: Reference, tmp_path: Path) -> None:
        async def in_a_notebook() -> ictc.Run:
            loop = asyncio.get_running_loop()
            run = ictc.cluster(drawn_ads, output_dir=tmp_path / "out", **AS_THE_REFERENCE)
            await asyncio.sleep(0)
            assert asyncio.get_running_loop() is loop
            return run

        run = asyncio.run(in_a_notebook())
        assert run.directory == tmp_path / "out"
        assert exported_bytes(tmp_path / "out") == reference.exports

    def test_another_thread_may_call_it(self, ads: Path, tmp_path: Path) -> None:
        with ThreadPoolExecutor(2) as threads:
            runs = [threads.submit(cluster, ads, tmp_path / name) for name in ("a", "b")]
            directories = [run.result().directory for run in runs]
        assert exported_bytes(directories[0]) == exported_bytes(directories[1])

    def test_nothing_of_the_caller_is_changed(self, ads: Path, tmp_path: Path) -> None:
        def state() -> list[Any]:
            root = logging.getLogger()
            return [
                signal.getsignal(signal.SIGINT),
                warnings.showwarning,
                root.handlers[:],
                logging.getLogger("ictc").level,
            ]

        before = state()
        cluster(ads, tmp_path / "out")
        assert state() == before

    def test_the_import_is_a_light_one(self) -> None:
        script = (
            "import sys, ictc; assert 'cluster' in dir(ictc) and 'ictc.interface' not in sys.modules; ictc.cluster; "
            f"print(*sorted(sys.modules.keys() & {set(HEAVY)!r}))"
        )
        loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
        assert loaded.split() == []
        assert not hasattr(ictc, "clusters")

    def test_type_checkers_see_what_is_imported_late(self) -> None:
        package = Path(ictc.__file__)
        (block,) = [node for node in ast.parse(package.read_text()).body if isinstance(node, ast.If)]
        shown = [name for line in block.body if isinstance(line, ast.ImportFrom) for name in line.names]
        assert {name.asname or name.name for name in shown} == {*ictc.__all__} - {"__version__"}
        assert package.with_name("py.typed").exists()


class TestInterrupted:
    @pytest.mark.parametrize(("num_interrupts", "options"), [(1, {"latency_s": 0.2}), (4, {"hang_on": ["ad_010"]})])
    def test_what_is_done_is_kept_and_the_same_call_resumes(
        self, drawn_ads: Path, reference: Reference, tmp_path: Path, num_interrupts: int, options: dict[str, Any]
    ) -> None:
        out = tmp_path / "out"
        script = Script(tmp_path, drawn_ads, out)
        process = script.start(engine_options={"window": 4, "fail": [REJECTED], **options})
        wait_for_records(out, 6)
        for _ in range(num_interrupts):
            process.send_signal(signal.SIGINT)
        stdout, stderr = process.communicate(timeout=30)
        assert process.returncode != 0
        assert stdout == ""
        assert stderr.rstrip().endswith(
            "KeyboardInterrupt: stopped; everything that had finished is kept, and the same call resumes"
        )
        assert stderr.count("Traceback") == 1
        assert load(out, "run.json")["status"] == "stopped"
        recorded = find_recorded(out)
        assert len(script.asked()) - len(recorded) <= 4, "more is lost than was in flight"

        resumed = script.start()
        _, stderr = resumed.communicate(timeout=120)
        assert resumed.returncode == 0, stderr
        assert recorded.isdisjoint(script.asked()), "asked for what was recorded"
        assert exported_bytes(out) == reference.exports

    def test_whatever_else_ends_the_call_ends_the_work_first(self, ads: Path, tmp_path: Path) -> None:
        class OfTheCaller(Exception):
            pass

        def handle(*_: object) -> None:
            raise OfTheCaller

        before = signal.signal(signal.SIGUSR1, handle)

        def send() -> None:
            wait_for_records(tmp_path / "out", 3)
            os.kill(os.getpid(), signal.SIGUSR1)

        sender = Thread(target=send)
        sender.start()
        try:
            with pytest.raises(OfTheCaller):
                cluster(ads, tmp_path / "out", engine_options={"latency_s": 0.2, "window": 2})
        finally:
            sender.join()
            signal.signal(signal.SIGUSR1, before)
        assert load(tmp_path / "out", "run.json")["status"] == "stopped"
        assert len(cluster(ads, tmp_path / "out").clusters) == 3  # nobody holds the lock any more

    def test_an_error_of_the_end_is_told_with_the_interrupt_without_its_keys(self) -> None:
        async def work(_: Reporter, stop: asyncio.Event) -> list[TrackSummary]:
            loop = asyncio.get_running_loop()
            ask = loop.call_soon_threadsafe

            def ask_and_lose_the_turn(*arguments: Any) -> asyncio.Handle:
                handle = ask(*arguments)
                time.sleep(0.2)  # the work ends while the thread that was interrupted waits for its turn
                return handle

            loop.call_soon_threadsafe = ask_and_lose_the_turn  # type: ignore[method-assign]
            os.kill(os.getpid(), signal.SIGINT)
            await stop.wait()
            raise StorageError("cannot write s3://me:hunter22@bucket/ads:\nthe disk is full")

        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        said = io.StringIO()
        try:
            with pytest.raises(
                KeyboardInterrupt, match=r"^stopped; .* besides, cannot write s3://\S+ the disk is full$"
            ) as caught:
                BackgroundRun(work, TextReporter(said, is_watched=False)).finish()
        finally:
            signal.signal(signal.SIGINT, before)
        assert "hunter22" not in str(caught.value)
        assert said.getvalue().startswith("interrupted: stopping in order")


class TestErrors:
    @pytest.mark.parametrize(
        "settings",
        [
            {"num_clusters": 1},
            {"steps": "1,3"},
            {"engine": "openai"},
            {"engine": "none"},
            {"track": "psychology"},
            {"track": "general"},
            {"shard_id": "../elsewhere"},
            {"vlm_model": "some/model"},
            {"clusters": "nowhere.json", "num_clusters": 4},
            {"engine_options": {"unknown": 1}},
            {"engine_options": {"fail": [f"ad_{number:03d}" for number in range(12)]}},
            {"images": "nowhere"},
            {"images": "s3://somebody:hunter22@bucket/ads"},
            {"images": "list.csv", "max_images": 0},
        ],
        ids=lambda settings: next(iter(settings)),
    )
    def test_they_are_the_line_of_the_command(
        self, command: Ictc, ads: Path, tmp_path: Path, settings: dict[str, Any]
    ) -> None:
        given = {"engine": "scripted", **settings}
        images = given.pop("images", ads)
        with pytest.raises(IctcError) as caught:
            ictc.cluster(images, output_dir=tmp_path / "out", **given)
        flags = [part for name, value in given.items() for part in (f"--{name}", as_flag(value))]
        where = "--images" if images == "list.csv" else "--ads_dir"
        refused = command("run", where, images, "--output_dir", tmp_path / "command", *flags)
        line = refused.stderr.splitlines()[-1].replace(str(tmp_path / "command"), str(tmp_path / "out"))
        assert line == f"ictc: error: {caught.value}"
        assert caught.value.exit_code == refused.exit_code
        assert "hunter22" not in line
        assert caught.value.__cause__ is None

    @pytest.mark.parametrize(
        ("settings", "words"),
        [
            ({"num_cluster": 3}, "num_cluster is no setting here; did you mean num_clusters or "),
            ({"verbos": True}, "did you mean verbose?"),
            ({"wholly_unknown": 3}, "wholly_unknown is no setting here; ictc run --help lists them"),
            ({"track": "1,2"}, "--track 1,2: a Run is of one track; call cluster for each of the 2"),
            ({"ads_dir": "elsewhere"}, "images says where the images are"),
        ],
    )
    def test_what_only_a_call_can_do_wrong(
        self, ads: Path, tmp_path: Path, settings: dict[str, Any], words: str
    ) -> None:
        with pytest.raises(ConfigError, match=words.replace("?", r"\?")):
            cluster(ads, tmp_path / "out", **settings)
        assert not (tmp_path / "out").exists()

    @pytest.mark.parametrize("images", [None, 5, ["a.jpg"]])
    def test_images_that_are_no_place(self, tmp_path: Path, images: Any) -> None:
        with pytest.raises(ConfigError, match="images must be a path or a URL"):
            ictc.cluster(images, output_dir=tmp_path / "out")

    def test_nobody_is_asked_before_much_is_done_again(self, ads: Path, tmp_path: Path) -> None:
        cluster(ads, tmp_path / "out")
        pretend_hours(tmp_path / "out", 2)
        with pytest.raises(ConfigError, match="hours of work would be done again; add --yes if that is meant"):
            cluster(ads, tmp_path / "out", num_clusters=4)
        assert len(cluster(ads, tmp_path / "out", num_clusters=4, yes=True).clusters) == 4

    def test_a_folder_without_a_run_cannot_be_opened(self, command: Ictc, ads: Path) -> None:
        with pytest.raises(ConfigError) as caught:
            ictc.open(ads)
        assert command("status", ads).stderr == f"ictc: error: {caught.value}\n"

    def test_of_several_runs_one_has_to_be_named(self, command: Ictc, ads: Path, tmp_path: Path) -> None:
        command.succeed(ads, tmp_path / "out", "--track", "1,2")
        with pytest.raises(
            ConfigError, match=r"holds several runs, and a Run is one; open one of .*full_run, .*track2"
        ):
            ictc.open(tmp_path / "out")
        assert len(ictc.open(str(tmp_path / "out" / "full_run")).clusters) == 3

    def test_results_that_are_not_there_yet(self, ads: Path, tmp_path: Path) -> None:
        run = cluster(ads, tmp_path / "out", steps="1")
        assert list(run.rejected["image_id"]) == list(load(run.directory, "ui_only_images.json"))
        for read, words in ((lambda: run.results, "which Step 3 makes"), (lambda: run.labels, "step2a_hooks.json")):
            with pytest.raises(IctcError, match=words):
                read()
        assert len(cluster(ads, tmp_path / "out", steps="2a,2b,3").results) == 11


def as_flag(value: Any) -> str:
    """Return a setting as the command line takes it."""
    return orjson.dumps(value).decode() if isinstance(value, dict) else str(value)


@pytest.fixture(scope="module")
def finished(drawn_ads: Path, tmp_path_factory: pytest.TempPathFactory) -> ictc.Run:
    """A run with an image that the engine gives nothing for, and two that are broken."""
    return ictc.cluster(drawn_ads, output_dir=tmp_path_factory.mktemp("tables") / "out", **AS_THE_REFERENCE)


class TestTables:
    def test_results_have_the_columns_and_rows_of_the_file(self, finished: ictc.Run) -> None:
        written = pq.read_table(finished.directory / "results.parquet")
        assert list(finished.results.columns) == written.column_names
        shown = finished.results.astype(object).where(finished.results.notna(), None)
        assert shown.to_dict("records") == written.to_pylist()
        assert finished.results is finished.results

    def test_clusters_have_their_sizes(self, finished: ictc.Run) -> None:
        assert list(finished.clusters.columns) == ["cluster_id", "name", "description", "size"]
        assert finished.clusters.to_dict("records") == load(finished.directory, "step3_metadata.json")["clusters"]
        assert list(finished.clusters["name"]) == list(finished.results["cluster"].cat.categories)

    def test_labels_are_those_of_the_file(self, finished: ictc.Run) -> None:
        assert list(finished.labels.columns) == ["image_id", "label"]
        assert dict(finished.labels.itertuples(index=False)) == load(finished.directory, "step2a_hooks.json")

    def test_every_image_is_in_the_results_or_among_the_rejected(self, finished: ictc.Run) -> None:
        assert {*finished.results["image_id"], *finished.rejected["image_id"]} == set(
            load(finished.directory, "image_mapping.json")
        )
        outcomes = dict(zip(finished.rejected["image_id"], finished.rejected["outcome"], strict=True))
        assert (outcomes["empty"], outcomes["text"], outcomes[REJECTED]) == ("broken", "broken", "rejected")
        assert all(finished.rejected["reason"])

    def test_a_run_says_how_to_open_it(self, finished: ictc.Run) -> None:
        assert repr(finished) == f"ictc.open({str(finished.directory)!r})"
        assert eval(repr(finished)).directory == finished.directory

    def test_numbers_and_paths_are_taken_where_the_command_line_has_text(self, ads: Path, tmp_path: Path) -> None:
        track = tmp_path / "own.py"
        track.write_text(
            "from dataclasses import replace\nfrom ictc.tracks.marketing import TRACK\n"
            "TRACK = replace(TRACK, name='own', directory='own')\n"
        )
        run = cluster(ads, tmp_path / "out", track=track, steps=1)
        assert load(run.directory, "run.json")["track"] == "own"
        assert load(cluster(ads, tmp_path / "other", track=2).directory, "run.json")["track"] == "identity"

    def test_a_table_of_images_is_told_from_a_folder(self, ads: Path, tmp_path: Path) -> None:
        (tmp_path / "list.csv").write_text("path,shop\n" + "".join(f"ad_{number:03d}.png,a\n" for number in range(8)))
        run = cluster(tmp_path / "list.csv", tmp_path / "out", ads_dir=ads)
        assert set(run.results["metadata.shop"]) == {"a"}
        (tmp_path / "list.txt").write_text("ad_000.png")
        with pytest.raises(ConfigError, match=r"the table must end in one of \.csv"):
            cluster(tmp_path / "list.txt", tmp_path / "other")
        ads.rename(tmp_path / "ads.csv")
        assert len(cluster(tmp_path / "ads.csv", tmp_path / "other").results) == 11


class TestRecluster:
    @pytest.mark.parametrize(
        "settings",
        [
            {"num_clusters": 4},
            {"num_clusters": 3, "criterion": "Emotional Tone", "keep_labels": True},
            {"num_clusters": 3, "redo_2a": True, "seed": 9},
        ],
    )
    def test_it_gives_what_the_command_gives(
        self, command: Ictc, ads: Path, tmp_path: Path, settings: dict[str, Any]
    ) -> None:
        run = cluster(ads, tmp_path / "out")
        again = run.recluster(output_dir=tmp_path / "python", **settings)
        switches = [f"--{name}" for name, value in settings.items() if value is True]
        flags = [part for name, value in settings.items() if value is not True for part in (f"--{name}", value)]
        command("recluster", "--source_dir", run.directory, "--output_dir", tmp_path / "command", *flags, *switches)
        assert exported_bytes(again.directory) == exported_bytes(tmp_path / "command")
        assert len(again.clusters) == settings["num_clusters"]

    @pytest.mark.parametrize(
        ("settings", "words"),
        [
            ({"num_clusters": "4,5"}, "--num_clusters 4,5: a Run has one K; call recluster for each"),
            ({"num_clusters": 1}, "--num_clusters 1: must be a number from 2 to 100"),
            ({"redo_2a": True, "keep_labels": True}, "contradict each other"),
            ({"top_hook": 4}, "top_hook is no setting here; did you mean top_hooks?"),
            ({"frames": "all"}, "frames is no setting here"),
            ({"track": "2"}, "holds marketing; name one of them with --track"),
            ({"gpu_util": 2}, "--gpu_util 2: input should be less than or equal to 1"),
        ],
    )
    def test_it_refuses_what_the_command_refuses(
        self, ads: Path, tmp_path: Path, settings: dict[str, Any], words: str
    ) -> None:
        run = cluster(ads, tmp_path / "out", steps="1,2a")
        with pytest.raises(ConfigError) as caught:
            run.recluster(output_dir=tmp_path / "again", **settings)
        assert words in str(caught.value)


class TestReport:
    @pytest.fixture
    def run(self, tmp_path: Path) -> ictc.Run:
        directory = write_results(tmp_path / "run", {"a": "Trust & <b>more</b>", "b": "Bargains"})
        (directory / "run.json").write_text("{}")
        return ictc.open(directory)

    def test_it_is_the_page_of_the_command_in_a_frame_that_reaches_nothing(
        self, command: Ictc, run: ictc.Run, tmp_path: Path
    ) -> None:
        page = run.report(embeddings="tfidf")
        command("report", run.directory, "--output", tmp_path / "page.html", "--embeddings", "tfidf")
        assert page.path == run.directory / "report.html"
        assert page.path.read_bytes() == (tmp_path / "page.html").read_bytes()
        frame = page._repr_html_()
        before, _, rest = frame.partition(' srcdoc="')
        content, _, attributes = rest.partition('"')
        assert before == "<iframe"
        assert unescape(content) == page.path.read_text()
        assert 'sandbox="allow-scripts"' in attributes

    def test_a_large_page_stays_in_its_file(
        self, run: ictc.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("ictc.interface.page.MAX_EMBEDDED_CHARS", 1000)
        monkeypatch.chdir(tmp_path)
        shown = run.report(output="a page.html", embeddings="tfidf")._repr_html_()
        assert '<iframe src="a%20page.html" sandbox="allow-scripts"' in shown
        assert str(tmp_path) not in shown

    def test_several_runs_are_compared(self, run: ictc.Run, tmp_path: Path) -> None:
        other = write_results(tmp_path / "other", {"a": "Loud", "b": "Quiet"})
        page = run.report(ictc.Run(other), embeddings="tfidf")
        assert page.path == run.directory / "comparison.html"
        assert "Quiet" in page.path.read_text()

    def test_it_refuses_what_the_command_refuses(self, command: Ictc, run: ictc.Run) -> None:
        with pytest.raises(ConfigError) as caught:
            run.report(max_images=-1)
        refused = command("report", run.directory, "--max_images", -1)
        assert refused.stderr == f"ictc: error: {caught.value}\n"
        with pytest.raises(ConfigError, match="nowhere"):
            ictc.Run(run.directory / "nowhere").report()


def test_a_missing_folder_is_told_as_such(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        cluster(tmp_path / "nowhere", tmp_path / "out")
