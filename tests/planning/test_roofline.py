"""The roofline gives the platform notes' numbers, and behaves as a limit must."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ictc.engines.shapes import KNOWN_SHAPES
from ictc.planning.gpus import GPUS
from ictc.planning.roofline import Machine, Request, answer_tokens_per_s, duration, request_flop

TEXT_TOKENS, ANSWER_TOKENS = 150, 130
"""What the notes' table rests on, which they do not say; it follows from their 27B line."""

requests = st.builds(
    Request,
    image_tokens=st.floats(0, 16384),
    text_tokens=st.floats(1, 4000),
    answer_tokens=st.floats(1, 1000),
    sharing=st.integers(1, 3),
)
machines = st.builds(
    Machine,
    flops=st.floats(1e13, 1e16),
    bandwidth=st.floats(1e11, 1e13),
    sequences=st.integers(1, 512),
    num_engines=st.integers(1, 8),
)


@pytest.mark.parametrize(
    ("billions", "image_tokens", "tflop", "a100", "h100"),
    [
        (9, 512, 13.4, (23, 10.5), (74, 33)),
        (9, 1024, 23.9, (13, 5.9), (41, 19)),
        (27, 1024, 69.3, (4.5, 2.0), (14, 6.4)),
    ],
)
def test_captions_cost_what_the_platform_notes_say(
    billions: float, image_tokens: int, tflop: float, a100: tuple[float, float], h100: tuple[float, float]
) -> None:
    request = Request(image_tokens=image_tokens, text_tokens=TEXT_TOKENS, answer_tokens=ANSWER_TOKENS)
    flop = request_flop(KNOWN_SHAPES[billions], request)
    assert flop / 1e12 == pytest.approx(tflop, rel=0.01)
    for name, (at_peak, realistic) in (("a100-40", a100), ("h100", h100), ("h200", h100)):
        peak = GPUS[name].tflops * 1e12
        assert peak / flop == pytest.approx(at_peak, rel=0.025)
        assert 0.45 * peak / flop == pytest.approx(realistic, rel=0.025)


def test_answers_are_read_as_the_platform_notes_say() -> None:
    """b·BW / (W + b·(2·S + context·kv)), for 9B: W 15.9 GB, S 51.5 MB, kv 32 KiB."""
    machine = Machine(flops=989e12, bandwidth=3350e9, sequences=256)
    request = Request(image_tokens=1024, text_tokens=150, answer_tokens=130)
    expected = 256 * 3350e9 / (15.9e9 + 256 * (2 * 51.5e6 + (1024 + 150 + 65) * 32 * 1024))
    assert answer_tokens_per_s(KNOWN_SHAPES[9.0], request, machine) == pytest.approx(expected, rel=0.01)


@given(requests, machines, st.floats(0.1, 1))
def test_more_work_never_takes_less_time(request: Request, machine: Machine, share: float) -> None:
    shape = KNOWN_SHAPES[9.0]
    seconds = duration(shape, request, 100, machine).seconds(share)
    for more in (
        replace(request, image_tokens=request.image_tokens + 64),
        replace(request, text_tokens=request.text_tokens + 64),
        replace(request, answer_tokens=request.answer_tokens + 64),
    ):
        assert duration(shape, more, 100, machine).seconds(share) >= seconds
    assert duration(shape, request, 200, machine).seconds(share) == pytest.approx(2 * seconds)


@given(requests, machines)
def test_a_faster_gpu_and_a_shared_image_never_cost_time(request: Request, machine: Machine) -> None:
    shape = KNOWN_SHAPES[27.0]
    limits = duration(shape, request, 100, machine)
    faster = duration(shape, request, 100, replace(machine, flops=2 * machine.flops, bandwidth=2 * machine.bandwidth))
    assert faster.seconds() == pytest.approx(limits.seconds() / 2)
    shared = duration(shape, replace(request, sharing=request.sharing + 1), 100, machine)
    assert shared.seconds() <= limits.seconds()
