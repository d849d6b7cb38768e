"""From operations to one command that applies all of them or none."""

from __future__ import annotations

import bisect
import hashlib
import time
from collections.abc import Callable, Sequence
from typing import Any, Final

from kv_dict.backends.redis.resp import pack
from kv_dict.errors import EncodeError
from kv_dict.model import ABSENT, DeletePrefix, Operation, Put

__all__ = ["SCRIPT", "Plan", "wait_for_replicas"]

MAX_VALUE: Final = 512 * 1024 * 1024

# A Lua error does not undo what was written before it. So every guard is checked first; puts come
# before deletes, because a server that is out of memory, read-only or without a disk refuses the
# first of them, and then nothing was done. An error that comes later all the same (of an ACL that
# allows SET and not DEL, say) is told as such. KEYS: guarded, put, deleted, deleted if a string.
SCRIPT: Final = b"""
local guards, puts, deletes = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local conflicts = {}
for i = 1, guards do
  local found, expected = redis.pcall('GET', KEYS[i]), ARGV[3 + i]
  if type(found) == 'table' or (found == false) ~= (expected == '') or
     (found and '=' .. found ~= expected) then
    conflicts[#conflicts + 1] = i
  end
end
if #conflicts > 0 then return conflicts end
local written, refused = false, nil
local function write(...)
  local reply = redis.pcall(...)
  if type(reply) == 'table' and reply.err then
    refused = refused or redis.error_reply((written and 'PARTIAL ' or '') .. reply.err)
  else
    written = true
  end
  return refused
end
for i = guards + 1, guards + puts do
  if write('SET', KEYS[i], ARGV[3 + i]) then return refused end
end
for i = guards + puts + 1, guards + puts + deletes do
  if write('DEL', KEYS[i]) then return refused end
end
for i = guards + puts + deletes + 1, #KEYS do
  if redis.pcall('TYPE', KEYS[i]).ok == 'string' then
    if write('DEL', KEYS[i]) then return refused end
  end
end
return conflicts
"""
_SHA: Final = hashlib.sha1(SCRIPT, usedforsecurity=False).hexdigest().encode()


class Plan:
    """What a commit comes to.

    Parameters
    ----------
    operations : sequence of Operation
        Checked: no key is named twice.
    under : callable
        Returns the keys that there may be under a prefix.

    Attributes
    ----------
    puts : dict of str to bytes
        What is written in the end.
    deletes, pruned : set of str
        What is not there in the end: named, or for being under a prefix (if it is a string).
    """

    def __init__(
        self, operations: Sequence[Operation], under: Callable[[int, str], set[str]]
    ) -> None:
        self.guards: list[tuple[str, bytes]] = []
        self.puts: dict[str, bytes] = {}
        self.deletes: set[str] = set()
        self.pruned: set[str] = set()
        sorted_puts: list[str] = []  # so that a prefix need not be compared with each of them
        for position, operation in enumerate(operations):
            if isinstance(operation, DeletePrefix):
                self.pruned |= under(position, operation.prefix)
                first = bisect.bisect_left(sorted_puts, operation.prefix)
                while first < len(sorted_puts) and sorted_puts[first].startswith(operation.prefix):
                    key = sorted_puts.pop(first)
                    self.pruned.add(key)
                    del self.puts[key]
                continue
            if operation.expected is ABSENT:
                self.guards.append((operation.key, b""))
            elif operation.expected is not None:
                self.guards.append((operation.key, b"=" + _as_bytes(operation.expected)))
            if isinstance(operation, Put):
                if len(operation.value) > MAX_VALUE:
                    raise EncodeError(f"{operation.key!r}: Redis holds values up to 512 MiB")
                self.puts[operation.key] = operation.value
                bisect.insort(sorted_puts, operation.key)
            else:
                self.deletes.add(operation.key)
        self.pruned -= self.puts.keys() | self.deletes

    @property
    def writes(self) -> bool:
        """Whether anything is written if the guards hold."""
        return bool(self.puts or self.deletes or self.pruned)

    def request(self) -> tuple[bytes, bool]:
        """Return the packed command, and whether it is the script."""
        if not (self.guards or self.deletes or self.pruned):
            if not self.puts:  # nothing under the prefixes, as far as is known: the answer tells
                return pack(b"PING"), False
            if len(self.puts) == 1:
                ((key, value),) = self.puts.items()
                return pack(b"SET", key.encode(), value), False
            words = [b"MSET"]
            for key, value in self.puts.items():
                words += (key.encode(), value)
            return pack(*words), False
        return self.script(b"EVALSHA", _SHA), True

    def script(self, command: bytes = b"EVAL", body: bytes = SCRIPT) -> bytes:
        """Return the packed call of the script."""
        keys = [key for key, _ in self.guards]
        keys += self.puts
        keys += sorted(self.deletes)
        keys += sorted(self.pruned)
        counts = (len(self.guards), len(self.puts), len(self.deletes))
        return pack(
            command,
            body,
            b"%d" % len(keys),
            *[key.encode() for key in keys],
            *[b"%d" % count for count in counts],
            *[expected for _, expected in self.guards],
            *self.puts.values(),
        )

    def conflicts(self, reply: Any) -> list[str]:
        """Return the keys that were not as expected, from the script's reply."""
        return [self.guards[number - 1][0] for number in reply]


def wait_for_replicas(number: int, deadline: float) -> bytes:
    """Return the packed question how many replicas have what was written on this connection."""
    left = max(int(0.8 * 1000 * (deadline - time.monotonic())), 1)  # its answer takes some time too
    return pack(b"WAIT", b"%d" % number, b"%d" % left)


def _as_bytes(revision: int | str | bytes) -> bytes:
    # Another backend's revision never matches: a value of ours begins with no such byte.
    return revision if isinstance(revision, bytes) else b"\xff" + str(revision).encode()
