"""Tells whether those who wait for images wait for a disk or for decoding, each in proportion to its time."""

from __future__ import annotations

from dataclasses import dataclass, field

from ictc.records import Wait


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """Seconds that workers have had images, and how many of these they have read."""

    total_s: float = 0.0
    reading_s: float = 0.0

    def __add__(self, other: Spent) -> Spent:
        return Spent(total_s=self.total_s + other.total_s, reading_s=self.reading_s + other.reading_s)


@dataclass
class Turns:
    """Gives reading and decoding turns, so that the time of either's turns is what workers have spent on it."""

    spent: Spent = field(default_factory=Spent)
    owed_to_reading_s: float = 0.0
    turn: Wait = Wait.DECODING

    def next(self, spent: Spent) -> Wait:
        """Return whose turn it is, after what workers have spent so far."""
        self.owed_to_reading_s += spent.reading_s - self.spent.reading_s
        if self.turn is Wait.DISK:
            self.owed_to_reading_s -= spent.total_s - self.spent.total_s
        self.spent = spent
        self.turn = Wait.DISK if self.owed_to_reading_s > 0 else Wait.DECODING
        return self.turn
