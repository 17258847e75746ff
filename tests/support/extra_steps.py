"""Two steps that are no part of the package: importing this adds their rows to the table, and nothing else.

Step 4 finds the tone of each captioned image, by shards; Step 5 makes a slogan of all tones, for the whole collection.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Self

import orjson

from ictc.engines.base import Answer, ChoiceAnswer, GenerationRequest, Message, SamplingParams, TextAnswer
from ictc.errors import StageError
from ictc.records import Caption
from ictc.stages.outcome import Outcome, Status
from ictc.stages.retry import Attempt
from ictc.stages.work import AskAll, ImageReader, ReduceTask, WorkItem, no_items
from ictc.steps.base import JsonFile, MapStep, ReduceStep, TypicalRequest, View
from ictc.steps.caption import CAPTION, caption_of
from ictc.steps.config import StepConfig
from ictc.steps.finding import Finding
from ictc.steps.results import Results
from ictc.steps.table import STEPS
from ictc.storage.atomic import write_atomic
from ictc.storage.entries import Entry
from ictc.storage.forms import FIELDS, MAPPING
from ictc.storage.json_files import read_json
from ictc.storage.keys import StageKey, digest
from ictc.tracks.base import image_inputs, image_json
from ictc.tracks.typical import typical_ad

QUESTION = "Which tone has it?"
TONES = ("calm", "loud", "warm")


def iter_tones(view: View) -> Iterator[Entry]:
    return ((image_id, data["tone"]) for image_id, data in view.results.iter_data(TONE, Status.DONE))


class ToneStep(MapStep[Caption]):
    name = "tone"
    number = "4"
    title = "Step 4 tones"
    about = "the tone of each ad"
    needs = (CAPTION,)
    follows = CAPTION
    of_a_part = True
    files = (JsonFile(name="step4_tones.json", form=MAPPING, entries=iter_tones),)

    def key(self, config: StepConfig, results: Results) -> StageKey:
        return config.model_key(self.role, {"question": QUESTION, "tones": TONES}, uses_criterion=False)

    def iter_items(self, results: Results) -> Iterator[WorkItem[Caption]]:
        for image_id in results.iter_ids(CAPTION, Status.DONE):
            yield WorkItem(
                image_id,
                input_digest=results.fingerprint(CAPTION, image_id),
                load=partial(caption_of, results, image_id),
            )

    def stage(self, config: StepConfig, results: Results, reader: ImageReader | None) -> ToneStage:
        return ToneStage(items=partial(self.iter_items, results), seed=config.seed)

    def examples(self, config: StepConfig) -> Sequence[TypicalRequest]:
        prompt = (Message("user", QUESTION + image_json(typical_ad(config.track))),)
        return [TypicalRequest(prompt=prompt, answer=TONES[0])]

    def sense_of(self, results: Results) -> Callable[[Mapping[str, Any]], bool]:
        return lambda record: record["data"].get("tone") in TONES


TONE = ToneStep()


@dataclass(frozen=True, kw_only=True)
class ToneStage:
    items: Callable[[], Iterator[WorkItem[Caption]]]
    seed: int
    name: str = TONE.name
    reads_images: bool = False

    def detached(self) -> Self:
        return replace(self, items=no_items)

    def iter_items(self) -> Iterator[WorkItem[Caption]]:
        return self.items()

    async def find_source(self, item: Caption) -> None:
        """Equal captions have equal input digests."""

    async def build_request(self, item: Caption, attempt: Attempt) -> GenerationRequest | Outcome:
        return GenerationRequest(
            request_id=item.image_id,
            task=self.name,
            messages=(Message("user", QUESTION + image_json(item)),),
            answer=ChoiceAnswer(TONES),
            sampling=attempt.sampling(max_tokens=8, seed=self.seed),
            inputs=image_inputs(item),
        )

    def parse_answer(self, item: Caption, answer: Answer) -> Outcome:
        return Outcome(Status.DONE, {"tone": answer.text})


def tones_of(results: Results) -> dict[str, int]:
    return dict(sorted(Counter(data["tone"] for _, data in results.iter_data(TONE, Status.DONE)).items()))


def iter_slogan(view: View) -> Iterator[Entry]:
    yield "slogan", view.results.find(SLOGAN)
    yield "tones", tones_of(view.results)


class SloganStep(ReduceStep[str]):
    name = "slogan"
    number = "5"
    title = "Step 5 slogan"
    about = "a slogan from the tones"
    needs = (TONE,)
    key_reads_results = True
    files = (JsonFile(name="step5_slogan.json", form=FIELDS, entries=iter_slogan),)

    def key(self, config: StepConfig, results: Results) -> StageKey:
        common = config.model_key(self.role, {"question": "slogan"}, uses_criterion=False)
        return {**common, "tones": digest(tones_of(results))}

    def begin(self, config: StepConfig, results: Results) -> SloganTask:
        tones = tones_of(results)
        if not tones:
            raise StageError("Step 5: no tone, no slogan; add images")
        return SloganTask(tones=tones, seed=config.seed)

    def size(self, key: StageKey) -> int:
        return 1

    def count(self, result: str | None) -> int:
        return 0 if result is None else 1

    def load(self, folder: Path) -> str | None:
        slogan: str | None = read_json(folder / "slogan.json")
        return slogan

    def save(self, folder: Path, result: str) -> None:
        write_atomic(folder / "slogan.json", orjson.dumps(result))

    def examples(self, config: StepConfig) -> Sequence[TypicalRequest]:
        return [TypicalRequest(prompt=(Message("user", "calm, loud, warm"),), answer="Be calm.")]

    def check_result(self, folder: Path, results: Results, key: StageKey) -> Iterator[Finding]:
        if not results.find(self):
            yield Finding("accounting", folder, "there is no slogan; run again")
        elif key["tones"] != digest(tones_of(results)):
            yield Finding("key", folder, "is out of date: it was made from other tones; run again")


SLOGAN = SloganStep()


@dataclass(frozen=True, kw_only=True)
class SloganTask(ReduceTask[str]):
    tones: Mapping[str, int]
    seed: int

    async def run(self, ask: AskAll) -> str:
        request = GenerationRequest(
            request_id="slogan",
            task="slogan",
            messages=(Message("user", ", ".join(self.tones)),),
            answer=TextAnswer(),
            sampling=SamplingParams(max_tokens=20, seed=self.seed),
            inputs={"tones": dict(self.tones)},
        )
        [result] = await ask([request])
        assert isinstance(result, Answer)
        return result.text


STEPS += (TONE, SLOGAN)
