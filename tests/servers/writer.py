"""A process that writes until its standard input ends, and reports how each write ended.

``writer.py URL ME`` prints one line for each write: what it was, its number, how it ended. A write
that was under way when the process was killed has no line.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable

from kv_dict import ConflictError, OutcomeUnknown, RemoteKVMapping, Unavailable
from kv_dict.backends import open_backend

TIMEOUT = 1.0
PAUSE = 0.02
"""Seconds before the next try of a store that is away."""


def main(url: str, me: str) -> None:
    ended = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()
    with RemoteKVMapping(open_backend(url), "ep1", timeout=30) as md:
        held = md["held"]  # and held on to, whatever happens to the server
        md.timeout = TIMEOUT
        writes: dict[str, Callable[[int], object]] = {
            "pair": lambda n: md.update({f"{me}-{n}-a": n, f"{me}-{n}-b": n}),
            "held": lambda n: held.__setitem__(me, n),
            "nested": lambda n: md["nested"].increment(me),
            "top": lambda n: md.increment("top"),
        }
        n = 0
        while not ended.is_set():
            n += 1
            for what, write in writes.items():
                outcome = outcome_of(write, n)
                sys.stdout.write(f"{what} {n} {outcome}\n")
                sys.stdout.flush()
                if outcome != "acknowledged":
                    time.sleep(PAUSE)


def outcome_of(write: Callable[[int], object], n: int) -> str:
    try:
        write(n)
    except OutcomeUnknown:
        return "unknown"
    except (Unavailable, ConflictError):
        return "denied"
    return "acknowledged"


if __name__ == "__main__":
    main(*sys.argv[1:])
