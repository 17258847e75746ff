"""What the inputs that were not asked about would be answered, by their words, with a calibrated probability."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from warnings import catch_warnings, simplefilter

import numpy as np
import numpy.typing as npt

from ictc.inference.inputs import Floats, Integers

MOST_WEIGHTS = 2**21
"""Weights that are fitted together: L-BFGS keeps twenty-odd copies of them, 0.4 GB."""

ROWS_AT_A_TIME = 50_000
PENALTY = 0.05
"""Of squared weights, against the sum of losses: little, as rows are of unit length and answers have little noise."""

LEAST_PROBABILITY = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Guesses:
    """The likeliest answer of each input, and its probability, both of shape (N,)."""

    answers: Integers
    probabilities: Floats


def guess(features: Any, asked: Integers, answers: Integers) -> Guesses:
    """Return what a linear classifier makes of the answers to some inputs.

    A multinomial logistic regression; with so many words and clusters that its weights don't fit into memory, naive
    Bayes, whose weights are counts.

    Args:
        features: of all inputs, shape (N, D), sparse.
        asked: the rows that were answered, n ≥ 1.
        answers: shape (n,).
    """
    from threadpoolctl import threadpool_limits

    known = np.unique(answers)
    num_rows = features.shape[0]
    if len(known) == 1:
        share = len(asked) / (len(asked) + 1)
        return Guesses(answers=np.full(num_rows, known[0]), probabilities=np.full(num_rows, share))
    examples = features[asked]
    columns = np.unique(examples.indices)
    with threadpool_limits(limits=1):  # sums in one order
        model = _fit(examples[:, columns], answers, num_weights=len(columns) * len(known))
        return _predict(model, features, columns)


def _fit(examples: Any, answers: Integers, *, num_weights: int) -> Any:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.naive_bayes import MultinomialNB

    if num_weights > MOST_WEIGHTS:
        return MultinomialNB(alpha=PENALTY).fit(examples, answers)
    with catch_warnings():
        simplefilter("ignore", ConvergenceWarning)  # what is nearly there will do
        return LogisticRegression(C=1 / PENALTY, tol=1e-3, max_iter=300).fit(examples, answers)


def _predict(model: Any, features: Any, columns: Integers) -> Guesses:
    num_rows = features.shape[0]
    answers = np.empty(num_rows, np.int64)
    probabilities = np.empty(num_rows)
    for start in range(0, num_rows, ROWS_AT_A_TIME):
        rows = slice(start, min(start + ROWS_AT_A_TIME, num_rows))
        of_each = model.predict_proba(features[rows][:, columns])
        best = of_each.argmax(axis=1)
        answers[rows] = model.classes_[best]
        probabilities[rows] = of_each[np.arange(len(best)), best]
    return Guesses(answers=answers, probabilities=probabilities)


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """From what a classifier says to how often it is right: a logistic curve over log-odds.

    Platt (1999), Probabilistic outputs for support vector machines.
    """

    shift: float = 0.0
    slope: float = 1.0

    def apply(self, probabilities: Floats) -> Floats:
        """Return calibrated probabilities, in the same order."""
        from scipy.special import expit

        calibrated: Floats = expit(self.shift + self.slope * log_odds(probabilities))
        return calibrated


def log_odds(probabilities: npt.ArrayLike) -> Floats:
    """Return the log-odds of probabilities, which are kept off 0 and 1."""
    from scipy.special import logit

    odds: Floats = logit(np.clip(probabilities, LEAST_PROBABILITY, 1 - LEAST_PROBABILITY))
    return odds


def calibrate(said: Sequence[float], was_right: Sequence[bool]) -> Calibration:
    """Return the curve that fits what was said of inputs before they were asked about.

    Normal priors around what changes nothing (standard deviations 2 and 1/2) bear where there is little to go by.
    """
    from scipy.optimize import minimize

    if not len(said):
        return Calibration()
    odds, right = log_odds(said), np.asarray(was_right, np.float64)

    def loss(curve: Floats) -> tuple[float, Floats]:
        shift, slope = curve
        score = shift + slope * odds
        misfit = 1 / (1 + np.exp(-np.clip(score, -500, 500))) - right
        value = np.logaddexp(0, score) - right * score
        penalty = shift**2 / 8 + (slope - 1) ** 2 * 2
        slant = np.array([misfit.sum() + shift / 4, (misfit * odds).sum() + (slope - 1) * 4])
        return float(value.sum() + penalty), slant

    found = minimize(loss, np.array([0.0, 1.0]), jac=True, method="L-BFGS-B", bounds=[(-10, 10), (0.05, 5)])
    return Calibration(shift=float(found.x[0]), slope=float(found.x[1]))
