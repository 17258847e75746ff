"""A typical ad with its label and cluster: what prompts and answers are rendered from to reckon what a run costs."""

from __future__ import annotations

from ictc.records import Caption
from ictc.tracks.answers import CaptionAnswer
from ictc.tracks.base import Track

TYPICAL_AD = Caption(
    image_id="",
    category="online fitness program",
    brand="Fit With Mara",
    text="28 DAYS TO A STRONGER YOU. No gym, no equipment, only 15 minutes a day. Rated 4.8 by over 120,000 members. "
    "Sponsored. Start your free trial today and save 50% on the first three months. Learn more",
    summary="The ad offers a four-week home workout program that needs no equipment and little time. It shows a "
    "smiling woman in sportswear beside a before-and-after picture and a calendar. It promises quick visible results, "
    "points to the high rating and the many members, and urges the viewer to start a free trial before the "
    "discount ends.",
)
TYPICAL_ANALYSIS = "Middle-income women between thirty and fifty who want results without giving up family time."
TYPICAL_LABEL = "effortless quick transformation"
TYPICAL_CLUSTER = (
    "Urgency and Limited Offers",
    "Ads that press for an immediate decision with deadlines, discounts or scarce supply, whatever they sell.",
)


TYPICAL_RULES = {
    "include": "The ad names a deadline, a discount that ends soon, or a number of items that is running out.",
    "exclude": "Ads with a price or a permanent discount but without any pressure to decide now.",
}


def typical_ad(track: Track) -> Caption:
    """Return a typical caption with the track's own fields filled in."""
    own_fields = set(track.caption.answer.model_fields) - set(CaptionAnswer.model_fields)
    ad = {name: getattr(TYPICAL_AD, name) for name in ("image_id", "category", "brand", "text", "summary")}
    return Caption(**ad, analysis=dict.fromkeys(sorted(own_fields), TYPICAL_ANALYSIS))
