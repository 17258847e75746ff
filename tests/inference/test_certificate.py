"""The bound from an audit: right with the probability that it states, and as tight as the exact test it comes from."""

from __future__ import annotations

import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import hypergeom

from ictc.inference.certificate import Audit, Prior

NUM_WORLDS = int(os.environ.get("ICTC_WORLDS", "1000"))


def audit_until_it_passes(rng: np.random.Generator, *, total: int, wrong: int, allowed: int, delta: float) -> Audit:
    """Look after every few images until the audit passes or all are drawn."""
    is_wrong = rng.permutation(total) < wrong
    audit = Audit(total=total, allowed=allowed, delta=delta, prior=Prior.expecting(allowed / total / 8))
    while audit.count_draws() > audit.drawn:
        looked_at = is_wrong[audit.drawn : min(audit.count_draws(), audit.next_look())]
        audit.note(drawn=len(looked_at), wrong=int(looked_at.sum()))
    return audit


@pytest.mark.parametrize("delta", [0.05, 0.2])
@pytest.mark.parametrize(("total", "allowed"), [(300, 15), (2000, 20)])
def test_one_image_too_many_passes_no_more_often_than_delta(total: int, allowed: int, delta: float) -> None:
    """The hardest case: as few wrong ones as must not pass, and a look whenever it may pass."""
    rng = np.random.default_rng(total)
    worlds = NUM_WORLDS // 4
    missed = 0
    for _ in range(worlds):
        wrong = int(rng.integers(allowed + 1, 3 * allowed))
        audit = audit_until_it_passes(rng, total=total, wrong=wrong, allowed=allowed, delta=delta)
        missed += wrong - audit.found > audit.bound_left()
    assert missed <= delta * worlds + 3 * np.sqrt(delta * (1 - delta) * worlds)


def test_the_coverage_test_can_fail() -> None:
    """A bound with four times the delta is violated more often than the smaller one allows."""
    rng = np.random.default_rng(0)
    passed = 0
    for _ in range(200):
        audit = audit_until_it_passes(rng, total=300, wrong=16, allowed=15, delta=0.6)
        passed += 16 - audit.found > audit.bound_left()
    assert passed > 0.05 * 200 + 3 * np.sqrt(0.05 * 0.95 * 200)


@settings(max_examples=50)
@given(st.integers(20, 400), st.data())
def test_bounds_are_sound_and_fall_as_clean_images_are_drawn(total: int, data: st.DataObject) -> None:
    found = data.draw(st.integers(0, total // 4))
    drawn = data.draw(st.integers(found, total))
    audit = Audit(total=total, allowed=0, delta=0.05, prior=Prior.expecting(0.01), drawn=drawn, found=found)
    left = audit.bound_left()
    assert 0 <= left <= total - drawn
    if drawn < total:
        audit.note(drawn=1, wrong=0)
        assert audit.bound_left() <= left
    assert audit.drawn <= audit.count_draws() <= total


def test_clean_samples_are_little_larger_than_the_exact_test_needs() -> None:
    """Without looking twice, hypergeometric tails would do: what looking costs is a tenth or so."""
    total, allowed, delta = 8000, 80, 0.05
    exact = next(n for n in range(total) if hypergeom(total, allowed + 1, n).pmf(0) <= delta)
    audit = Audit(total=total, allowed=allowed, delta=delta, prior=Prior.expecting(allowed / total / 8))
    assert exact <= audit.count_draws(0.0) <= 1.15 * exact
