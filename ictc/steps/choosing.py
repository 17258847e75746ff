"""What Step 3 asks about an image: a closed choice among the clusters, or which of them fit (`--multi_label`)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Self

from ictc.engines.base import Answer, AnswerFormat, ChoiceAnswer, GenerationRequest, JsonAnswer, Task
from ictc.errors import InvalidAnswer
from ictc.records import LabeledCaption
from ictc.stages.outcome import Outcome, Status
from ictc.stages.retry import Attempt
from ictc.stages.work import WorkItem, no_items
from ictc.steps.label import shorten
from ictc.steps.options import Option, list_options, option_letters, shuffle_options
from ictc.steps.shortlist import MOST_LISTED, Shortlist
from ictc.storage.keys import digest
from ictc.tracks.base import AssignPrompt, image_inputs, image_json
from ictc.tracks.fitting import FitsAnswer, fits_answer, parse_fits

MAX_TOKENS = 16
TOKENS_PER_FIT = 20
"""Of a cluster and its score in JSON."""
CONFIDENCE_DIGITS = 4


@dataclass(frozen=True, kw_only=True)
class AssignStage:
    """Asks for the cluster of every caption.

    The options stand in another order for each caption, drawn from the seed and its words, so that a model's liking
    for the first or last one evens out, and equal captions get equal requests. So does the one that no cluster fits:
    at the end of every list it would be chosen as often as a model likes what comes last.

    Attributes:
        shortlist: says which of the clusters are listed, where there are too many for one question.
    """

    items: Callable[[], Iterator[WorkItem[LabeledCaption]]]
    options: tuple[Option, ...]
    shortlist: Shortlist | None = None
    prompt: AssignPrompt
    criterion: str
    seed: int
    name: str = Task.ASSIGN.value
    reads_images: bool = False

    def detached(self) -> Self:
        return replace(self, items=no_items)

    @cached_property
    def _described(self) -> dict[int | None, dict[str, Any]]:
        return {option.cluster_id: option.to_row() for option in self.options}

    def iter_items(self) -> Iterator[WorkItem[LabeledCaption]]:
        return self.items()

    @property
    def max_tokens(self) -> int:
        """Most tokens of the first answer."""
        return MAX_TOKENS

    def answer_format(self, options: dict[str, Option]) -> AnswerFormat:
        """Return the form of an answer about these options."""
        return ChoiceAnswer(tuple(options))

    async def find_source(self, item: LabeledCaption) -> None:
        """Return None: equal captions with equal labels have equal input digests."""

    async def build_request(self, item: LabeledCaption, attempt: Attempt) -> GenerationRequest | Outcome:
        caption, label = shorten(item[0], attempt.text_share), item[1]
        options = self._by_letters(item)
        return GenerationRequest(
            request_id=caption.image_id,
            task=Task.ASSIGN,
            messages=self.prompt.render(
                criterion=self.criterion, clusters=list_options(options), image=image_json(caption, label)
            ),
            answer=self.answer_format(options),
            sampling=attempt.sampling(max_tokens=self.max_tokens, seed=self.seed),
            inputs={
                "criterion": self.criterion,
                **image_inputs(caption, label),
                "options": {letters: self._described[option.cluster_id] for letters, option in options.items()},
            },
        )

    def parse_answer(self, item: LabeledCaption, answer: Answer) -> Outcome:
        options = self._by_letters(item)
        chosen = options.get(answer.text)
        if chosen is None:
            raise InvalidAnswer(f"{answer.text[:40]!r} is none of the {len(options)} options")
        confidence = runner_up = None
        if answer.scores is not None:
            confidence = round(answer.scores[answer.text], CONFIDENCE_DIGITS)
            others = [letters for letters in options if letters != answer.text]
            runner_up = options[max(others, key=answer.scores.__getitem__)].cluster_id
        status = Status.NONE if chosen.cluster_id is None else Status.DONE
        return Outcome(status, {"cluster_id": chosen.cluster_id, "confidence": confidence, "runner_up": runner_up})

    def _by_letters(self, item: LabeledCaption) -> dict[str, Option]:
        """Return the options by their letters, in the order for these words."""
        return shuffle_options(self._listed(item), f"{self.seed}/{digest(image_inputs(*item))}")

    def _listed(self, item: LabeledCaption) -> Sequence[Option]:
        if self.shortlist is None:
            return self.options
        chosen = {None, *self.shortlist.pick(item)}
        return [option for option in self.options if option.cluster_id in chosen]

    @property
    def num_listed(self) -> int:
        """How many options each question has."""
        return len(self.options) if self.shortlist is None else count_listed(self.options)


def count_listed(options: Sequence[Option]) -> int:
    """Return how many options a question lists of so many: clusters, and that none fits if that is one."""
    num_clusters = sum(option.cluster_id is not None for option in options)
    return min(num_clusters, MOST_LISTED) + len(options) - num_clusters


@dataclass(frozen=True, kw_only=True)
class FittingStage(AssignStage):
    """Asks for all clusters that fit a caption, with a score each; the options stand as in a closed choice.

    Attributes:
        allow_none: whether no cluster may fit: an empty list, and no option of its own.
    """

    allow_none: bool

    @cached_property
    def _model(self) -> type[FitsAnswer]:
        return fits_answer(option_letters(self.num_listed), allow_none=self.allow_none)

    @cached_property
    def _form(self) -> JsonAnswer:
        return JsonAnswer(self._model.model_json_schema())

    @property
    def max_tokens(self) -> int:
        return MAX_TOKENS + TOKENS_PER_FIT * self.num_listed

    def answer_format(self, options: dict[str, Option]) -> AnswerFormat:
        return self._form

    def parse_answer(self, item: LabeledCaption, answer: Answer) -> Outcome:
        options = self._by_letters(item)
        fits = parse_fits(answer.text, self._model, letters=options)
        fitting = [(options[letters].cluster_id, score) for letters, score in fits.items()]
        best, second, *_ = (*(cluster_id for cluster_id, _ in fitting), None, None)
        data = {"cluster_id": best, "confidence": None, "runner_up": second, "fitting": fitting}
        return Outcome(Status.NONE if best is None else Status.DONE, data)
