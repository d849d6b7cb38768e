"""A process in which the name ``kv_dict`` means kv-dict 0.1.7: does what its input says.

``upstream.py FOLDER``: the folder holds that package and nothing else. Each line of input is a JSON
list, a command and its arguments; each line of output is ``{"value": ...}`` with what it returned,
or ``{"error": ...}``. The commands are the methods of `Session`; ``open`` is the first.
"""

from __future__ import annotations

import json
import sys
import typing
from collections.abc import Sequence
from typing import Any


def plain(value: Any) -> Any:
    if hasattr(value, "keys"):
        return {key: plain(value[key]) for key in value}
    if hasattr(value, "insert"):
        return [plain(item) for item in value]
    return value


class Session:
    """The mapping that is open, and the commands."""

    def __init__(self, package: Any) -> None:
        self.package = package
        self.md: Any = None
        self.tries = 1

    def open(self, backend: str, url: str, options: dict[str, Any], sep: str) -> None:
        self.close()
        made = getattr(self.package, backend)(url, **options)
        self.md = self.package.RemoteKVMapping(made, "ep1", sep)
        # It sometimes takes a bucket for empty, and then knows no key.
        self.tries = 20 if backend == "NatsBackend" else 1

    def close(self) -> None:
        if self.md is not None:
            self.md.close()

    def get(self, *path: Any) -> Any:
        return plain(self._at(path))

    def set(self, path: list[Any], value: Any) -> None:
        self._at(path[:-1])[path[-1]] = value

    def append(self, path: list[Any], value: Any) -> None:
        self._at(path).append(value)

    def delete(self, *path: Any) -> None:
        del self._at(path[:-1])[path[-1]]

    def update(self, items: dict[str, Any]) -> None:
        self.md.update(items)

    def assign_many(self, name: str, times: int) -> None:
        for n in range(times):
            self.md[f"{name}{n}"] = n

    def keys(self) -> list[str]:
        return list(self.md)

    def copy(self) -> dict[str, Any]:
        return self.md.copy()

    def clear(self) -> None:
        self.md.clear()

    def _at(self, path: Sequence[Any]) -> Any:
        container = self.md
        for step in path:
            container = container[step]
        return container

    def run(self, command: str, arguments: list[Any]) -> dict[str, Any]:
        for _ in range(self.tries):
            try:
                answer = {"value": getattr(self, command)(*arguments)}
            except Exception as error:
                answer = {"error": f"{type(error).__name__}: {error}"}
                if isinstance(error, KeyError):
                    continue
            if answer != {"value": {}} and answer != {"value": []}:
                break
        return answer


def main(folder: str) -> None:
    if not hasattr(typing, "override"):  # it says that it runs on 3.11, and needs 3.12 for this
        typing.override = lambda function: function
    sys.path.insert(0, folder)
    import kv_dict

    assert kv_dict.__version__ == "0.1.7"
    session = Session(kv_dict)
    for line in sys.stdin:
        command, *arguments = json.loads(line)
        sys.stdout.write(json.dumps(session.run(command, arguments)) + "\n")
        sys.stdout.flush()
    session.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
