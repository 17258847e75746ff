"""Tracks: ways of looking at images. A user's own track module imports everything it needs from here."""

from ictc.tracks.answers import CaptionAnswer, LabelAnswer
from ictc.tracks.base import AssignPrompt, CaptionPrompt, LabelPrompt, SynthesizePrompt, Track
from ictc.tracks.load import BUILT_IN_TRACKS, load_track

__all__ = [
    "BUILT_IN_TRACKS",
    "AssignPrompt",
    "CaptionAnswer",
    "CaptionPrompt",
    "LabelAnswer",
    "LabelPrompt",
    "SynthesizePrompt",
    "Track",
    "load_track",
]
