"""Items with their revisions, and writing several of them if they are as they were."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from kv_dict.errors import ConflictError
from kv_dict.keys import check_key
from kv_dict.mapping.retry import attempts
from kv_dict.mapping.scope import Scope, Version
from kv_dict.mapping.stored import Stored
from kv_dict.model import ABSENT, Delete, DeletePrefix, Operation, Put, Revision

__all__ = ["Guarded"]


class Guarded:
    """What a mapping offers to those who care which state they change."""

    _scope: Scope

    def version(self, key: str) -> Version:
        """Return an item, plain and detached, with its revision and when it was written.

        As reads see it: from the replica, where they are answered by one.

        Raises
        ------
        KeyError
            The item is missing.

        Examples
        --------
        >>> md["energy"] = 7.1
        >>> md.version("energy").value
        7.1
        """
        stored = self._scope.read(check_key(key))
        if not stored:
            raise KeyError(key)
        return _version(stored, stored.value())

    def versions(self) -> dict[str, Version]:
        """Return all items with their times and revisions, as of one point in time."""
        return {stored.key: _version(stored, value) for stored, value in self._scope.readable()}

    def commit(
        self,
        put: Mapping[str, Any] | Iterable[tuple[str, Any]] = (),
        *,
        delete: Iterable[str] = (),
        expected: Mapping[str, Revision | None] | None = None,
    ) -> dict[str, Version]:
        """Assign and remove many items in one atomic step, if some of them are as expected.

        Parameters
        ----------
        put : mapping or pairs
            What to assign, as `update` does.
        delete : iterable of str
            What to remove; a key that is not there is no error, unless it is expected.
        expected : mapping of str to revision or None, optional
            For keys among these: the revision of their `version`, None for a key that must not be
            there. The others are written whatever they are.

        Returns
        -------
        dict of str to Version
            What was assigned, with the new revisions. Their times are not known.

        Raises
        ------
        ConflictError
            Something is not as expected; nothing was written. Its ``keys`` are those of the
            mapping.

        Examples
        --------
        >>> md["sample"] = "Fe2O3"
        >>> seen = md.version("sample").revision
        >>> made = md.commit({"sample": "CeO2", "cycle": 3}, expected={"sample": seen})
        >>> md.commit({"sample": "Au"}, expected={"sample": seen})
        Traceback (most recent call last):
            ...
        kv_dict.errors.ConflictError: md['sample'] is not as expected; nothing was written
        """
        items = {check_key(key): value for key, value in dict(put).items()}
        removed = dict.fromkeys(check_key(key) for key in delete)
        guards = dict(expected or {})
        if twice := sorted(items.keys() & removed.keys()):
            raise ValueError(f"both put and deleted: {', '.join(twice)}")
        if unused := sorted(guards.keys() - items.keys() - removed.keys()):
            raise ValueError(f"expected, but neither put nor deleted: {', '.join(unused)}")
        if not items and not removed:
            return {}
        scope = self._scope
        data = {key: scope.encoded(key, value) for key, value in items.items()}
        revisions = _commit(scope, data, removed, guards)
        return {
            key: Version(scope.codec.decode(data[key], f"md[{key!r}]"), None, revisions[key])
            for key in items
        }


def _commit(
    scope: Scope,
    data: Mapping[str, bytes],
    removed: Iterable[str],
    guards: Mapping[str, Revision | None],
) -> dict[str, Revision]:
    """Commit encoded values; return their revisions."""
    space = scope.space
    for left in attempts(scope.timeout, " and ".join(f"md[{key!r}]" for key in guards)):
        found = _found(scope, guards, left())
        wrong = [k for k, guard in guards.items() if guard != _revision(found.get(k))]
        if wrong:
            names = ", ".join(f"md[{key!r}]" for key in wrong)
            verb = "is" if len(wrong) == 1 else "are"
            raise ConflictError(f"{names} {verb} not as expected; nothing was written", wrong)
        operations: list[Operation] = []
        for key in (*removed, *data):
            spelt = space.spell(key)
            entries = found[key].entries if key in found else ()
            operations += [Delete(e.key, e.revision) for e in entries if e.key != spelt]
            if space.sep is not None:
                operations.append(DeletePrefix(spelt + space.sep))
            own = next((e.revision for e in entries if e.key == spelt), None)
            guard = (ABSENT if own is None else own) if key in guards else None
            if key in data:
                operations.append(Put(spelt, data[key], guard))
            elif not entries or own is not None:
                operations.append(Delete(spelt, guard))
        try:
            revisions = scope.commit(operations, left())
        except ConflictError:
            continue  # between the look and the commit; what it is now decides
        made = _puts(operations, revisions)
        return {key: made[space.spell(key)] for key in data}
    raise AssertionError  # the attempts end with an error


def _found(scope: Scope, keys: Mapping[str, object], timeout: float) -> dict[str, Stored]:
    """Return what the store has of some keys now: asked one by one, or all at once."""
    if len(keys) <= 1:
        return {key: stored for key in keys if (stored := scope.load(key, timeout))}
    return {s.key: s for s in scope.ask_everything(timeout) if s.key in keys}


def _version(stored: Stored, value: Any) -> Version:
    times = [entry.time for entry in stored.entries if entry.time is not None]
    revision = _revision(stored)
    assert revision is not None  # noqa: S101 - it has entries
    return Version(value, max(times, default=None), revision)


def _revision(stored: Stored | None) -> Revision | None:
    """Return the token of an item: that of its entry, or one made of those of several."""
    if not stored:
        return None
    if len(stored.entries) == 1:
        return stored.entries[0].revision
    from hashlib import blake2b  # noqa: PLC0415 - with OpenSSL behind it, slow to import

    digest = blake2b(digest_size=16)
    for entry in stored.entries:
        digest.update(repr((entry.key, entry.revision)).encode("utf-8", "surrogatepass"))
    return digest.hexdigest()


def _puts(
    operations: Sequence[Operation], revisions: Sequence[Revision | None]
) -> dict[str, Revision]:
    return {
        operation.key: revision
        for operation, revision in zip(operations, revisions, strict=True)
        if isinstance(operation, Put) and revision is not None
    }
