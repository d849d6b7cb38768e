"""Rounds in which everybody has a turn, until the ratios stand still."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.cases import Case, Topic
from benchmarks.competitors import Competitor
from benchmarks.results import ENOUGH, Measured, Results, Series
from benchmarks.worker import Player, Refused
from benchmarks.world import World

WARM_UP = 1


@dataclass(frozen=True)
class Effort:
    """How much is measured.

    Attributes
    ----------
    sizes : tuple of int
        Keys of a mapping.
    seconds : float
        Of one competitor's turn.
    rounds : int
        At most.
    tolerance : float
        Rounds end when every ratio is known as well as that.
    budget : float
        Seconds for one competitor in one case; it rests after that.
    """

    sizes: tuple[int, ...] = (10, 100, 1_000, 10_000, 100_000)
    seconds: float = 0.04
    rounds: int = 31
    tolerance: float = 0.05
    budget: float = 5.0


QUICK = Effort(sizes=(10, 100, 1_000), seconds=0.015, rounds=15, tolerance=0.1, budget=1.5)


def measure(
    topic: Topic,
    cases: list[Case],
    competitors: list[Competitor],
    effort: Effort,
    data: Path | None,
    tell: Callable[[str], None],
) -> Results:
    """Measure the cases of a topic; what somebody cannot do is noted."""
    results = Results()
    competitors = [c for c in competitors if any(case.who(c) for case in cases)]
    players: dict[str, Player] = {}
    with World(data) as world:
        if topic.foreign:
            world.fill(competitors, topic.foreign)
        for case in sorted(cases, key=lambda case: case.keys):
            tell(f"{topic.name}: {case.name}, {case.keys:,} keys")
            for competitor in competitors.copy():
                player = players.get(competitor.name)
                if player is None or player.gone:
                    try:
                        players[competitor.name] = world.player(competitor)
                    except Refused as error:
                        tell(f"{competitor.name} does not take part: {error}")
                        competitors.remove(competitor)
                        players.pop(competitor.name, None)
            taking_part = [player for player in players.values() if case.who(player.competitor)]
            results.append(_measure(topic, case, taking_part, effort))
    return results


def _measure(topic: Topic, case: Case, players: list[Player], effort: Effort) -> Measured:
    measured = Measured(topic.name, case.name, case.keys, case.unit)
    left: dict[Player, float] = {}
    for player in players:
        series = measured.series[player.competitor.name] = Series(case.floor(player.competitor))
        try:
            player.begin(case.work, case.keys)
        except Refused as error:
            series.error = str(error)
        else:
            left[player] = effort.budget
    for number in range(-WARM_UP, effort.rounds):
        playing = [player for player in players if left.get(player, 0) > 0]
        turn = number % len(playing) if playing else 0
        for player in playing[turn:] + playing[:turn]:
            series = measured.series[player.competitor.name]
            began = time.monotonic()
            try:
                took = player.round(effort.seconds)
            except Refused as error:
                series.error = str(error)
                left[player] = 0
                continue
            spent = time.monotonic() - began
            left[player] -= spent
            if number >= 0 or spent > effort.budget / 2:  # one that slow need not warm up
                series.add(number, took)
        if not playing or (number >= ENOUGH - 1 and _still(measured, effort.tolerance)):
            break
    for player in players:
        if player in left:
            player.end()
    measured.series = {
        name: series for name, series in measured.series.items() if series.rounds or series.error
    }
    return measured


def _still(measured: Measured, tolerance: float) -> bool:
    ratios = [measured.ratio(name) for name in measured.series]
    return all(ratio is None or ratio.spread <= tolerance for ratio in ratios)
