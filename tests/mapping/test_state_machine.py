"""Long random stories: a dict and a mapping, with handles that are held on to."""

from __future__ import annotations

import copy
import itertools
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)

from kv_dict import Backend, ConflictError, InMemoryAsyncBackend, RemoteKVMapping
from kv_dict.mapping.place import Place

KEYS = st.sampled_from(["a", "b", "c", "a:b", "", "é"])
SCALARS = st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from(["", "x", 2**70, b"b"])
VALUES = st.recursive(
    SCALARS | st.sets(st.integers(0, 3), max_size=2),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=6,
)
RICH = st.sampled_from(
    [
        [{"a": 1}, {"a": 2}, [1]],
        [{"a": 1}, {"a": 1}, {}],
        {"a": {"n": 1}, "b": {"n": 2}, "c": [[1], [2]]},
        {"a": [{"a": {0}}, {"a": {1}}], "b": [1]},
    ]
)
VALUES = VALUES | RICH
INDICES = st.integers(-4, 4)
SLICES = st.builds(
    slice, st.none() | INDICES, st.none() | INDICES, st.sampled_from([None, 1, 2, -1])
)
READERS = st.sampled_from([0, 1])

TOP = {
    "setitem": st.tuples(KEYS, VALUES),
    "delitem": st.tuples(KEYS),
    "pop": st.tuples(KEYS) | st.tuples(KEYS, SCALARS),
    "popitem": st.just(()),
    "setdefault": st.tuples(KEYS, VALUES),
    "update": st.tuples(st.dictionaries(KEYS, VALUES, max_size=3)),
    "ior": st.tuples(st.dictionaries(KEYS, VALUES, max_size=3)),
    "clear": st.just(()),
}
DICT = {
    "setitem": st.tuples(KEYS, VALUES),
    "delitem": st.tuples(KEYS),
    "pop": st.tuples(KEYS) | st.tuples(KEYS, SCALARS),
    "popitem": st.just(()),
    "setdefault": st.tuples(KEYS, VALUES),
    "update": st.tuples(st.dictionaries(KEYS, VALUES, max_size=3)),
    "ior": st.tuples(st.dictionaries(KEYS, VALUES, max_size=3)),
    "clear": st.just(()),
}
LIST = {
    "setitem": st.tuples(INDICES, VALUES) | st.tuples(SLICES, st.lists(VALUES, max_size=3)),
    "delitem": st.tuples(INDICES | SLICES),
    "append": st.tuples(VALUES),
    "extend": st.tuples(st.lists(VALUES, max_size=3)),
    "iadd": st.tuples(st.lists(VALUES, max_size=3)),
    "insert": st.tuples(INDICES, VALUES),
    "pop": st.just(()) | st.tuples(INDICES),
    "remove": st.tuples(VALUES),
    "reverse": st.just(()),
    "sort_by_repr": st.tuples(st.booleans()),
    "imul": st.tuples(st.integers(-1, 1)),
    "clear": st.just(()),
}
SET = {
    "add": st.tuples(st.integers(0, 5)),
    "discard": st.tuples(st.integers(0, 5)),
    "remove": st.tuples(st.integers(0, 5)),
    "update": st.tuples(st.sets(st.integers(0, 5), max_size=3)),
    "ior": st.tuples(st.sets(st.integers(0, 5), max_size=3)),
    "iand": st.tuples(st.sets(st.integers(0, 5), max_size=3)),
    "isub": st.tuples(st.sets(st.integers(0, 5), max_size=3)),
    "ixor": st.tuples(st.sets(st.integers(0, 5), max_size=3)),
    "clear": st.just(()),
}
SPECIAL = {"setitem", "delitem", "ior", "iadd", "imul", "iand", "isub", "ixor"}


def fresh(value: Any) -> Any:
    """Return a deep copy that holds no object twice, as what is read from a store."""
    if isinstance(value, dict):
        return {key: fresh(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(map(fresh, value))
    return copy.copy(value)


def do(subject: Any, name: str, arguments: tuple[Any, ...]) -> Any:
    if name == "sort_by_repr":
        return subject.sort(key=repr, reverse=arguments[0])
    method = getattr(subject, f"__{name}__" if name in SPECIAL else name)
    result = method(*fresh(arguments))
    return "itself" if result is subject else copy.deepcopy(result)


def outcome(subject: Any, name: str, arguments: tuple[Any, ...]) -> Any:
    try:
        return do(subject, name, arguments)
    except (KeyError, IndexError, ValueError, TypeError) as error:
        return type(error)


def containers(value: Any) -> list[Any]:
    """Return `value` and all containers in it."""
    inside = value.values() if isinstance(value, dict) else value
    if not isinstance(value, dict | list):
        return [value] if isinstance(value, set) else []
    return [value, *(c for item in inside for c in containers(item))]


def is_in(one: Any, several: list[Any]) -> bool:
    return any(one is other for other in several)


def is_lost(live: Any, key: str) -> bool:
    """Return whether a container's tree could not tell it from equal ones, and has let it go."""
    try:
        Place.of(live, key)
    except ConflictError:
        return True
    return False


class Story(RuleBasedStateMachine):
    """Two mappings on one store, one dict as their model, and handles of both.

    A handle is the model's container and the live one. Once the model's is no longer part of the
    model (by identity), the live one has to refuse and to leave the store alone.
    """

    handles: Bundle[Any] = Bundle("handles")

    def __init__(self, backend: Backend, entry_point: str, sep: str | None) -> None:
        super().__init__()
        self.mappings = [RemoteKVMapping(backend, entry_point, sep) for _ in range(2)]
        self.md = self.mappings[0]
        self.model: dict[str, Any] = {}
        self.tops: list[tuple[str, Any]] = []  # of each value that was read
        self.overtaken: list[Any] = []  # those whose value another handle, or a mapping, changed

    @initialize(start=st.dictionaries(KEYS, RICH | VALUES, min_size=1, max_size=3))
    def begin(self, start: dict[str, Any]) -> None:
        self.md.update(start)
        self.model.update(fresh(start))

    def teardown(self) -> None:
        for mapping in self.mappings:
            mapping.close()

    @rule(target=handles, which=READERS, key=KEYS)
    def read(self, which: int, key: str) -> Any:
        if not isinstance(self.model.get(key), dict | list | set):
            assert self.mappings[which].get(key, "none") == self.model.get(key, "none")
            return multiple()
        top = self.mappings[which][key]
        self.tops.append((key, top))
        return self.model[key], top, key, top

    @rule(target=handles, handle=handles, data=st.data())
    def go_down(self, handle: Any, data: st.DataObject) -> Any:
        model, live, key, top = handle
        if not self.reachable(model) or isinstance(model, set) or not model or live != model:
            return multiple()
        step = data.draw(
            st.sampled_from(list(model if isinstance(model, dict) else range(len(model))))
        )
        if not isinstance(model[step], dict | list | set):
            assert live[step] == model[step]
            return multiple()
        assert live[step] is live[step]
        return model[step], live[step], key, top

    @rule(handle=handles, data=st.data())
    def swap(self, handle: Any, data: st.DataObject) -> None:
        model, live, key, top = handle
        if not self.reachable(model) or isinstance(model, set) or not model or live != model:
            return
        if self.md[key] != top:
            return
        steps = st.sampled_from(list(model if isinstance(model, dict) else range(len(model))))
        one, two = data.draw(steps), data.draw(steps)
        if one == two:
            return
        # What is assigned is stored as a copy: the handles of what was there are handles no more.
        model[one], model[two] = fresh(model[two]), fresh(model[one])
        live[one], live[two] = live[two], live[one]
        assert live == model
        self.overtake(key, top)

    @rule(which=READERS, data=st.data())
    def change_the_mapping(self, which: int, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(TOP)))
        arguments = data.draw(TOP[name])
        if name == "popitem":
            self.model = dict(sorted(self.model.items()))
        assert outcome(self.mappings[which], name, arguments) == outcome(
            self.model, name, arguments
        )
        self.overtaken = [top for _, top in self.tops]

    @rule(handle=handles, data=st.data())
    def change_a_handle(self, handle: Any, data: st.DataObject) -> None:
        model, live, key, top = handle
        table = DICT if isinstance(model, dict) else LIST if isinstance(model, list) else SET
        name = data.draw(st.sampled_from(sorted(table)))
        arguments = data.draw(table[name])
        before = self.md.copy()
        if not self.reachable(model):
            # Refused, or replayed on what is now at the same place; never anywhere else.
            try:
                do(live, name, arguments)
            except (ConflictError, KeyError, IndexError, ValueError, TypeError):
                assert self.md == before
            elsewhere = {k: v for k, v in self.md.copy().items() if k != key}
            assert elsewhere == {k: v for k, v in before.items() if k != key}
            self.resynchronize(key)
            return
        stale = live != model
        try:
            result = outcome(live, name, arguments)
        except ConflictError:
            # Another handle changed the value so that this one's place cannot be told any more.
            lost = is_in(top, self.overtaken) and is_lost(live, key)
            assert stale or top != self.model[key] or lost, "a conflict with nobody"
            assert self.md == before
            return
        if stale and result in (KeyError, IndexError, ValueError, TypeError):
            assert self.md == before  # it did not see what the other one wrote
            return
        assert result == outcome(model, name, arguments)
        assert live == model
        self.overtake(key, top)

    @rule(handle=consumes(handles))
    def drop(self, handle: Any) -> None:
        pass

    def reachable(self, container: Any) -> bool:
        return any(container is c for value in self.model.values() for c in containers(value))

    def overtake(self, key: str, by: Any) -> None:
        """Take note that a value was changed, through one of its handles."""
        self.overtaken += [top for of, top in self.tops if of == key and top is not by]

    def resynchronize(self, key: str) -> None:
        """Take over what is stored; the handles of that value are lost to the model."""
        if key in self.model and self.md[key] != self.model[key]:
            self.model[key] = self.md[key].copy()

    @invariant()
    def both_read_what_the_model_says(self) -> None:
        for mapping in self.mappings:
            read = mapping.copy()
            assert read == self.model
            assert list(mapping) == sorted(self.model)
            assert len(mapping) == len(self.model)
            for key, value in read.items():
                if isinstance(value, dict):
                    assert list(value) == list(self.model[key])


@pytest.mark.parametrize("flat", [False, True], ids=["sep", "flat"])
def test_story(backend: Backend, flat: bool) -> None:
    entry_points = (f"ep{number}-" for number in itertools.count())
    local = isinstance(backend, InMemoryAsyncBackend)
    run_state_machine_as_test(
        lambda: Story(backend, next(entry_points), None if flat else ":"),
        settings=settings(
            max_examples=150 if local else 20,
            stateful_step_count=15,
            deadline=None,
            # The memory's story is the one to shrink.
            phases=tuple(Phase) if local else (Phase.explicit, Phase.reuse, Phase.generate),
            report_multiple_bugs=False,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
        ),
    )
