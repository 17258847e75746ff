"""What is inferred in place of answers: certified as it says, in whatever world, and in whatever order inputs come.

`ICTC_WORLDS=20000` sets how many worlds are tried.
"""

from __future__ import annotations

import os
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.answering import (
    World,
    answer_all,
    answers_of,
    draw_world,
    drifting,
    infer_world,
    key_of,
    nearly_equal_classes,
    one_image_a_label,
    without_information,
)

from ictc.inference.cascade import Aim
from ictc.inference.inputs import Question, read_inputs

NUM_WORLDS = int(os.environ.get("ICTC_WORLDS", "1000")) // 20
AIM = Aim(target=0.9, delta=0.05, seed=1)


def agreement(world: World, aim: Aim) -> tuple[float, float]:
    """Return the share of images that agree, and what is certified of it."""
    inferred, answers = infer_world(world, aim)
    counts = read_inputs(world[0]).counts
    assert (inferred.answers == answers)[inferred.was_asked].all()
    return float((counts * (inferred.answers == answers)).sum() / counts.sum()), inferred.certificate.bound


def test_a_predictable_world_costs_few_calls() -> None:
    inferred, answers = infer_world(
        draw_world(np.random.default_rng(0), 2000, 0.0), Aim(target=0.98, delta=0.05, seed=3)
    )
    certificate = inferred.certificate
    assert certificate.calls <= 0.15 * 2000
    assert certificate.bound >= 0.98
    assert (inferred.answers == answers).mean() >= certificate.bound
    assert 0 < certificate.audited <= certificate.asked


@pytest.mark.parametrize("whims", [0.12, 0.2])
def test_bounds_are_violated_no_more_often_than_delta(whims: float) -> None:
    """Worlds whose share of what can't be known is around what is allowed are those in which it may go wrong."""
    pairs = [
        agreement(draw_world(np.random.default_rng(world), 250, whims), Aim(target=0.88, delta=0.05, seed=world))
        for world in range(NUM_WORLDS)
    ]
    violated = sum(agrees < bound - 1e-12 for agrees, bound in pairs)
    assert violated <= 0.05 * len(pairs) + 3 * np.sqrt(0.05 * 0.95 * len(pairs))
    assert all(bound >= 0.88 - 1e-9 for _, bound in pairs)


@pytest.mark.parametrize("make", [without_information, one_image_a_label, nearly_equal_classes, drifting])
def test_adversarial_worlds_are_certified_or_asked(make: Callable[[np.random.Generator, int], World]) -> None:
    for seed in range(3):
        agrees, bound = agreement(make(np.random.default_rng(seed), 300), Aim(target=0.95, delta=0.05, seed=seed))
        assert bound >= 0.95 - 1e-9
        assert agrees >= bound - 1e-12


def test_of_what_tells_nothing_no_more_is_inferred_than_may_be_wrong() -> None:
    for target, most in ((0.9, 20), (0.999, 0)):
        aim = Aim(target=target, delta=0.05, seed=1)
        inferred, _ = infer_world(without_information(np.random.default_rng(5), 200), aim)
        assert (~inferred.was_asked).sum() <= most
        assert inferred.certificate.bound >= target
    assert inferred.certificate.bound == 1.0


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 1000))
def test_the_order_of_inputs_changes_nothing(seed: int) -> None:
    world = draw_world(np.random.default_rng(seed), 200, 0.05)
    order = np.random.default_rng(seed + 1).permutation(200)
    shuffled = [world[0][place] for place in order], world[1][order]
    first, second = (infer_world(one, AIM)[0] for one in (world, shuffled))
    assert first.certificate == second.certificate
    assert (first.answers == second.answers).all()
    assert first.probabilities.tobytes() == second.probabilities.tobytes()


def test_rounds_hang_on_answers_and_seed_alone() -> None:
    world = draw_world(np.random.default_rng(7), 300, 0.05)
    inputs = read_inputs(world[0])
    answers = answers_of(inputs, world)
    rounds = [answer_all(inputs, answers, Aim(target=0.9, delta=0.05, seed=seed))[1] for seed in (1, 1, 2)]
    assert rounds[0] == rounds[1] != rounds[2]
    asked = [key for one in rounds[0] for key in one]
    assert len(set(asked)) == len(asked)


def test_equal_inputs_are_one_question() -> None:
    questions, answers = draw_world(np.random.default_rng(2), 60, 0.0)
    often = [one for one in questions for _ in range(30)]
    inferred, _ = infer_world((often, np.repeat(answers, 30)), AIM)
    assert inferred.certificate.images == 1800
    assert inferred.certificate.calls <= 60
    assert len(inferred.answers) == 60


def test_images_without_an_answer_count_as_asked_and_speak_against_a_classifier() -> None:
    questions, answers = draw_world(np.random.default_rng(3), 300, 0.0)
    silent = np.random.default_rng(4).random(300) < 0.3
    inferred, given_ = infer_world((questions, np.where(silent, -1, answers)), AIM)
    assert inferred.was_asked[given_ < 0].all() or (inferred.answers[~inferred.was_asked] >= 0).all()
    wrong = (inferred.answers != given_).mean()
    assert wrong <= 1 - inferred.certificate.bound


def test_nothing_and_next_to_nothing() -> None:
    for size in (0, 1, 2, 5):
        inferred, answers = infer_world(draw_world(np.random.default_rng(0), size, 0.0), AIM)
        assert inferred.was_asked.all()
        assert (inferred.answers == answers).all()
        assert inferred.certificate.bound == 1.0


def test_probabilities_tell_how_often_guesses_are_right() -> None:
    expected, right = 0.0, 0.0
    for seed in range(6):
        inferred, answers = infer_world(
            draw_world(np.random.default_rng(seed), 600, 0.06), Aim(target=0.8, delta=0.2, seed=seed)
        )
        rest = ~inferred.was_asked
        expected += inferred.probabilities[rest].sum()
        right += (inferred.answers == answers)[rest].sum()
    assert expected == pytest.approx(right, rel=0.1)


def test_words_are_data() -> None:
    odd = ["", "\x00", "=1+1", "日本語", "a" * 10_000, "\u2028", "<b>"]
    questions = [Question(key_of(number), label=odd[number % 7], text=odd[-1 - number % 7]) for number in range(70)]
    inferred, answers = infer_world((questions, np.arange(70) % 7 % 2), AIM)
    assert (inferred.answers == answers).mean() >= inferred.certificate.bound
