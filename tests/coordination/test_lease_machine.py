"""The baton's protocol under clocks that differ, calls that take long, and answers that get lost.

The time of this simulation is the only true one; each contender's clock has an offset and a speed
of its own, and while one waits for the store another one acts. At every step of time it is asked
who believes to hold the baton.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from kv_dict import InMemoryAsyncBackend, NotHolder, OutcomeUnknown, RemoteKVMapping, Unavailable
from kv_dict.coordination.lease import Lease

LEASE = 10.0
CONTENDERS = 3

NO_TIME = (0.0, 0.0, 0.0)

who = st.integers(0, CONTENDERS - 1)
others = st.none() | who
delays = st.just(NO_TIME) | st.tuples(*[st.sampled_from([0.0, 0.5, 9.0, 10.4])] * 3)
steps = st.sampled_from([0.5, 3.0, 9.6, 10.5, 11.5, 30.0])
outcomes = st.sampled_from([None, None, None, Unavailable, OutcomeUnknown])


class SlowMapping(RemoteKVMapping):
    """A mapping whose calls take time, in which another contender acts, and may fail."""

    pass_time: Callable[[float], None]
    delays: tuple[float, float, float] = NO_TIME
    failure: type[Exception] | None = None
    meanwhile: Callable[[], object] | None = None

    def transform(self, key: str, function: Callable[[Any], Any], default: Any = None) -> Any:
        before, between, after = self.delays
        self.pass_time(before)
        if self.failure is Unavailable:
            raise Unavailable("simulated")

        def slow(value: Any) -> Any:
            new = function(value)
            self.pass_time(between)  # read, and not yet committed
            self.act()
            return new

        new = super().transform(key, slow, default)
        self.act()
        self.pass_time(after)
        if self.failure is OutcomeUnknown:
            raise OutcomeUnknown("simulated")
        return new

    def act(self) -> None:
        if self.meanwhile is not None:
            self.meanwhile()


class Batons(RuleBasedStateMachine):
    @initialize(
        offsets=st.lists(st.floats(-1e6, 1e6), min_size=CONTENDERS, max_size=CONTENDERS),
        speeds=st.lists(st.floats(0.97, 1.03), min_size=CONTENDERS, max_size=CONTENDERS),
    )
    def begin(self, offsets: list[float], speeds: list[float]) -> None:
        self.now = 0.0
        self.token = 0
        backend = InMemoryAsyncBackend()
        self.items = [SlowMapping(backend, "race", timeout=60) for _ in range(CONTENDERS)]
        self.leases = []
        for items, offset, speed in zip(self.items, offsets, speeds, strict=True):
            items.pass_time = self.pass_time
            clock = lambda offset=offset, speed=speed: offset + speed * self.now  # noqa: E731
            self.leases.append(Lease(items, "baton", LEASE, clock=clock))

    def teardown(self) -> None:
        for items in getattr(self, "items", ()):
            items.close()

    def pass_time(self, seconds: float) -> None:
        # In small steps: what is believed matters at every moment.
        for _ in range(5):
            self.now += seconds / 5
            self.at_most_one()

    def do(
        self,
        n: int,
        call: Callable[[], object],
        delays: tuple[float, float, float] = NO_TIME,
        failure: type[Exception] | None = None,
        other: int | None = None,
    ) -> None:
        items = self.items[n]
        items.delays, items.failure = delays, failure
        if other is not None and other != n:
            items.meanwhile = lambda: self.do(other, self.leases[other].attempt)
        try:
            call()
        except (NotHolder, Unavailable, OutcomeUnknown):
            pass
        finally:
            items.delays, items.failure, items.meanwhile = NO_TIME, None, None

    @rule(seconds=steps)
    def wait(self, seconds: float) -> None:
        self.pass_time(seconds)

    @rule(n=who)
    def try_(self, n: int) -> None:
        self.do(n, self.leases[n].attempt)

    @rule(n=who, delays=delays, failure=outcomes, other=others)
    def attempt(self, n: int, **how: Any) -> None:
        self.do(n, self.leases[n].attempt, **how)

    @rule(n=who, delays=delays, failure=outcomes, other=others)
    def renew(self, n: int, **how: Any) -> None:
        self.do(n, self.leases[n].renew, **how)

    @rule(n=who, delays=delays, failure=outcomes, other=others)
    def release(self, n: int, **how: Any) -> None:
        self.do(n, self.leases[n].release, **how)
        assert not self.leases[n].held

    @invariant()
    def at_most_one(self) -> None:
        held = [lease.token for lease in getattr(self, "leases", ()) if lease.held]
        assert len(held) <= 1, held

    @invariant()
    def tokens_grow(self) -> None:
        if hasattr(self, "leases"):
            record = self.leases[0].read()
            assert record.token >= self.token
            self.token = record.token
            assert [line.token for line in record.log] == sorted(line.token for line in record.log)
            for lease in self.leases:
                assert lease.token is None or lease.token <= record.token
                if lease.held:  # and then the store says so too
                    assert record.token == lease.token


Batons.TestCase.settings = settings(max_examples=150, stateful_step_count=30, deadline=None)
TestBatons = Batons.TestCase
