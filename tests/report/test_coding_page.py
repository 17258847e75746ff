"""The page on which people code a sample, in a real browser: by keyboard alone, on a phone, closed and gone on with."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.browser import ATTACK, CHROMIUM, MIN_CONTRAST, PHONE, launched, luminance, opened, style
from support.collections import draw_image
from support.result_folders import write_results

from ictc.cli.main import run_command

pytest.importorskip("pandas", reason="validation needs the extra analysis")
pytest.importorskip("playwright.sync_api", reason="the page is tested with Playwright")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here: apt-get install chromium")

NAMES = ("Bargains", f"Trust {ATTACK}", "Novelty")
THINGS = ("bus", "train", "room", "staff", "food")
ADS = [f"ad_{number:02d}" for number in range(12)]
CLUSTER_OF = {ad: (*NAMES, None)[number % 4] for number, ad in enumerate(ADS)}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose sample is drawn for two coders; one image is missing, and every text attacks the page."""
    root = tmp_path_factory.mktemp("coding")
    for number, ad in enumerate(ADS[1:]):
        draw_image(root / "ads" / f"{ad}.png", number)
    attack = dict.fromkeys(ADS, f"words {ATTACK}")
    write_results(
        root / "run",
        CLUSTER_OF,
        names=NAMES,
        criterion=f"criterion {ATTACK}",
        rules={"include": ATTACK, "exclude": ATTACK},
        label=dict.fromkeys(ADS, "a secret label"),
        confidence=dict.fromkeys(ADS, 0.123456),
        image_path={ad: f"{ad}.png" for ad in ADS},
        text=attack,
        summary=attack,
        brand=attack,
    )
    assert run_command(["validate", str(root / "run"), "--ads_dir", str(root / "ads"), "--per_cluster", "3"]) == 0
    return root / "run"


@pytest.fixture(scope="module")
def browser(run: Path) -> Iterator[Any]:
    with launched() as browser:
        yield browser


def page_of(run: Path, coder: str = "coder_1") -> Path:
    return run / "validation" / f"{coder}.html"


def content_of(page: Path) -> dict[str, Any]:
    """Return the data that is embedded in a page."""
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page.read_text(encoding="utf-8"))
    assert found is not None
    content: dict[str, Any] = json.loads(found[1])
    return content


def save(page: Any, path: Path) -> dict[str, Any]:
    """Save the file by keyboard and return what it says."""
    with page.expect_download() as download:
        page.keyboard.press("s")
    download.value.save_as(path)
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content


def answers_in(content: dict[str, Any]) -> dict[str, Any]:
    return {one["image_id"]: one["answer"] for one in content["codings"]}


def test_two_coders_code_by_keyboard_alone(browser: Any, run: Path, tmp_path: Path) -> None:
    files = []
    for coder, slip in (("coder_1", 0), ("coder_2", 2)):
        items = content_of(page_of(run, coder))["items"]
        with opened(browser, page_of(run, coder)) as page:
            page.keyboard.press("Enter")
            for number, item in enumerate(items):
                assert page.locator("#place").inner_text() == f"{number + 1} of 12"
                cluster = CLUSTER_OF[item["id"]]
                right = "0" if cluster is None else str(NAMES.index(cluster) + 1)
                page.keyboard.press("x" if number < slip else right)
            assert page.locator("#done").is_visible()
            page.keyboard.press("Escape")
            files.append(tmp_path / f"{coder}.json")
            content = save(page, files[-1])
        assert Counter(answers_in(content).values())["cant_tell"] == slip
        assert len(content["codings"]) == len(ADS)
    assert run_command(["validate", str(run), "--codings", *map(str, files)]) == 0
    told = json.loads((run / "validation" / "validation.json").read_text(encoding="utf-8"))
    assert told["alpha"]["value"] == told["accuracy"]["value"] == 1
    assert all(share["corrected"] == pytest.approx(0.25) for share in told["shares"] if share["by"] == "all")
    with_sheet = run / "validation" / "disagreements.html"
    assert "Nowhere" in with_sheet.read_text(encoding="utf-8")


def test_each_coder_has_an_order_of_their_own(run: Path) -> None:
    orders = [[item["id"] for item in content_of(page_of(run, coder))["items"]] for coder in ("coder_1", "coder_2")]
    assert sorted(orders[0]) == sorted(orders[1]) == sorted(ADS)
    assert orders[0] != orders[1]


def test_a_page_is_the_same_whatever_the_model_said(tmp_path: Path) -> None:
    pages = []
    for shift in (0, 1):
        clusters = {ad: ("Bargains", "Trust", None)[(number + shift) % 3] for number, ad in enumerate(ADS)}
        told = {"label": f"secret {shift}", "confidence": 0.1 + shift / 2, "runner_up": f"secret {shift}"}
        columns = {name: dict.fromkeys(ADS, value) for name, value in told.items()}
        run = write_results(tmp_path / f"run{shift}", clusters, names=("Bargains", "Trust"), **columns)
        assert run_command(["validate", str(run)]) == 0
        drawing = content_of(page_of(run))["drawing"]
        pages.append(page_of(run).read_text(encoding="utf-8").replace(drawing, "DRAWING"))
    assert pages[0] == pages[1]


def test_answers_are_undone_changed_and_noted(browser: Any, run: Path, tmp_path: Path) -> None:
    first, second, third = (item["id"] for item in content_of(page_of(run))["items"][:3])
    with opened(browser, page_of(run)) as page:
        page.keyboard.press("Enter")
        for key in "12":
            page.keyboard.press(key)
        page.keyboard.press("u")
        assert page.locator("#place").inner_text() == "2 of 12"
        assert page.locator("#saved").inner_text() == "1 coded"
        page.keyboard.press("3")
        page.keyboard.press("n")
        page.keyboard.type("12 unsure")  # digits in a note are no answers
        page.keyboard.press("Escape")
        page.keyboard.press("ArrowLeft")
        page.keyboard.press("ArrowLeft")
        assert page.locator(".answer[aria-pressed=true] .name").inner_text().startswith("Bargains")
        page.keyboard.press("0")
        assert page.locator("#place").inner_text() == "3 of 12"  # on to the next without an answer
        content = save(page, tmp_path / "saved.json")
    assert answers_in(content) == {first: "none", second: 3, third: None}
    assert {one["image_id"]: one["note"] for one in content["codings"]}[third] == "12 unsure"


def test_a_page_closed_half_way_goes_on_where_it_was(browser: Any, run: Path, tmp_path: Path) -> None:
    profile = browser.new_context()
    with opened(browser, page_of(run), profile=profile) as page:
        page.keyboard.press("Enter")
        for _ in range(5):
            page.keyboard.press("2")
        saved = save(page, tmp_path / "half.json")
    with opened(browser, page_of(run), profile=profile) as page:
        assert page.locator("#start").inner_text() == "Go on"
        page.keyboard.press("Enter")
        assert page.locator("#place").inner_text() == "6 of 12"
    with opened(browser, page_of(run, "coder_2"), profile=profile) as page:
        assert page.locator("#start").inner_text() == "Start"  # one coder's answers are no other's
    profile.close()
    with opened(browser, page_of(run)) as page:  # a browser that has never seen the page
        with page.expect_file_chooser() as chooser:
            page.locator("#open").press("Enter")
        chooser.value.set_files(tmp_path / "half.json")
        page.locator("#place", has_text="6 of 12").wait_for()
        assert save(page, tmp_path / "again.json") == saved


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"coder": "coder_2"}, "of another coder"),
        ({"drawing": "0123"}, "about another sample"),
        ({"format": "else"}, "no file of such a page"),
        ({"codings": "gone"}, "no file of such a page"),
    ],
)
def test_a_file_of_something_else_changes_nothing(
    browser: Any, run: Path, tmp_path: Path, change: dict[str, Any], reason: str
) -> None:
    fields = ("format", "drawing", "level", "seed", "per_cluster", "coder")
    content = {name: value for name, value in content_of(page_of(run)).items() if name in fields}
    (tmp_path / "file.json").write_text(json.dumps({**content, "codings": [], **change}), encoding="utf-8")
    with opened(browser, page_of(run)) as page:
        page.locator("#file").set_input_files(tmp_path / "file.json")
        page.wait_for_selector("#warning:visible")
        assert reason in page.locator("#warning").inner_text()
        assert page.locator("#saved").inner_text() == "0 coded"
        page.keyboard.press("1")
        assert page.locator("#warning").is_hidden()


def test_hostile_names_and_captions_are_text(browser: Any, run: Path) -> None:
    with opened(browser, page_of(run)) as page:
        page.keyboard.press("Enter")
        missing = [item["id"] for item in content_of(page_of(run))["items"]].index(ADS[0])
        for _ in range(missing):
            page.keyboard.press("ArrowRight")
        assert page.locator("#item img").count() == 0
        assert f"words {ATTACK}" in page.locator("#item").inner_text()
        assert page.locator(".answer .name").nth(1).inner_text() == NAMES[1]
        assert page.evaluate("window.__pwned") is None


def test_on_a_phone_all_of_it_is_reached_by_touch(browser: Any, run: Path) -> None:
    with opened(browser, page_of(run), viewport=PHONE, has_touch=True, is_mobile=True) as page:
        page.locator("#start").tap()
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
        for place in (0, 2, 4):
            page.locator(".answer").nth(place).tap()
        assert page.locator("#place").inner_text() == "4 of 12"
        boxes = [one.bounding_box() for one in page.locator(".answer").all()]
        assert all(box["height"] >= 44 and box["x"] + box["width"] <= PHONE["width"] for box in boxes)
        page.locator("#undo").tap()
        assert page.locator("#place").inner_text() == "3 of 12"
        with page.expect_download():
            page.locator("#export").tap()
        assert page.locator("#export").inner_text() == "Saved ✓"
        page.locator(".answer").first.tap()
        assert page.locator("#export").inner_text() == "Save file"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_in_both_color_schemes(browser: Any, run: Path, scheme: str) -> None:
    with opened(browser, page_of(run), color_scheme=scheme) as page:
        for button in (".answer", "#start", "#help"):
            paper = luminance(style(page, button, "backgroundColor"))
            ink = luminance(style(page, button, "color"))
            assert (max(ink, paper) + 0.05) / (min(ink, paper) + 0.05) >= MIN_CONTRAST, button
        paper = luminance(style(page, "body", "backgroundColor"))
        assert (paper < 0.2) == (scheme == "dark")
        for words in ("h1", ".definition", ".rule", "#saved", ".note-field"):
            ink = luminance(style(page, words, "color"))
            assert (max(ink, paper) + 0.05) / (min(ink, paper) + 0.05) >= MIN_CONTRAST, words


def test_one_of_many_clusters_is_found_by_its_name(browser: Any, tmp_path: Path) -> None:
    names = tuple(f"{what} {thing}" for what in ("Late", "Broken", "Rude") for thing in THINGS)
    texts = {ad: f"text of {ad}" for ad in ADS}
    run = write_results(tmp_path / "run", {ad: names[number] for number, ad in enumerate(ADS)}, names=names, text=texts)
    assert run_command(["validate", str(run)]) == 0
    first, second = (item["id"] for item in content_of(page_of(run))["items"][:2])
    with opened(browser, page_of(run)) as page:
        assert page.locator("#find-key").is_visible()
        page.keyboard.press("Enter")
        assert page.locator("#item").inner_text() == texts[first]
        page.keyboard.press("/")
        page.keyboard.type("staff rude")
        assert page.locator("#clusters .name:visible").all_inner_texts() == ["Rude staff"]
        page.keyboard.press("Enter")
        assert page.locator("#item").inner_text() == texts[second]
        assert page.locator("#clusters .name:visible").count() == len(names)
        page.keyboard.press("a")  # the tenth
        content = save(page, tmp_path / "saved.json")
    assert answers_in(content) == {first: names.index("Rude staff") + 1, second: 10}


def test_where_the_browser_keeps_nothing_the_page_says_so(browser: Any, run: Path, tmp_path: Path) -> None:
    profile = browser.new_context()
    profile.add_init_script("Object.defineProperty(window, 'localStorage', { get() { throw new Error('off'); } });")
    with opened(browser, page_of(run), profile=profile) as page:
        page.keyboard.press("Enter")
        page.keyboard.press("1")
        assert "keeps nothing" in page.locator("#warning").inner_text()
        assert len(save(page, tmp_path / "saved.json")["codings"]) == 1
    profile.close()
