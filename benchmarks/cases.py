"""What there is to be measured: cases, in topics."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.competitors import Competitor
from benchmarks.works import Work


def everybody(competitor: Competitor) -> bool:
    """Let all take part."""
    return True


@dataclass(frozen=True)
class Case:
    """What is measured, with how many keys, who takes part, and whether the store is asked."""

    name: str
    work: Work
    keys: int = 10
    who: Callable[[Competitor], bool] = everybody
    unit: str = "us"
    writes: bool = False

    def floor(self, competitor: Competitor) -> str:
        """Return the competitor whose time is 1: of a local read, that is a dict."""
        return "dict" if competitor.replica and not self.writes else competitor.floor


@dataclass(frozen=True)
class Topic:
    """Cases that share servers.

    Attributes
    ----------
    name, title : str
        For the command line, and for people.
    about : str
        How to read it.
    cases : callable
        Returns the cases for some sizes.
    foreign : int
        Keys that are nobody's, which are in each store.
    """

    name: str
    title: str
    about: str
    cases: Callable[[tuple[int, ...]], list[Case]]
    foreign: int = 0
