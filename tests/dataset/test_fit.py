"""The size that an image gets: whole tokens, inside the budget, with its aspect ratio."""

from __future__ import annotations

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from ictc.dataset.decoding.fit import MAX_ASPECT_RATIO, MAX_STRETCH, MIN_IMAGE_TOKENS, fit_to_tokens

SIDES = st.integers(1, 5000) | st.integers(1, 30) | st.integers(1, 100_000)
BUDGETS = st.integers(64, 80) | st.integers(64, 16384)


@given(SIDES, SIDES, BUDGETS)
@example(1, 1, 64)
@example(100_000, 1, 64)
@example(6400, 32, 1280)
@example(6432, 32, 16384)
@example(199 * 32, 32, 199)
def test_canvas_is_inside_every_limit(width: int, height: int, max_image_tokens: int) -> None:
    fit = fit_to_tokens(width, height, max_image_tokens=max_image_tokens)
    assert fit.width % 32 == fit.height % 32 == 0
    assert MIN_IMAGE_TOKENS <= (fit.width // 32) * (fit.height // 32) <= max_image_tokens
    assert max(fit.width, fit.height) < MAX_ASPECT_RATIO * min(fit.width, fit.height)
    assert 1 <= fit.content_width <= fit.width
    assert 1 <= fit.content_height <= fit.height


@given(SIDES, SIDES, BUDGETS)
def test_aspect_ratio_is_kept_and_padding_fills_one_side_only(width: int, height: int, max_image_tokens: int) -> None:
    fit = fit_to_tokens(width, height, max_image_tokens=max_image_tokens)
    assert fit.content_width == fit.width or fit.content_height == fit.height
    if fit.is_padded:
        # Each side of the content is rounded to whole pixels, at least one.
        error = fit.content_width * height - fit.content_height * width
        assert abs(error) <= max(width, height) or 1 in (fit.content_width, fit.content_height)
    else:
        stretch = (fit.width * height) / (fit.height * width)
        assert 1 / MAX_STRETCH <= stretch * 1.000001 <= MAX_STRETCH * 1.000002


@given(SIDES, SIDES, BUDGETS)
def test_turning_the_image_turns_the_canvas(width: int, height: int, max_image_tokens: int) -> None:
    assume(width != height)
    fit = fit_to_tokens(width, height, max_image_tokens=max_image_tokens)
    turned = fit_to_tokens(height, width, max_image_tokens=max_image_tokens)
    assert (fit.width, fit.height) == (turned.height, turned.width)
    assert (fit.content_width, fit.content_height) == (turned.content_height, turned.content_width)


@pytest.mark.parametrize(
    ("size", "max_image_tokens", "canvas"),
    [
        ((512, 512), 1280, (512, 512)),  # fits as it is
        ((500, 525), 1280, (512, 512)),  # rounded to whole tokens
        ((10, 10), 1280, (256, 256)),  # enlarged to the least
        ((1080, 1920), 1280, (864, 1504)),  # reduced to the budget
        ((4000, 3000), 16384, (4000, 3008)),
    ],
)
def test_common_sizes(size: tuple[int, int], max_image_tokens: int, canvas: tuple[int, int]) -> None:
    fit = fit_to_tokens(*size, max_image_tokens=max_image_tokens)
    assert (fit.width, fit.height) == canvas
    assert not fit.is_padded


def test_strip_beyond_the_aspect_limit_is_padded_not_stretched() -> None:
    fit = fit_to_tokens(5000, 5, max_image_tokens=1280)
    assert fit.is_padded
    assert fit.content_width == fit.width
    assert fit.content_height == pytest.approx(fit.width / 1000, abs=1)
