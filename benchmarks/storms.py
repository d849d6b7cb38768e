"""Storms by store and fault: how soon all is well again, and what was wrong.

::

    python -m benchmarks.storms [--rounds 10]

Each row is one storm of `kv_dict.testing.storm` on a real server: two writers, two readers and a
subscriber, while one fault happens again and again. *Fresh* is the time from the end of a fault
until the replica shows a new write of another mapping, by itself.
"""

from __future__ import annotations

import argparse
import logging
import statistics
import tempfile
from pathlib import Path

from kv_dict import RemoteKVMapping
from kv_dict.backends import open_backend
from kv_dict.testing.faults import FAULTS
from kv_dict.testing.proxy import FaultProxy
from kv_dict.testing.servers import NatsServer, PostgresServer, RedisServer, ServerProcess
from kv_dict.testing.storm import Storm

SERVERS: dict[str, type[ServerProcess]] = {
    "Redis": RedisServer,
    "PostgreSQL": PostgresServer,
    "NATS": NatsServer,
}


def mapping(url: str) -> RemoteKVMapping:
    """Return a mapping with a replica."""
    return RemoteKVMapping(open_backend(url), "ep1", reads="replica", timeout=15)


def main() -> None:
    """Measure, and print Markdown."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=10)
    rounds = parser.parse_args().rounds
    logging.getLogger("kv_dict").setLevel(logging.CRITICAL)  # outages are what this is about
    print("| | fault | rounds | fresh after, s: median, most | acknowledged | not | violations |")
    print("|---|---|---|---|---|---|---|")
    for name, kind in SERVERS.items():
        for fault, begin in FAULTS.items():
            with (
                tempfile.TemporaryDirectory() as folder,
                kind(Path(folder) / "server") as server,
                FaultProxy(server.port) as proxy,
            ):
                near, far = server.store_url(proxy.port), server.store_url()
                storm = Storm(lambda url=near: mapping(url), lambda url=far: mapping(url))
                report = storm.run(rounds, lambda _, f=begin, s=server, p=proxy: f(s, p))
            healed = f"{statistics.median(report.healed):.2f}, {max(report.healed):.2f}"
            print(
                f"| {name} | {fault} | {report.rounds} | {healed} | {report.acknowledged:,} | "
                f"{report.refused + report.unknown:,} | {len(report.violations)} |",
                flush=True,
            )
            for violation in report.violations:
                print(f"    {violation}")


if __name__ == "__main__":
    main()
