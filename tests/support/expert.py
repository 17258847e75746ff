"""A model of Step 2b that knows what it is asked about: what several proposals agree on can then be told from luck."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from ictc.engines.base import Answer, ChoiceAnswer, GenerationRequest, GenerationResult, Task


class Expert(ABC):
    """Answers a `SynthesizeTask`, as `await task.run(expert)`.

    Attributes:
        asked: how often, by task.
    """

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()

    async def __call__(self, requests: Sequence[GenerationRequest]) -> list[GenerationResult]:
        return [Answer(request.request_id, text=self.answer(request)) for request in requests]

    def answer(self, request: GenerationRequest) -> str:
        self.asked[request.task] += 1
        inputs: Any = request.inputs
        if request.task == Task.SYNTHESIZE:
            clusters = [{"name": name, "description": name} for name in self.propose(inputs)]
            return orjson.dumps({"clusters": clusters}).decode()
        if isinstance(request.answer, ChoiceAnswer):
            letters = {one["name"]: letter for letter, one in inputs["options"].items()}
            return self.choose(int(request.request_id.split("-")[1]), inputs["label"], letters)
        assert request.task == Task.NAME
        name = self.name(inputs)
        return orjson.dumps({"name": name, "description": f"All that is a {name}."}).decode()

    @abstractmethod
    def propose(self, inputs: Mapping[str, Any]) -> Sequence[str]:
        """Return the names of the clusters that it makes."""

    @abstractmethod
    def choose(self, number: int, label: str, letters: Mapping[str, str]) -> str:
        """Return the letter of the cluster of a label, in the proposal of that number.

        Args:
            letters: by the name of the cluster.
        """

    @abstractmethod
    def name(self, inputs: Mapping[str, Any]) -> str:
        """Return the name of a group."""
