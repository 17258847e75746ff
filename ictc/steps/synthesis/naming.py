"""Asks for a name and a definition of each group of labels, in sight of the others, until no two mean the same."""

from __future__ import annotations

import logging
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import orjson

from ictc.engines.base import GenerationRequest, JsonAnswer, Task
from ictc.errors import InvalidAnswer, StageError
from ictc.records import ClusterDefinition
from ictc.stages.dialogue import Dialogue, ask_until_valid, hold
from ictc.stages.retry import Attempt
from ictc.stages.work import AskAll
from ictc.steps.histogram import Counted
from ictc.steps.synthesis.proposing import Aim
from ictc.tracks.answers import ClusterAnswer, parse_cluster
from ictc.tracks.rules import asks_rules
from ictc.tracks.spelling import words_that_mean

logger = logging.getLogger(__name__)

MAX_TOKENS = 192
MAX_TOKENS_WITH_RULES = 320
MAX_LABELS = 30
MAX_SIBLINGS = 40
LABELS_OF_SIBLING = 4
MAX_EXAMPLE_CHARS = 300
MAX_ROUNDS = 4
"""How often groups of one name are asked for others."""
JOINTS = frozenset({"and", "or", "the", "a", "an", "of", "for", "with"})


@dataclass(frozen=True, kw_only=True)
class LabelGroup:
    """Labels that belong together.

    Attributes:
        labels: with their counts, the most frequent first.
        examples: captions of images that carry them.
        name, description: that it has already, "" if the model is to give it.
        parent: the cluster that it lies in, None if it lies in none.
    """

    labels: Sequence[Counted]
    examples: Sequence[str] = ()
    name: str = ""
    description: str = ""
    parent: ClusterDefinition | None = None


async def name_groups(
    ask: AskAll, groups: Sequence[LabelGroup], aim: Aim, *, suffix: str = ""
) -> tuple[ClusterDefinition, ...]:
    """Return a cluster for each group, in their order, with names that differ in more than letters.

    Args:
        suffix: of the names of the requests.

    Raises:
        StageError: a group got no name of its own.
        EngineError: the engine cannot go on.
    """
    names = {place: group.name for place, group in enumerate(groups) if group.name}
    descriptions = {place: group.description for place, group in enumerate(groups) if group.description}
    rules: dict[int, dict[str, str]] = {}
    wanted: list[Container[int]] = [names, descriptions, *([rules] if asks_rules(aim.track.naming.answer) else [])]
    refused: dict[int, list[str]] = {}
    for number in range(MAX_ROUNDS):
        todo = [place for place in range(len(groups)) if not all(place in known for known in wanted)]
        if not todo:
            break
        dialogues = [
            _Naming(
                aim=aim,
                groups=groups,
                place=place,
                taken=[*dict.fromkeys((*refused.get(place, ()), *names_in_sight(names, groups, place)))],
                number=number,
                suffix=suffix,
            ).name()
            for place in todo
        ]
        for place, answer in zip(todo, await hold(ask, dialogues), strict=True):
            names.setdefault(place, answer.name)
            descriptions.setdefault(place, answer.description)
            rules[place] = answer.model_dump(exclude={"name", "description"})
        for place in find_repeated({place: names[place] for place in sorted(names, key=lambda p: not groups[p].name)}):
            logger.info("synthesize: %r is the name of another group, too; asked again", names[place])
            refused.setdefault(place, []).append(names.pop(place))
            descriptions.pop(place)
    if len(names) < len(groups):
        raise StageError(
            f"Step 2b: the model gives {len(groups) - len(names)} of {len(groups)} groups of labels the names of "
            "others; lower --num_clusters, or try another --seed or a larger model. Captions and labels are kept"
        )
    return tuple(
        ClusterDefinition(place + 1, name=names[place], description=descriptions[place], **rules.get(place, {}))
        for place in range(len(groups))
    )


def names_in_sight(names: Mapping[int, str], groups: Sequence[LabelGroup], place: int) -> list[str]:
    """Return the names that are taken: first those of the parent and the siblings of a group, as room is scarce."""
    parent = groups[place].parent
    known = [names[other] for other in sorted(names, key=lambda other: (groups[other].parent != parent, other))]
    return known if parent is None else [parent.name, *known]


def find_repeated(names: Mapping[int, str]) -> list[int]:
    """Return the places of names that say the same as one before them."""
    known: set[tuple[str, ...]] = set()
    repeated = []
    for place, name in names.items():
        meaning = meaning_of(name)
        if meaning in known:
            repeated.append(place)
        known.add(meaning)
    return repeated


def meaning_of(name: str) -> tuple[str, ...]:
    """Return the words of a name in the singular and in one order, without what joins them.

    >>> meaning_of("Cars & Trucks") == meaning_of("the truck and car")
    True
    """
    return words_that_mean(name, without=JOINTS)


@dataclass(frozen=True, kw_only=True)
class _Naming:
    """Asks for the name of one group.

    Attributes:
        place: of the group among all.
        taken: names that other groups have.
        number: of the round.
        suffix: of the names of requests.
    """

    aim: Aim
    groups: Sequence[LabelGroup]
    place: int
    taken: Sequence[str]
    number: int
    suffix: str

    def name(self) -> Dialogue[ClusterAnswer]:
        """Come to a name that is not taken, and a description.

        Raises:
            StageError: no answer was valid.
        """
        try:
            return (yield from ask_until_valid(self._request, partial(parse_cluster, model=self._answer)))
        except InvalidAnswer as error:
            labels = ", ".join(label for label, _ in self.groups[self.place].labels[:LABELS_OF_SIBLING])
            raise StageError(
                f"Step 2b: no name for the group of the labels {labels} (last: {error}); try another --seed or a "
                "larger model. Captions and labels are kept"
            ) from None

    def _siblings(self) -> list[LabelGroup]:
        """Return the other groups with the same parent; all others, if there are none."""
        others = [group for place, group in enumerate(self.groups) if place != self.place]
        return [other for other in others if other.parent == self.groups[self.place].parent] or others

    @property
    def _answer(self) -> type[ClusterAnswer]:
        return self.aim.track.naming.answer

    def _request(self, attempt: Attempt) -> GenerationRequest:
        group, share = self.groups[self.place], attempt.text_share
        max_tokens = MAX_TOKENS_WITH_RULES if asks_rules(self._answer) else MAX_TOKENS
        labels = group.labels[: max(1, int(MAX_LABELS * share))]
        examples = [text[:MAX_EXAMPLE_CHARS] for text in group.examples] if share == 1 else []
        others = [[label for label, _ in other.labels[:LABELS_OF_SIBLING]] for other in self._siblings()]
        others = others[: max(1, int(MAX_SIBLINGS * share))]
        taken = self.taken[: int(MAX_SIBLINGS * share)]
        parent = {"name": group.parent.name, "description": group.parent.description} if group.parent else None
        track = self.aim.track
        prompt = track.naming if parent is None else track.naming_inside
        return GenerationRequest(
            request_id=f"name-{self.place + 1}{self.suffix}",
            task=Task.NAME,
            messages=prompt.render(
                criterion=self.aim.criterion,
                labels="\n".join(f"{count} × {label}" for label, count in labels),
                examples=_json(examples),
                others="\n".join(", ".join(labels) for labels in others),
                taken=_json(taken),
                **({} if parent is None else {"parent": _json(parent)}),
            ),
            answer=JsonAnswer(self._answer.model_json_schema()),
            sampling=attempt.sampling(max_tokens=max_tokens, seed=self.aim.seed + 1000 * self.number),
            inputs={
                "criterion": self.aim.criterion,
                "labels": [{"label": label, "count": count} for label, count in labels],
                "examples": examples,
                "others": others,
                "taken": list(taken),
                **({} if parent is None else {"parent": parent}),
            },
        )


def _json(value: Any) -> str:
    return orjson.dumps(value, option=orjson.OPT_INDENT_2).decode()
