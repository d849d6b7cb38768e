"""What a dict does, with more and more items, and beside many that are nobody's."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from benchmarks.cases import Case, Topic, everybody
from benchmarks.competitors import Competitor
from benchmarks.works import COUNT, DICT, Unable, each, items

Operation = Callable[[int], Any]

THOUSAND = 1_000


@each
def read_number(md: Any) -> Operation:
    return lambda i: md[COUNT]


@each
def read_dict(md: Any) -> Operation:
    return lambda i: md[DICT]


@each
def write(md: Any) -> Operation:
    return partial(md.__setitem__, COUNT)


def _is_dict(md: Any) -> None:
    if not hasattr(md, "keys"):  # a bare driver
        raise Unable


@each
def change_nested(md: Any) -> Operation:
    if not hasattr(md, "keys"):  # a bare driver
        return lambda i: md.__setitem__(DICT, md[DICT] | {"proposal_id": i})

    def call(i: int) -> None:
        md[DICT]["proposal_id"] = i

    return call


@each
def change_held(md: Any) -> Operation:
    if not hasattr(md, "keys"):
        held = md[DICT]
        return lambda i: md.__setitem__(DICT, held | {"proposal_id": i})
    return partial(md[DICT].__setitem__, "proposal_id")


@each
def update_10(md: Any) -> Operation:
    names = list(items(10))
    return lambda i: md.update(dict.fromkeys(names, i))


@each
def update_1000(md: Any) -> Operation:
    names = list(items(THOUSAND))
    return lambda i: md.update(dict.fromkeys(names, i))


@each
def length(md: Any) -> Operation:
    _is_dict(md)
    return lambda i: len(md)


@each
def iterate(md: Any) -> Operation:
    _is_dict(md)
    return lambda i: list(md)


@each
def everything(md: Any) -> Operation:
    if hasattr(md, "everything"):  # a bare driver
        return lambda i: md.everything()
    _is_dict(md)
    return lambda i: dict(md)


EACH = {
    "md[key], a number": read_number,
    "md[key], a dict": read_dict,
    "md[key] = v": write,
    "md[key][part] = v": change_nested,
    "held[part] = v": change_held,
    "md.update, 10 keys": update_10,
    "len(md)": length,
    "list(md)": iterate,
    "dict(md)": everything,
}
WRITING = {"md[key] = v", "md[key][part] = v", "held[part] = v", "md.update, 10 keys"}


def _grows(competitor: Competitor) -> bool:
    """Leave out who would take minutes to fill."""
    slow = competitor.requirement or competitor.name in ("PersistentDict", "nats-py")
    return not slow


def _cases(sizes: tuple[int, ...]) -> list[Case]:
    cases = []
    for keys in sizes:
        who = _grows if keys > 10_000 else everybody
        cases += [_case(name, keys, who) for name in EACH]
        if keys == THOUSAND:
            cases.append(Case("md.update, 1,000 keys", update_1000, keys, writes=True))
    return cases


def _case(name: str, keys: int = 10, who: Callable[[Competitor], bool] = everybody) -> Case:
    return Case(name, EACH[name], keys, who, writes=name in WRITING)


def _few(sizes: tuple[int, ...]) -> list[Case]:
    return [_case(name) for name in EACH if name != "md[key], a dict"]


OPERATIONS = Topic(
    "dict",
    "What a dict does",
    "Values are strings, numbers, small dicts and lists. A bare driver decodes what it reads; its "
    "`dict(md)` and `md.update` are one request where the server can. A `dict` of Python and a "
    "`PersistentDict` read memory that no other program can change.",
    _cases,
)

FOREIGN = Topic(
    "foreign",
    "With 100,000 keys in the store that are nobody's",
    "Ten keys of one's own.",
    _few,
    foreign=100_000,
)
