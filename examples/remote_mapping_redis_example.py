"""A mapping in Redis, in the layout of redis-json-dict, beside a program that knows of neither.

Run it with ``uv run examples/remote_mapping_redis_example.py [URL]``; without a URL it uses the
server of compose.yaml.
"""

import sys

import redis

from kv_dict import RedisBackend, RemoteKVMapping


def main(url: str) -> None:
    # sep=None: the entry point is a literal prefix of flat keys, as RedisJSONDict has it.
    with RemoteKVMapping(RedisBackend(url), "xas-example-", sep=None) as md:
        md.clear()
        md["sample"] = {"name": "Fe2O3", "edge": "K"}
        md["sample"]["energy_eV"] = 7112.0

        other = redis.Redis.from_url(url)  # any program: values are plain JSON
        print("another program reads: ", other.get("xas-example-sample").decode())
        other.set("xas-example-operator", '"Rosalind"')
        other.close()

        print("and what it wrote:     ", md["operator"])
        md.update(cycle="2026-3", proposal="318")  # one command, all or nothing
        print("keys:                  ", list(md))
        md.clear()


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "redis://localhost:6379/0")
