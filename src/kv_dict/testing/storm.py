"""A storm: writers, readers and a subscriber on one store while it is killed, frozen and cut off.

Afterwards the books are balanced: what was acknowledged has to be there, no reader may have seen
a value go back, and replica, subscriber and store have to agree.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

from kv_dict.errors import ConflictError, KVDictError, OutcomeUnknown, Unavailable
from kv_dict.mapping import Change
from kv_dict.mapping.remote import RemoteKVMapping

__all__ = ["Report", "Storm"]

GRACE: Final = 2.0
"""Seconds that an operation may take beyond its timeout, on a busy machine."""

_GONE: Final = None


@dataclass
class Report:
    """What a storm did, and what was wrong afterwards.

    Attributes
    ----------
    rounds : int
        Faults that were survived.
    acknowledged, refused, unknown : int
        How many writes ended so.
    healed : list of float
        For each fault, the seconds from its end until the replica showed a new write of another.
    violations : list of str
        What must not be; empty if all is well.
    """

    rounds: int = 0
    acknowledged: int = 0
    refused: int = 0
    unknown: int = 0
    healed: list[float] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        healed = sorted(self.healed) or [0.0]
        return (
            f"{self.rounds} rounds; writes: {self.acknowledged} acknowledged, {self.refused} "
            f"refused, {self.unknown} unknown; fresh after {healed[len(healed) // 2]:.2f} s "
            f"(median), {healed[-1]:.2f} s (longest); {len(self.violations)} violations"
        )


class Storm:
    """Two writers that count up and delete keys of their own, two readers, one subscriber.

    Parameters
    ----------
    near : callable
        Returns a new mapping with a replica: its connection is what faults hit.
    far : callable
        Returns a new mapping of the same items, on the way that faults of the network do not hit.
    timeout : float
        Of every operation of writers and readers, in seconds.
    patience : float
        Seconds after a fault in which all has to be well again.
    """

    def __init__(
        self,
        near: Callable[[], RemoteKVMapping],
        far: Callable[[], RemoteKVMapping],
        timeout: float = 1.0,
        patience: float = 30.0,
    ) -> None:
        self._near, self._far = near, far
        self._patience = patience
        self._timeout = timeout
        self._over = threading.Event()
        self._lock = threading.Lock()
        self.report = Report()

    def run(self, rounds: int, fault: Callable[[int], Callable[[], object]]) -> Report:
        """Return the report of a storm of so many faults.

        Parameters
        ----------
        rounds : int
            How many.
        fault : callable
            Begins the fault of a round, and returns what ends it. Between the two, this waits.
        """
        with self._near() as md, self._far() as far:
            md.timeout = far.timeout = self._timeout
            told: dict[str, Any] = {}
            token = md.subscribe(lambda change: self._tell(told, change))
            writers = [_Writer(self, name, of) for name, of in (("near", md), ("far", far))]
            works = [writer.run for writer in writers]
            works += [lambda: self._read(md, writers), lambda: self._read(md, writers)]
            threads = [threading.Thread(target=self._guarded, args=(work,)) for work in works]
            for thread in threads:
                thread.start()
            for number in range(rounds):
                self._wait_for_writes(writers)
                passing = self._put_what_will_go(md, far, number)
                end = fault(number)
                time.sleep(0.2 + 0.8 * (number % 3) / 2)
                with suppress(KVDictError):  # where the fault is of the way of `near` only
                    far.pop(passing, None)
                end()
                self._healed(md, far, number)
                self.report.rounds += 1
            self._over.set()
            for thread in threads:
                thread.join()
            self._balance(md, far, writers, told)
            md.unsubscribe(token)
        return self.report

    def wrong(self, what: str) -> None:
        """Note a violation."""
        with self._lock:
            if len(self.report.violations) < 20:
                self.report.violations.append(what)

    @property
    def over(self) -> bool:
        """Whether everybody should go home."""
        return self._over.is_set()

    def _guarded(self, work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - told in the report
            self.wrong(f"{type(error).__name__}: {error}")

    def _wait_for_writes(self, writers: list[_Writer]) -> None:
        before = [writer.acknowledged for writer in writers]
        deadline = time.monotonic() + self._patience
        while any(w.acknowledged < n + 3 for w, n in zip(writers, before, strict=True)):
            if time.monotonic() > deadline:
                self.wrong("no write was acknowledged, with no fault any more")
                return
            time.sleep(0.005)

    def _put_what_will_go(self, md: RemoteKVMapping, far: RemoteKVMapping, number: int) -> str:
        """Put an item and see it arrive; it is deleted during the fault, when nobody is told."""
        key = f"passing-{number}"
        deadline = time.monotonic() + self._patience
        while key not in md and time.monotonic() < deadline:
            with suppress(Unavailable, OutcomeUnknown):  # where the writers keep it waiting
                far.setdefault(key, number)
            time.sleep(0.002)
        return key

    def _healed(self, md: RemoteKVMapping, far: RemoteKVMapping, number: int) -> None:
        """Wait until a new write of another is seen here, with nobody doing anything for that."""
        started = time.monotonic()
        written = False
        while md.get("healed") != number:
            if not written:
                try:
                    far["healed"] = number
                except KVDictError:
                    continue
                written = True
            if time.monotonic() > started + self._patience:
                self.wrong(f"round {number}: the replica stays as it was; {md._scope.replica}")
                return
            time.sleep(0.002)
        self.report.healed.append(time.monotonic() - started)

    def _read(self, md: RemoteKVMapping, writers: list[_Writer]) -> None:
        last = {writer.name: 0 for writer in writers}
        while not self.over:
            for name, before in last.items():
                started = time.monotonic()
                value = md.get(f"count-{name}", 0)
                took = time.monotonic() - started
                if took > GRACE:
                    self.wrong(f"a local read took {took:.1f} s")
                if value < before:
                    self.wrong(f"count-{name} went back from {before} to {value}")
                last[name] = value
            time.sleep(0.001)

    def _tell(self, told: dict[str, Any], change: Change) -> None:
        if change.kind == "delete":
            told.pop(change.key, None)
        else:
            before = told.get(change.key)
            if change.key.startswith("count-") and before is not None and change.value < before:
                self.wrong(f"{change.key} was told to go back from {before} to {change.value}")
            told[change.key] = change.value

    def _balance(
        self,
        md: RemoteKVMapping,
        far: RemoteKVMapping,
        writers: list[_Writer],
        told: dict[str, Any],
    ) -> None:
        far.timeout = md.timeout = self._patience
        far.sync()
        stored = dict(far)
        deadline = time.monotonic() + self._patience
        while dict(md) != stored and time.monotonic() < deadline:
            time.sleep(0.005)  # by itself: `sync` would hide what the watch missed
        if dict(md) != stored:
            self.wrong(f"the replica has {_difference(dict(md), stored)}")
        while told != stored and time.monotonic() < deadline:
            time.sleep(0.005)
        if told != stored:
            self.wrong(f"the subscriber has {_difference(told, stored)}")
        for writer in writers:
            writer.check(stored)
            self.report.acknowledged += writer.acknowledged
            self.report.refused += writer.refused
            self.report.unknown += writer.unknown
        if md.stale_since is not None:
            self.wrong(f"stale since {md.stale_since} although all is well")


class _Writer:
    """Counts up in one key; puts and deletes others; keeps the books of what was acknowledged."""

    def __init__(self, storm: Storm, name: str, md: RemoteKVMapping) -> None:
        self.name = name
        self._storm = storm
        self._md = md
        self._possible: dict[str, list[Any]] = {}  # what each key may hold
        self.acknowledged = self.refused = self.unknown = 0

    def run(self) -> None:
        n = 0
        while not self._storm.over:
            n += 1
            self._write({f"count-{self.name}": n})
            self._write({f"come-and-go-{self.name}-{n % 5}": n if n % 3 else _GONE})
            self._write({f"pair-{self.name}-a": n, f"pair-{self.name}-b": n})

    def _write(self, items: dict[str, Any]) -> None:
        self._read_own_writes(items)  # late news of older ones must not show
        started = time.monotonic()
        try:
            if _GONE in items.values():
                for key in items:
                    self._md.pop(key, None)
            else:
                self._md.update(items)
        except OutcomeUnknown:
            self.unknown += 1
            for key, value in items.items():
                self._possible.setdefault(key, [_GONE]).append(value)
        except Unavailable:
            self.refused += 1
            time.sleep(0.002)
        except ConflictError as error:
            self._storm.wrong(f"{self.name}: a conflict, where nobody else writes: {error}")
        else:
            self.acknowledged += 1
            for key, value in items.items():
                self._possible[key] = [value]
            self._read_own_writes(items)
        took = time.monotonic() - started
        if took > self._md.timeout + GRACE:
            self._storm.wrong(f"{self.name}: a write took {took:.1f} s")

    def _read_own_writes(self, items: dict[str, Any]) -> None:
        for key in items:
            possible = self._possible.get(key, [_GONE])
            if (seen := self._md.get(key, _GONE)) not in possible:
                self._storm.wrong(f"{key} is read as {seen} by its writer, not as of {possible}")

    def check(self, stored: dict[str, Any]) -> None:
        """Compare the books with what is stored."""
        for key, possible in self._possible.items():
            if stored.get(key, _GONE) not in possible:
                self._storm.wrong(f"{key} is {stored.get(key)}, and not one of {possible}")
        if stored.get(f"pair-{self.name}-a") != stored.get(f"pair-{self.name}-b"):
            self._storm.wrong(f"pair-{self.name} is torn")


def _difference(one: dict[str, Any], other: dict[str, Any]) -> str:
    differing = [key for key in one.keys() | other.keys() if one.get(key) != other.get(key)]
    return ", ".join(f"{key}={one.get(key)} for {other.get(key)}" for key in sorted(differing)[:5])
