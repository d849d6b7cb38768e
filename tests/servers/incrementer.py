"""A process that adds to shared counters: ``incrementer.py URL EACH``."""

from __future__ import annotations

import sys

from kv_dict import ConflictError, RemoteKVMapping
from kv_dict.backends import open_backend


def main(url: str, each: int) -> None:
    with RemoteKVMapping(open_backend(url), "ep1", timeout=60) as md:
        for _ in range(each):
            md.increment("top")
        counters = md["counters"]
        for _ in range(each):
            while True:
                try:
                    counters["n"] += 1
                except ConflictError:  # others were faster: it shows their number now
                    continue
                break


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
