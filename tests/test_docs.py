"""The documentation is true: its commands run, its flags, files, fields and links exist."""

from __future__ import annotations

import csv
import doctest
import importlib
import importlib.util
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
import yaml
from support.cli import Ictc, load
from support.collections import draw_flat, draw_observation
from support.reference_directory import write_reference

from ictc.cli.main import app, run_command
from ictc.tracks import BUILT_IN_TRACKS

REPOSITORY = Path(__file__).parents[1]
DOCS = REPOSITORY / "docs"
OUTPUTS = DOCS / "outputs.md"
PAGES = [REPOSITORY / "README.md", *sorted(DOCS.glob("*.md"))]

THEY_ASK = ("run", "import", "recluster", "suggest")
NEEDS_A_MODEL = ("engine", "vlm_model", "llm_model", "base_url", "engine_options")
COMMANDS = [name for name in app if not name.startswith("-")]
FLAGS_OF_BENCHMARKS = {
    *(
        "answer_tokens",
        "data",
        "delta",
        "draws",
        "parts",
        "preset",
        "repeats",
        "recluster",
        "rounds",
        "scale",
        "seeds",
        "target",
    )
}
FLAGS_OF_OTHERS = {"help", "version", "no_deps"} | FLAGS_OF_BENCHMARKS
KEYED_BY_IMAGE = (
    "image_mapping.json",
    "step1_captions.json",
    "ui_only_images.json",
    "broken_images.json",
    "step2a_hooks.json",
    "step3_final_assignment.json",
    "step3b_evidence.json",
)
MODULES_WITH_EXAMPLES = [
    ".".join(path.relative_to(REPOSITORY).with_suffix("").parts)
    for path in sorted((REPOSITORY / "ictc").rglob("*.py"))
    if ">>>" in path.read_text(encoding="utf-8")
]


def name_of(path: Path) -> str:
    return path.name


def code_blocks(page: Path, language: str) -> list[str]:
    """Return the fenced blocks of one language."""
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


def shell_lines(page: Path) -> Iterator[list[str]]:
    """Yield each command of the shell blocks as its words, comments left out."""
    for block in code_blocks(page, "bash"):
        for line in block.replace("\\\n", " ").splitlines():
            if words := shlex.split(line.removeprefix("$ "), comments=True):
                yield words


def ictc_commands(page: Path) -> list[list[str]]:
    """Return the arguments of each `ictc` command of a page."""
    return [words[1:] for words in shell_lines(page) if words[0] == "ictc"]


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with everything that the documented commands name."""
    folder = tmp_path_factory.mktemp("documentation")
    for number in range(24):
        draw_observation(folder / "ads", f"ad_{number:02d}", number, timestamp=1_745_000_000 + number)
    (folder / "ads" / "torn").mkdir()
    (folder / "ads" / "torn" / "image.jpg").write_bytes(b"\xff\xd8 torn")
    draw_flat(folder / "photos", 24)
    (own_track,) = code_blocks(DOCS / "tracks.md", "python")
    (folder / "my_track.py").write_text(own_track, encoding="utf-8")
    with (folder / "truth.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(("image_id", "category"))
        rows.writerows((f"ad_{number:02d}", ("cars", "pets", "travel")[number % 3]) for number in range(24))
    write_sources(folder)
    (folder / "edited.json").write_text('[{"name": "Loud"}, {"name": "Quiet", "description": "The rest."}]')
    (config,) = code_blocks(DOCS / "usage.md", "yaml")
    (folder / "run.yaml").write_text(config, encoding="utf-8")
    return folder


def write_sources(folder: Path) -> None:
    """Write what the documentation imports."""
    topics = ("late", "broken", "rude", "dear", "slow", "dirty", "loud", "cold", "small", "heavy")
    texts = [f"It was {topics[number % 10]}, for the {number}th time." for number in range(40)]
    with (folder / "posts.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(("id", "text", "city"))
        rows.writerows((number, text, "Ulm") for number, text in enumerate(texts))
    (folder / "answers.jsonl").write_bytes(b"".join(orjson.dumps({"antwort": text}) + b"\n" for text in texts))
    with (folder / "captions.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(("image", "caption"))
        rows.writerows((path.name, f"A picture of {path.stem}") for path in sorted((folder / "photos").iterdir()))
    write_reference(folder / "study" / "full_run")


@pytest.fixture
def ictc(sandbox: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Ictc:
    """The command line, in the sandbox."""
    monkeypatch.chdir(sandbox)
    return Ictc(capsys)


def with_scripted_engine(arguments: list[str]) -> list[str]:
    """Return the command with the scripted engine in place of whatever models it names."""
    kept, words = [], iter(arguments)
    for word in words:
        if word.startswith("--") and flag_name(word) in NEEDS_A_MODEL:
            next(words)
        elif word == "--config":
            kept += [word, str(scripted_config(Path(next(words))))]
        else:
            kept.append(word)
    return [*kept, "--engine", "scripted"] if kept[0] in THEY_ASK and "--help" not in kept else kept


def flag_name(flag: str) -> str:
    """Return the name of a setting in either spelling of its flag."""
    return flag.removeprefix("--").replace("-", "_")


def scripted_config(path: Path) -> Path:
    """Return a copy of a configuration file that names no model."""
    settings = yaml.safe_load(path.read_text(encoding="utf-8"))
    copy = path.with_suffix(".scripted.yaml")
    copy.write_text(yaml.safe_dump({name: settings[name] for name in settings if name not in NEEDS_A_MODEL}))
    return copy


@pytest.mark.parametrize("page", [page for page in PAGES if ictc_commands(page)], ids=name_of)
def test_documented_commands_parse_and_run(page: Path, ictc: Ictc) -> None:
    for arguments in ictc_commands(page):
        app.parse_args(arguments, exit_on_error=False, print_error=False)
        outcome = ictc(*with_scripted_engine(arguments))
        assert outcome.exit_code == 0, f"ictc {shlex.join(arguments)}: {outcome.stderr}"


@pytest.mark.parametrize("page", [REPOSITORY / "README.md", DOCS / "python.md"], ids=name_of)
def test_documented_calls_run(
    page: Path, sandbox: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(sandbox)
    names: dict[str, Any] = {}
    for block in code_blocks(page, "python"):
        exec(block.replace('engine="lite"', 'engine="scripted"'), names)
    for comment in re.findall(r"print\(error\)  # (.+) …$", page.read_text(encoding="utf-8"), re.MULTILINE):
        assert comment in capsys.readouterr().out


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_programs_that_the_pages_run_exist(page: Path) -> None:
    for words in shell_lines(page):
        for word in words:
            if re.match(r"(\./)?(launchers|examples|docs|benchmarks|analysis)/.*\.\w+$", word):
                assert (REPOSITORY / word).exists(), shlex.join(words)


def known_flags() -> set[str]:
    collections = (
        app[command].assemble_argument_collection(default_parameter=app.default_parameter) for command in COMMANDS
    )
    names = {argument.name for collection in collections for argument in collection}
    return {flag_name(name) for name in names if name.startswith("--")}


def prose(page: Path) -> str:
    """Return a page without its fenced blocks."""
    return re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_flags_that_the_pages_name_exist(page: Path) -> None:
    named = {flag_name(flag) for flag in re.findall(r"(?<![\w-])--[a-z][\w-]*", prose(page))}
    assert named - FLAGS_OF_OTHERS <= known_flags()


def test_the_page_of_flags_is_up_to_date_and_holds_every_flag_of_the_help(ictc: Ictc) -> None:
    spec = importlib.util.spec_from_file_location("make_flags", DOCS / "make_flags.py")
    assert spec is not None
    assert spec.loader is not None
    make_flags = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(make_flags)
    page = (DOCS / "flags.md").read_text(encoding="utf-8")
    assert page == make_flags.flags_page(), "run: python docs/make_flags.py"
    for command in COMMANDS:
        shown = set(re.findall(r"│ [* ]* *(--\w+)", ictc(command, "--help").stdout))
        section = page.partition(f"## ictc {command}\n")[2].partition("\n## ")[0]
        assert shown
        assert shown == set(re.findall(r"^\| `(--\w+)`", section, re.MULTILINE))


def heading_anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as they are made where Markdown is shown."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_relative_links_resolve(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if "://" not in target:
            name, _, anchor = target.partition("#")
            linked = (page.parent / name).resolve() if name else page
            assert linked.exists(), target
            assert not anchor or anchor in heading_anchors(linked), target


def test_every_page_is_on_the_map() -> None:
    text = (DOCS / "index.md").read_text(encoding="utf-8")
    assert {page.name for page in DOCS.glob("*.md")} - {"index.md"} == set(re.findall(r"\((\w+\.md)\)", text))


def test_the_track_of_the_documentation_runs_and_its_own_fields_are_exported(ictc: Ictc, sandbox: Path) -> None:
    ictc.succeed(sandbox / "ads", sandbox / "own", "--track", "my_track.py")
    assert load(sandbox / "own", "run.json")["criterion"] == "Visual Style"
    for caption in load(sandbox / "own", "step1_captions.json").values():
        assert {"palette", "typography"} <= caption.keys()


def test_the_page_of_tracks_lists_the_built_in_ones() -> None:
    text = (DOCS / "tracks.md").read_text(encoding="utf-8")
    for track in BUILT_IN_TRACKS:
        (row,) = re.findall(rf"^\| `{track.name}`.*$", text, re.MULTILINE)
        assert f"`{track.directory}`" in row
        assert track.criterion is None or track.criterion in row


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The results of a run in which images left Step 1 in every way."""
    folder = tmp_path_factory.mktemp("outputs")
    for number in range(40):
        draw_observation(folder / "ads", f"ad_{number:02d}", number, observation={"platform": "TikTok"})
    (folder / "ads" / "empty").mkdir()
    arguments = ("--ads_dir", folder / "ads", "--output_dir", folder / "out", "--engine", "scripted")
    assert run_command(["run", *map(str, arguments), "--engine_options", '{"fail": ["ad_03"]}']) == 0
    return folder / "out"


@pytest.fixture(scope="module")
def every_result(results: Path) -> Path:
    """The results of the same images with what only a flag brings."""
    folder = results.parent
    arguments = ("--ads_dir", folder / "ads", "--output_dir", folder / "every", "--engine", "scripted")
    assert run_command(["run", *map(str, arguments), "--num_clusters", "2,5", "--evidence"]) == 0
    return folder / "every"


def test_the_tree_of_outputs_shows_every_file(every_result: Path) -> None:
    (tree,) = (block for block in code_blocks(OUTPUTS, "") if block.startswith("out/"))
    shown = set(re.findall(r"^[├└]── ([\w.]+)", tree, re.MULTILINE))
    assert shown - {"report.html"} == {path.name for path in every_result.iterdir()}  # no page about noise


def test_the_examples_of_outputs_have_the_fields_that_a_run_writes(results: Path, every_result: Path) -> None:
    pattern = r"^### `([\w.]+)`\n(?:(?!^###? ).*\n)*?```json\n((?:.*\n)*?)```"
    blocks = re.findall(pattern, OUTPUTS.read_text(encoding="utf-8"), re.MULTILINE)
    examples = {name: orjson.loads(block) for name, block in blocks}
    assert {*KEYED_BY_IMAGE, "ictc_final_results.json", "run.json", "rejected.jsonl"} <= examples.keys()
    for name, example in examples.items():
        content = ((results if (results / name).exists() else every_result) / name).read_bytes()
        written = orjson.loads(content.splitlines()[0] if name.endswith(".jsonl") else content)
        assert shape(name, example) == shape(name, written), name


def shape(name: str, value: Any) -> Any:
    """Return the fields of a file: of one image's entry where there is one for each, else of the whole and its rows."""
    if name in KEYED_BY_IMAGE:
        value = next(iter(value.values()))
    if isinstance(value, list):
        value = value[0]
    if not isinstance(value, dict):
        return type(value).__name__
    rows = {field: set(rows[0]) for field, rows in value.items() if isinstance(rows, list) and rows}
    return set(value), rows


@pytest.mark.parametrize("module", MODULES_WITH_EXAMPLES)
def test_the_examples_in_docstrings_run(module: str) -> None:
    tested = doctest.testmod(importlib.import_module(module))
    assert tested.attempted
    assert not tested.failed
