"""The marketing track for a model of random weights that has no end: captions are of ads, and a few words long."""

from dataclasses import replace
from typing import Literal

from pydantic import Field

from ictc.tracks import CaptionAnswer, load_track


class ShortCaption(CaptionAnswer):
    """A caption that is never of an interface, and that takes a tenth of the tokens of others."""

    text: str = Field(max_length=40)
    brand: str = Field(max_length=20)
    ui_only: Literal[False]
    category: str = Field(max_length=20)
    summary: str = Field(max_length=40)


MARKETING = load_track("marketing")
TRACK = replace(MARKETING, name="short_ads", caption=replace(MARKETING.caption, answer=ShortCaption))
