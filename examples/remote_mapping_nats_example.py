"""A mapping in a bucket of NATS JetStream, on which two programs count at once.

Run it with ``uv run examples/remote_mapping_nats_example.py [URL]``; without a URL it uses the
server of compose.yaml. Next to it, ``nats kv watch kv_dict`` shows the same changes.
"""

import sys
import threading

from kv_dict import RemoteKVMapping, open_mapping
from kv_dict.backends import open_backend


def main(url: str) -> None:
    with (
        open_mapping(url, entry_point="example") as md,
        RemoteKVMapping(open_backend(url), "example") as other,  # as a second program would
    ):
        md.clear()
        md["scan"] = {"motor": "theta", "points": 0}

        def count() -> None:
            for _ in range(50):
                other["scan"].increment("points")

        thread = threading.Thread(target=count)
        thread.start()
        for _ in range(50):
            md["scan"].increment("points")  # compare-and-set inside: no count is lost
        thread.join()
        print("counted by two:", md["scan"])
        md.update(user="Rosalind", cycle="2026-3")  # one atomic batch
        print("keys:          ", list(md))
        md.clear()


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "nats://localhost:14222/?bucket=kv_dict")
