"""Prompts and parsers: what a model is asked, and what counts as an answer."""

from __future__ import annotations

from typing import ClassVar

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ictc.errors import InvalidAnswer
from ictc.records import Caption
from ictc.tracks import BUILT_IN_TRACKS, Track, load_track
from ictc.tracks.answers import parse_caption, parse_clusters, parse_label
from ictc.tracks.base import image_json

CAPTION = Caption(
    "id", category="shoes", brand="Acme", text="BIG SALE", summary="A shoe on sale.", analysis={"lifestyle": "sporty"}
)


@pytest.mark.parametrize("track", BUILT_IN_TRACKS, ids=lambda track: track.name)
class TestBuiltInTracks:
    def test_it_is_found_by_name_and_number(self, track: Track) -> None:
        assert load_track(track.name) is track
        if track.number is not None:
            assert load_track(str(track.number)) is track

    def test_text_steps_see_brand_text_and_analysis(self, track: Track) -> None:
        """D4: the reference left out the track's analysis wherever an ad had text."""
        image = image_json(CAPTION, "some label")
        for messages in (
            track.label.render(criterion="C", image=image),
            track.assign.render(criterion="C", clusters="A. x: y", image=image),
        ):
            for words in ("Acme", "BIG SALE", "A shoe on sale.", "sporty"):
                assert words in messages[1].text

    def test_labels_can_not_parrot_an_example(self, track: Track) -> None:
        """D22: a prompt with example labels gets those back."""
        text = track.label.system + track.label.user
        assert "example" not in text.casefold()
        assert "e.g." not in text
        assert "such as" not in text

    def test_every_caption_answer_has_the_common_fields(self, track: Track) -> None:
        assert {"text", "brand", "ui_only", "category", "summary"} <= set(track.caption.schema["properties"])
        for name in track.caption.schema["properties"]:
            assert f"- {name}:" in track.caption.user

    def test_every_string_is_bounded(self, track: Track) -> None:
        """Without a bound a constrained model may write one string until its tokens run out."""
        for name, field in track.caption.schema["properties"].items():
            assert field["type"] == "boolean" or field["maxLength"] <= 1000, name


def test_foreign_text_is_never_read_as_a_template() -> None:
    caption = Caption("id", category="", brand="$criterion", text="${clusters} $$ {0} %s", summary="")
    text = load_track("marketing").label.render(criterion="secret", image=image_json(caption))[1].text
    assert '"$criterion"' in text
    assert "${clusters} $$ {0} %s" in text


@given(st.text(max_size=200))
def test_foreign_text_can_not_leave_its_quotes(words: str) -> None:
    image = image_json(Caption("id", category="", brand="", text=words, summary=""))
    assert orjson.loads(image)["text"] == words


class TestParseCaption:
    ANSWER: ClassVar = {"text": "a", "brand": "b", "ui_only": False, "category": "c", "summary": "d"}

    def test_a_valid_answer(self) -> None:
        caption = parse_caption("id", text=orjson.dumps(self.ANSWER).decode())
        assert caption == Caption("id", category="c", brand="b", text="a", summary="d")

    def test_a_track_s_own_fields_become_the_analysis(self) -> None:
        model = load_track("identity").caption.answer
        extra = dict.fromkeys(("socio_economic_status", "gender_performance", "cultural_signals", "lifestyle"), "x")
        assert parse_caption("id", text=orjson.dumps({**self.ANSWER, **extra}).decode(), model=model).analysis == extra

    def test_control_characters_do_not_get_through(self) -> None:
        answer = orjson.dumps({**self.ANSWER, "text": "a\x00b\x1b[31m\n\nc"}).decode()
        assert parse_caption("id", text=answer).text == "a b [31m c"

    def test_what_is_longer_than_our_bounds_is_cut(self) -> None:
        wordy = {**self.ANSWER, "text": "  " + "SALE. Terms apply " * 60, "category": "c" * 61}
        caption = parse_caption("id", text=orjson.dumps(wordy).decode())
        assert 690 < len(caption.text) <= 700
        assert len(caption.category) == 60
        assert caption.text.startswith("SALE. Terms")

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "an ad",
            "{}",
            '{"text": "a"',
            "null",
            "[]",
            '{"text":1,"brand":"","ui_only":false,"category":"","summary":""}',
        ],
    )
    def test_anything_else_is_invalid(self, text: str) -> None:
        with pytest.raises(InvalidAnswer):
            parse_caption("id", text=text)


class TestParseLabel:
    @staticmethod
    def parse(label: object) -> str:
        return parse_label(orjson.dumps({"label": label}).decode())

    @pytest.mark.parametrize(
        "label",
        [
            *(
                "two words",
                "one two three four",
                "Käufer's choice",
                "限时 优惠",
                "护肤品",
                "食",
                "สกินแคร์",
                "violin",
                "🎉",
                "$$$",
            ),
            *(
                "Kraftfahrzeughaftpflichtversicherung Werbung",
                "one two three four five",
                'a "quote" \\ and {"json": 1}',
            ),
        ],
    )
    def test_what_people_write_in_any_script_is_a_label(self, label: str) -> None:
        assert self.parse(label) == label.lower()

    @pytest.mark.parametrize("label", ["a\nb", "a\u2028b", "a\t\x00b", "a\r\n b"])
    def test_a_label_is_one_line(self, label: str) -> None:
        assert self.parse(label) == "a b"

    def test_a_long_label_is_cut_behind_a_word_or_a_character(self) -> None:
        assert self.parse("limited time offer " * 9) == ("limited time offer " * 9)[:100].rpartition(" ")[0]
        assert self.parse("限" * 300) == "限" * 100
        assert self.parse("x" * 99 + "e\u0301" * 9) == "x" * 99
        assert self.parse("x" * 98 + "👩\u200d🚀" * 3) == "x" * 98

    @pytest.mark.parametrize("label", ["", "  ", "... !!", "\u200b", None, 7, ["violin"]])
    def test_what_says_nothing_is_invalid(self, label: object) -> None:
        with pytest.raises(InvalidAnswer):
            self.parse(label)


class TestParseClusters:
    @staticmethod
    def answer(*names: str) -> str:
        return orjson.dumps({"clusters": [{"name": name, "description": "what it is"} for name in names]}).decode()

    def test_exactly_k_distinct_clusters(self) -> None:
        definitions = parse_clusters(self.answer("Left", "Right"), 2)
        assert [(one.cluster_id, one.name) for one in definitions] == [(1, "Left"), (2, "Right")]

    def test_a_long_description_is_cut_and_a_list_of_fixed_length_is_not(self) -> None:
        clusters = [{"name": name, "description": "d" * 500} for name in ("Left", "Right", "Both")]
        first, _ = parse_clusters(orjson.dumps({"clusters": clusters[:2]}).decode(), 2)
        assert len(first.description) == 300
        with pytest.raises(InvalidAnswer):
            parse_clusters(orjson.dumps({"clusters": clusters}).decode(), 2)

    def test_names_that_are_the_same_once_cut_are_invalid(self) -> None:
        with pytest.raises(InvalidAnswer, match="two clusters"):
            parse_clusters(self.answer("n" * 60 + "left", "n" * 60 + "right"), 2)

    @pytest.mark.parametrize(
        "names", [("食", "飲"), ("C++", "C#"), ("A+", "A-"), ("Ages 10-20", "Ages 20-30"), ("x", "y")]
    )
    def test_names_of_one_character_or_one_symbol_apart_are_names(self, names: tuple[str, ...]) -> None:
        assert tuple(one.name for one in parse_clusters(self.answer(*names), 2)) == names

    @pytest.mark.parametrize(
        "names",
        [
            *(("Left",), ("Left", "Right", "Both"), ("Left", "left "), ("Left", "--"), ("Left", "")),
            *(("Left", "Left."), ("Left-hand", "left hand"), ("Café", "Cafe\u0301"), ("Left", "Le\u200bft")),
            ("Men's", "Men\u2019s"),
        ],
    )
    def test_anything_else_is_invalid(self, names: tuple[str, ...]) -> None:
        with pytest.raises(InvalidAnswer):
            parse_clusters(self.answer(*names), 2)
