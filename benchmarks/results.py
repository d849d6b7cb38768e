"""What was measured, and what may be concluded from it."""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass, field
from typing import NamedTuple

ENOUGH = 5
"""Rounds from which on an interval means something."""


class Estimate(NamedTuple):
    """A median, and an interval that holds the true one with 95 % probability."""

    value: float
    low: float
    high: float

    @property
    def spread(self) -> float:
        """Half of the interval, relative to the value."""
        return (self.high - self.low) / 2 / self.value if self.value else 0.0


def estimate(values: list[float]) -> Estimate | None:
    """Return the median and its interval, which depends on the order of `values` alone."""
    if not values:
        return None
    ordered = sorted(values)
    reach = 1.96 * math.sqrt(len(ordered)) / 2
    low = max(0, math.floor(len(ordered) / 2 - reach))
    high = min(len(ordered) - 1, math.ceil(len(ordered) / 2 + reach))
    return Estimate(statistics.median(ordered), ordered[low], ordered[high])


@dataclass
class Series:
    """The times of one competitor in one case.

    Attributes
    ----------
    floor : str
        The competitor that it is compared with.
    rounds : dict of int to float
        The median of each round it took part in.
    single : list of float
        Every call.
    error : str
        What ended it.
    """

    floor: str = ""
    rounds: dict[int, float] = field(default_factory=dict)
    single: list[float] = field(default_factory=list)
    error: str = ""

    def add(self, number: int, took: list[float]) -> None:
        """Take a round."""
        self.rounds[number] = statistics.median(took)
        self.single += took

    @property
    def median(self) -> float:
        """The median of the rounds; nan without one."""
        return statistics.median(self.rounds.values()) if self.rounds else math.nan

    @property
    def p99(self) -> float:
        """The 99th percentile of all calls; nan where there are too few."""
        if len(self.single) < 50:
            return math.nan
        return sorted(self.single)[int(len(self.single) * 0.99)]

    def over(self, other: Series) -> Estimate | None:
        """Return the ratio to another in the rounds that both took part in."""
        shared = self.rounds.keys() & other.rounds.keys()
        return estimate([self.rounds[n] / other.rounds[n] for n in shared if other.rounds[n]])


@dataclass
class Measured:
    """One case, and everybody's times."""

    topic: str
    name: str
    keys: int
    unit: str
    series: dict[str, Series] = field(default_factory=dict)

    def ratio(self, name: str) -> Estimate | None:
        """Return how many times the floor's time somebody takes."""
        series = self.series[name]
        floor = self.series.get(series.floor)
        return None if floor is None or floor is series else series.over(floor)

    def as_json(self) -> dict[str, object]:
        """Return all but the single calls."""
        return {
            "topic": self.topic,
            "case": self.name,
            "keys": self.keys,
            "unit": self.unit,
            "competitors": {
                name: {
                    "median": _number(series.median),
                    "p99": _number(series.p99),
                    "floor": series.floor,
                    "ratio": self.ratio(name),
                    "rounds": list(series.rounds.values()),
                    "calls": len(series.single),
                    "error": series.error,
                }
                for name, series in self.series.items()
            },
        }


def _number(value: float) -> float | None:
    return None if math.isnan(value) else value


class Results(list[Measured]):
    """Everything, in the order in which it was measured."""

    def find(self, topic: str, name: str, keys: int) -> Measured | None:
        """Return a case, or None if it was not measured."""
        for measured in self:
            if (measured.topic, measured.name, measured.keys) == (topic, name, keys):
                return measured
        return None
