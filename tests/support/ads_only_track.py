"""The marketing track for a model of random weights, whose toss about `ui_only` must not decide a test."""

from dataclasses import replace
from typing import Literal

from ictc.tracks import CaptionAnswer, load_track


class AdCaption(CaptionAnswer):
    """A caption that is never of an interface."""

    ui_only: Literal[False]


MARKETING = load_track("marketing")
TRACK = replace(MARKETING, name="ads_only", caption=replace(MARKETING.caption, answer=AdCaption))
