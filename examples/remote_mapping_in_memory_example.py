"""A mapping in this process's memory: nothing to set up, nothing kept.

Run it with ``uv run examples/remote_mapping_in_memory_example.py``.
"""

from kv_dict import InMemoryAsyncBackend, RemoteKVMapping


def main() -> None:
    with RemoteKVMapping(InMemoryAsyncBackend(), "ep1") as md:
        md["user"] = "Ada"
        md["main"] = {"sup1": {"level": 1}, "log": []}

        # What a read returns is a real dict; changing it changes the store.
        md["main"]["sup1"]["level"] = 2
        md["main"]["log"].append("raised")
        print("stored:   ", md["main"])

        # A copy is plain, and detached.
        copy = dict(md)
        copy["main"]["log"].append("not stored")
        print("detached: ", md["main"]["log"])

        # Atomic: all of it or nothing; and a counter that no other writer can get lost in.
        md.update(cycle="2026-3", shift="night")
        print("counted:  ", [md.increment("fills") for _ in range(3)])
        print("in order: ", list(md))


if __name__ == "__main__":
    main()
