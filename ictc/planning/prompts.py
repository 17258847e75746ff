"""How many text tokens the prompts and answers of each step have, by the model's own tokenizer where it can be had.

The prompts are the tracks' own, rendered for a typical ad; the answers are the typical ad's. Asks no server.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

import orjson

from ictc.engines.base import Message
from ictc.records import Caption, StageName
from ictc.tracks import CaptionAnswer, Track
from ictc.tracks.base import image_inputs, image_json

CHARACTERS_PER_TOKEN = 4.2
"""Where the tokenizer is not at hand. With Qwen's, the prompts of this package have 4.2 to 4.4, answers in JSON 4.1."""
TEMPLATE_TOKENS = 20
"""What a chat template puts around two turns, an image and an empty thought."""

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


@dataclass(frozen=True, slots=True)
class TextTokens:
    """Text tokens of one step's request, image tokens not counted."""

    prompt: float
    answer: float


@dataclass(frozen=True)
class TokenCounter:
    """Counts the tokens of a text; `source` says how, for people."""

    count: Callable[[str], float]
    source: str


def load_token_counter(model: str) -> TokenCounter:
    """Return the tokenizer of a model folder or of a model that was downloaded before, else an estimate."""
    path = _find_tokenizer(model)
    if path is not None:
        try:
            from tokenizers import Tokenizer

            tokenizer = Tokenizer.from_file(str(path))
        except Exception:  # the package is missing, or the file is of another kind: tokenizers has no error of its own
            return ESTIMATE
        return TokenCounter(lambda text: len(tokenizer.encode(text, add_special_tokens=False)), "the model's tokenizer")
    return ESTIMATE


ESTIMATE = TokenCounter(
    lambda text: len(text) / CHARACTERS_PER_TOKEN,
    f"an estimate of {CHARACTERS_PER_TOKEN:g} characters a token, as the model's tokenizer is not on this machine",
)


def _find_tokenizer(model: str) -> Path | None:
    if (path := Path(model) / "tokenizer.json").is_file():
        return path
    try:
        from huggingface_hub import try_to_load_from_cache

        found = try_to_load_from_cache(model, "tokenizer.json")
    except (ImportError, ValueError):  # the latter: `model` is no name of a repository
        return None
    return Path(found) if isinstance(found, str) else None


def count_text_tokens(
    tracks: Sequence[tuple[Track, str]], num_clusters: int, num_labels: int, counter: TokenCounter
) -> dict[StageName, TextTokens]:
    """Return the tokens of each step, averaged over `tracks`, each with its criterion."""
    counted = [_count_track(track, criterion, num_clusters, num_labels, counter) for track, criterion in tracks]
    return {
        stage: TextTokens(
            prompt=fmean(tokens[stage].prompt for tokens in counted),
            answer=fmean(tokens[stage].answer for tokens in counted),
        )
        for stage in counted[0]
    }


def _count_track(
    track: Track, criterion: str, num_clusters: int, num_labels: int, counter: TokenCounter
) -> dict[StageName, TextTokens]:
    ad = typical_ad(track)
    name, description = TYPICAL_CLUSTER
    clusters = "\n".join(f"A. {name}: {description}" for _ in range(num_clusters))
    labels = "\n".join(f"1234 × {TYPICAL_LABEL}" for _ in range(num_labels))
    conversations: dict[StageName, tuple[Message, ...]] = {
        "caption": track.caption.render(criterion=criterion),
        "label": track.label.render(criterion=criterion, image=image_json(ad)),
        "synthesize": track.synthesize.render(
            criterion=criterion, num_clusters=num_clusters, labels=labels, coverage=""
        ),
        "assign": track.assign.render(criterion=criterion, clusters=clusters, image=image_json(ad, TYPICAL_LABEL)),
    }
    answers: dict[StageName, str] = {
        "caption": _json({**image_inputs(ad), "ui_only": False}),
        "label": _json({"label": TYPICAL_LABEL}),
        "synthesize": _json([{"name": name, "description": description}] * num_clusters),
        "assign": "A",
    }
    return {
        stage: TextTokens(
            prompt=TEMPLATE_TOKENS + sum(counter.count(turn.text) for turn in conversation),
            answer=max(counter.count(answers[stage]), 1),
        )
        for stage, conversation in conversations.items()
    }


def typical_ad(track: Track) -> Caption:
    """Return a typical caption with the track's own fields filled in."""
    own_fields = set(track.caption.answer.model_fields) - set(CaptionAnswer.model_fields)
    ad = {name: getattr(TYPICAL_AD, name) for name in ("image_id", "category", "brand", "text", "summary")}
    return Caption(**ad, analysis=dict.fromkeys(sorted(own_fields), TYPICAL_ANALYSIS))


def _json(value: object) -> str:
    return orjson.dumps(value).decode()
