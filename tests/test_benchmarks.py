"""The harness of the benchmarks: that it measures, compares and tells. No figure is asserted."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from benchmarks.__main__ import main
from benchmarks.competitors import COMPETITORS
from benchmarks.measuring import Effort
from benchmarks.report import markdown
from benchmarks.results import Estimate, Measured, Results, Series, estimate
from benchmarks.targets import TARGETS, Target
from benchmarks.topics import TOPICS

pytestmark = pytest.mark.beamline  # bluesky is one of those who are measured

LOCAL = "dict, sqlite3, kv_dict memory, kv_dict sqlite"


def run(output: Path, *arguments: str) -> Results:
    return main(["--quick", f"--output={output}", *arguments])


def test_a_small_selection_is_measured_told_and_saved(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results = run(
        tmp_path,
        f"--competitors={LOCAL}",
        "--sizes=10,100",
        "--rounds=2",
        "--only=dict: md[key] = v",
        "--only=dict: len(md)",
    )
    told = capsys.readouterr().out
    measured = results.find("dict", "md[key] = v", 100)
    assert measured is not None
    assert sorted(measured.series) == sorted(LOCAL.split(", "))
    assert {len(series.rounds) for series in measured.series.values()} == {2}
    assert measured.ratio("kv_dict sqlite") == measured.series["kv_dict sqlite"].over(
        measured.series["sqlite3"]
    )
    counted = results.find("dict", "len(md)", 10)
    assert counted is not None
    assert "sqlite3" not in counted.series  # a driver has no len
    assert told.strip() == (tmp_path / "results.md").read_text().strip()
    assert "| kv_dict sqlite | none up to 100 |" in told or "| kv_dict sqlite | 100 (" in told
    saved = json.loads((tmp_path / "results.json").read_text())
    assert [one["case"] for one in saved["results"]] == [one.name for one in results]
    assert (tmp_path / "growth.png").read_bytes().startswith(b"\x89PNG")


def test_peers_take_turns_on_one_server(tmp_path: Path) -> None:
    names = ["redis-json-dict", "redis-py", "kv_dict redis", "kv_dict redis replica"]
    (measured,) = run(
        tmp_path,
        f"--competitors={','.join(names)}",
        "--sizes=100",
        "--rounds=1",
        "--only=sharing: md[key], 4 threads",
    )
    assert list(measured.series) == names
    assert not any(series.error for series in measured.series.values())


def test_what_a_competitor_cannot_do_is_told(tmp_path: Path) -> None:
    (measured,) = run(
        tmp_path, "--competitors=redis-json-dict", "--rounds=1", "--only=sharing: increment"
    )
    series = measured.series["redis-json-dict"]
    assert not series.rounds
    assert series.error.startswith("loses increments: ")
    assert series.error in (tmp_path / "results.md").read_text()


def test_a_median_and_its_interval() -> None:
    assert estimate([]) is None
    assert estimate([3.0]) == (3.0, 3.0, 3.0)
    many = estimate([float(n) for n in range(101)])
    assert many is not None
    assert many.value == 50
    assert 35 < many.low < 45 < 55 < many.high < 65
    assert many.spread == (many.high - many.low) / 100


@pytest.mark.parametrize(
    ("at_least", "found", "said"),
    [
        (False, Estimate(1.0, 0.9, 1.1), "met, by 2 x"),
        (False, Estimate(1.0, 0.9, 2.1), "met, by 2 x, in the noise"),
        (False, Estimate(4.0, 3.0, 5.0), "**not met**, by 2 x"),
        (True, Estimate(4.0, 1.0, 5.0), "met, by 2 x, in the noise"),
        (True, Estimate(1.0, 0.9, 1.1), "**not met**, by 2 x"),
    ],
)
def test_verdicts(at_least: bool, found: Estimate, said: str) -> None:
    target = Target("1", "reads", lambda results: found, 2.0, at_least)
    assert target.verdict(found) == said


def test_ratios_are_of_the_same_round() -> None:
    one, other = Series(), Series()
    for number, (left, right) in enumerate([(2.0, 1.0), (40.0, 20.0), (6.0, 3.0)]):
        one.add(number, [left])
        other.add(number, [right])
    one.add(3, [1000.0])  # the other rested
    assert one.over(other) == (2.0, 2.0, 2.0)


def test_each_target_is_of_something_that_is_measured() -> None:
    results = Results()
    for topic in TOPICS:
        for case in topic.cases(Effort().sizes):
            series = {
                name: Series(case.floor(competitor), {0: 1.0})
                for name, competitor in COMPETITORS.items()
                if case.who(competitor)
            }
            results.append(Measured(topic.name, case.name, case.keys, case.unit, series))
    assert [target.text for target in TARGETS if target.row(results) is None] == []
    text = markdown(results, Effort())
    for topic in TOPICS:
        assert topic.title in text


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--competitors", "dict,etcd"], "no competitor: etcd; there are dict, "),
        (["--sizes", "10,many"], "--sizes must be numbers with commas, not '10,many'"),
        (["--sizes", "1"], "--sizes must be 10 or more"),
        (["--rounds", "0"], "--rounds must be 1 or more, not 0"),
        (["--only", "tea"], "no case has 'tea' in its name"),
    ],
)
def test_mistakes(
    arguments: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        main([*arguments, "--output", str(tmp_path / "none")])
    assert end.value.code == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "none").exists()
