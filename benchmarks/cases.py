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
    """What is measured.

    Attributes
    ----------
    name : str
        As in the tables.
    work : Work
        What is done.
    keys : int
        That the mapping holds.
    who : callable
        Who takes part.
    unit : str
        In the tables; one of `benchmarks.report.UNITS`.
    writes : bool
        Whether a replica asks the store too.
    over : str
        The competitor whose time is 1, if it is not each one's own floor.
    """

    name: str
    work: Work
    keys: int = 10
    who: Callable[[Competitor], bool] = everybody
    unit: str = "us"
    writes: bool = False
    over: str = ""

    def floor(self, competitor: Competitor) -> str:
        """Return the competitor whose time is 1: of a local read, that is a dict."""
        local = competitor.replica and not self.writes
        return self.over or ("dict" if local else competitor.floor)


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
