"""Estimates of whole runs: what fits, what the reference study would have taken, and what each lever does."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from support.step_configs import make_config

from ictc.config import EngineSettings
from ictc.errors import ConfigError
from ictc.planning.copies import Copies
from ictc.planning.estimate import Scenario, estimate
from ictc.planning.gpus import GPUS, find_gpu
from ictc.planning.levers import Lever, find_levers
from ictc.planning.prompts import ESTIMATE, count_text_tokens, load_token_counter
from ictc.planning.sample import Sample
from ictc.steps.table import STEPS
from ictc.tracks import BUILT_IN_TRACKS

PHONE_SCREENS = Sample(num_images=86_446, num_looked_at=200, readable=(), sizes=((1080, 1920),) * 200)
TOKENS = count_text_tokens([make_config(BUILT_IN_TRACKS[0])], ESTIMATE)


def scenario(gpu: str = "h100", model: str = "Qwen/Qwen3.5-9B", **settings: object) -> Scenario:
    engine = EngineSettings.model_validate({"vlm_model": model, **settings})
    return Scenario(engine=engine, gpu=find_gpu(gpu), sample=PHONE_SCREENS, tokens=TOKENS, steps=tuple(STEPS))


def levers(planned: Scenario) -> dict[str, Lever]:
    return {lever.change: lever for lever in find_levers(planned)}


def test_the_study_took_longer_than_a_well_fed_engine() -> None:
    """9B on one A100 of 40 GB took 24 h, in calls of four images, which keep an engine waiting."""
    planned = estimate(scenario("a100-40"))
    assert not planned.models[0].problem
    assert 4 < planned.hours < 12
    captions = planned.steps[0]
    assert captions.duration.bound(0.45) == "compute"
    assert captions.num_requests / captions.duration.seconds(0.45) == pytest.approx(5.9 * 1024 / 1269, rel=0.1)


@pytest.mark.parametrize(
    ("gpu", "model", "settings", "engines", "gpus_each"),
    [
        ("a100-40", "Qwen/Qwen3.5-27B", {"gpu_ids": "0,1,2,3"}, 2, 2),
        ("a100-80", "Qwen/Qwen3.5-27B", {"gpu_ids": "0,1"}, 2, 1),
        ("h100", "Qwen/Qwen3.5-27B", {"num_gpus": 4}, 1, 4),
        ("h100", "Qwen/Qwen3.5-9B", {"replicas": 3}, 3, 1),
        ("h100", "Qwen/Qwen3.5-9B", {"replicas": 2, "vlm_tp": 2}, 2, 2),
    ],
)
def test_gpus_are_divided_as_a_run_would(
    gpu: str, model: str, settings: dict[str, object], engines: int, gpus_each: int
) -> None:
    (planned,) = estimate(scenario(gpu, model, **settings)).models
    assert (planned.num_engines, planned.gpus_each, planned.problem) == (engines, gpus_each, "")


def test_what_does_not_fit_has_no_hours_but_remedies() -> None:
    planned = scenario("l4", "Qwen/Qwen3.5-27B")
    assert "does not fit" in estimate(planned).models[0].problem
    assert estimate(planned).steps == ()
    remedies = levers(planned)
    assert set(remedies) == {"--num_gpus 4", "--vlm_model Qwen/Qwen3.5-9B"}
    assert all(remedy.saved_share is None for remedy in remedies.values())
    assert set(levers(scenario("v100"))) == {"--dtype float16"}


def test_twice_the_gpus_take_half_the_time() -> None:
    planned = scenario()
    assert levers(planned)["--replicas 2"].saved_share == pytest.approx(0.5, abs=0.01)
    assert estimate(scenario(replicas=2)).hours == pytest.approx(levers(planned)["--replicas 2"].hours)


def test_a_lever_is_offered_only_where_it_does_something() -> None:
    assert "--quantization fp8" in levers(scenario("l40s"))
    assert "--quantization fp8" not in levers(scenario("a100-80"))
    assert "--quantization fp8" not in levers(scenario("h100", quantization="fp8"))
    assert not any("dedupe" in change for change in levers(scenario()))
    assert not any("--max_image_tokens" in change for change in levers(scenario(max_image_tokens=256)))
    assert levers(scenario())["--max_image_tokens 512"].saved_share == pytest.approx(0.37, abs=0.05)


def test_copies_cost_nothing_unless_dedupe_is_off() -> None:
    copied = replace(scenario(), sample=replace(PHONE_SCREENS, copies=Copies(distinct_share=0.6)))
    lever = levers(copied)["--dedupe off"]
    assert lever.hours == pytest.approx(estimate(scenario()).hours, rel=0.01)
    assert estimate(copied).hours == pytest.approx(0.6 * lever.hours, rel=0.01)
    assert levers(replace(copied, dedupe=False))["--dedupe exact"].saved_share == pytest.approx(0.4, abs=0.01)


def test_tracks_in_one_pass_cost_less_than_runs_of_their_own() -> None:
    three = replace(scenario(), num_tracks=3)
    apart = levers(three)["3 runs of one track"]
    assert apart.hours == pytest.approx(3 * estimate(scenario()).hours, rel=0.01)
    captions_of_three, captions = (estimate(planned).steps[0].duration for planned in (three, scenario()))
    assert captions.seconds() < captions_of_three.seconds() < 1.8 * captions.seconds()
    assert levers(scenario())["--track 1,2,3"].hours == pytest.approx(estimate(three).hours)


def test_text_is_counted_by_the_tokenizer_of_the_model(tmp_path: Path) -> None:
    tokenizers = pytest.importorskip("tokenizers")
    words = tokenizers.models.WordLevel({"an": 0, "ad": 1, "?": 2}, unk_token="?")
    tokenizer = tokenizers.Tokenizer(words)
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    counter = load_token_counter(str(tmp_path))
    assert counter.source == "the model's tokenizer"
    assert counter.count("an ad unheard of") == 4


def test_without_a_tokenizer_text_is_counted_by_its_length(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text("{}")
    for model in (str(tmp_path), "somebody/unheard-of", "no model at all"):
        assert load_token_counter(model) is ESTIMATE
    assert "estimate of 4.2 characters" in ESTIMATE.source


def test_tracks_have_prompts_of_their_own() -> None:
    longer = count_text_tokens([make_config(BUILT_IN_TRACKS[1], num_clusters=10)], ESTIMATE)
    assert longer["caption"].answer > TOKENS["caption"].answer
    assert longer["assign"].prompt > TOKENS["assign"].prompt
    assert TOKENS["assign"].answer == 1


def test_gpus_are_found_by_their_common_names() -> None:
    assert find_gpu("A100") is find_gpu("a100-80gb") is GPUS["a100-80"]
    assert find_gpu("RTX 4090") is GPUS["rtx4090"]
    with pytest.raises(ConfigError, match=r"did you mean h200\? known are .*a100-40, .*b200"):
        find_gpu("h20")
