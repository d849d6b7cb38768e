"""What can happen to a server, or on the way to it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from kv_dict.testing.proxy import FaultProxy
from kv_dict.testing.servers import ServerProcess

__all__ = ["FAULTS", "Fault"]

Fault = Callable[[ServerProcess, FaultProxy], Callable[[], object]]


def _kill(server: ServerProcess, proxy: FaultProxy) -> Callable[[], object]:
    server.kill()
    return server.start


def _freeze(server: ServerProcess, proxy: FaultProxy) -> Callable[[], object]:
    server.freeze()
    return server.thaw


def _cut(server: ServerProcess, proxy: FaultProxy) -> Callable[[], object]:
    proxy.cut()
    return proxy.cut


def _black_hole(server: ServerProcess, proxy: FaultProxy) -> Callable[[], object]:
    proxy.black_hole()
    return proxy.heal


def _cut_answers(server: ServerProcess, proxy: FaultProxy) -> Callable[[], object]:
    proxy.cut_answers(after=7)
    return proxy.heal


FAULTS: Final[dict[str, Fault]] = {
    "killed and restarted": _kill,
    "frozen": _freeze,
    "connections cut": _cut,
    "connections black-holed": _black_hole,
    "cut in mid-answer": _cut_answers,
}
"""By what happens. Each begins the fault, and returns what ends it."""
