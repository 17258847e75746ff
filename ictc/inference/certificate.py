"""How many rows may be wrong at most, from a sample of them that was asked without replacement.

A sample of n among R images, in an order that is drawn uniformly, shows e that are wrong. The bound is the
prior-posterior-ratio confidence sequence of Waudby-Smith and Ramdas (2020), Confidence sequences for sampling without
replacement, section 2.2: under M wrong images, the probability that a beta prior gives the sample, divided by that
which M gives it, is a martingale that begins at 1. By Ville's inequality it ever reaches 1/delta with a probability of
at most delta. So the M at which it has not yet reached that include the true one at all times with a probability of at
least 1 - delta: one may look after every image, and stop when one likes.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, lgamma, log


@dataclass(frozen=True, slots=True, kw_only=True)
class Prior:
    """What was thought of the share of wrong images before the first was asked; it makes bounds tight, not valid.

    Attributes:
        wrong, right: the parameters of a beta distribution.
    """

    wrong: float
    right: float

    @classmethod
    def expecting(cls, share: float) -> Prior:
        """Return a wide prior with this mean, in [0, 1]."""
        share = min(max(share, MIN_EXPECTED), 1 - MIN_EXPECTED)
        return cls(wrong=PRIOR_WRONG, right=PRIOR_WRONG * (1 - share) / share)


MIN_EXPECTED = 1e-4
LEAST_AT_A_TIME = 8
PRIOR_WRONG = 0.5
"""As in Jeffreys' prior: the mean is not taken for certain, at the cost of a few images."""


def log_evidence(*, wrong: float, drawn: float, total: int, found: float, prior: Prior) -> float:
    """Return the logarithm of the martingale against `wrong` of `total` images, after `found` of `drawn`.

    Counts may be fractions, as expectations are.
    """
    right = total - wrong
    if found > wrong or drawn - found > right:
        return inf
    return _log_beta_ratio(prior, drawn=drawn, found=found) - (
        _log_falling(wrong, factors=found)
        + _log_falling(right, factors=drawn - found)
        - _log_falling(total, factors=drawn)
    )


@dataclass(slots=True, kw_only=True)
class Audit:
    """A sample under way.

    Attributes:
        total: images it is drawn from.
        allowed: wrong ones that may be left, those that were found not among them: their row is put right.
        delta: probability with which there may be more.
        prior: set before the first is drawn.
        drawn, found: images so far, and those of them that were wrong.

    >>> audit = Audit(total=1000, allowed=10, delta=0.05, prior=Prior.expecting(0.001))
    >>> audit.bound_left(), audit.count_draws()
    (1000, 332)
    >>> audit.note(drawn=332, wrong=0)
    >>> audit.bound_left(), audit.count_draws()
    (8, 332)
    """

    total: int
    allowed: int
    delta: float
    prior: Prior
    drawn: int = 0
    found: int = 0

    def note(self, *, drawn: int, wrong: int) -> None:
        """Note what the next images of the sample showed."""
        self.drawn += drawn
        self.found += wrong

    @property
    def expected(self) -> float:
        """The share of wrong ones that is to be expected by now among those not drawn, in [0, 1]."""
        return (self.prior.wrong + self.found) / (self.prior.wrong + self.prior.right + self.drawn)

    def bound_left(self) -> int:
        """Return the most wrong images, besides those that were found, that the sample does not exclude."""
        low = self.found * self.total // self.drawn if self.drawn else self.total
        high = self.total - (self.drawn - self.found)
        low = min(max(low, self.found), high)
        while low < high:  # the evidence grows from the likeliest number on
            middle = (low + high + 1) // 2
            if self._excludes(middle, drawn=self.drawn, found=self.found):
                high = middle - 1
            else:
                low = middle
        return low - self.found

    def count_draws(self, expected: float | None = None) -> int:
        """Return how many images there are to draw in all, if of those to come the expected share is wrong.

        Args:
            expected: another share than what is expected by now, in [0, 1].
        """
        share = self.expected if expected is None else expected
        low, high = self.drawn, self.total
        while low < high:
            middle = (low + high) // 2
            found = self.found + share * (middle - self.drawn)
            least = self.allowed + found + 1
            if found * self.total <= least * middle and self._excludes(least, drawn=middle, found=found):
                high = middle
            else:
                low = middle + 1
        return low

    def next_look(self) -> int:
        """Return how many to have drawn when looking next: enough if none is wrong, but not many times more than now.

        Of a first sample half, so that a classifier that is no good is found out early.
        """
        clean = self.count_draws(0.0)
        return max(self.drawn + LEAST_AT_A_TIME, min(clean, 2 * self.drawn or (clean + 1) // 2))

    def _excludes(self, wrong: float, *, drawn: float, found: float) -> bool:
        evidence = log_evidence(wrong=wrong, drawn=drawn, total=self.total, found=found, prior=self.prior)
        return evidence >= log(1 / self.delta)


def _log_falling(number: float, *, factors: float) -> float:
    """Return log(n (n - 1) … (n - k + 1))."""
    return lgamma(number + 1) - lgamma(number - factors + 1)


def _log_beta_ratio(prior: Prior, *, drawn: float, found: float) -> float:
    after = Prior(wrong=prior.wrong + found, right=prior.right + drawn - found)
    return _log_beta(after) - _log_beta(prior)


def _log_beta(prior: Prior) -> float:
    return lgamma(prior.wrong) + lgamma(prior.right) - lgamma(prior.wrong + prior.right)
