"""One value as a program holds it: a tree of containers, and the entries it was read from.

A mutation is an action on one container. It is applied to a fresh plain copy of what was read, the
result is committed with compare-and-set, and on a conflict the action is applied again to what is
stored now. So nothing but the action itself ever reaches the store: neither what other writers
changed meanwhile is undone, nor anything done to the local containers behind their methods' back.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from kv_dict.errors import ConflictError, Unavailable
from kv_dict.mapping.place import Place, follow, is_container, moves
from kv_dict.mapping.retry import attempts
from kv_dict.mapping.scope import Scope
from kv_dict.mapping.stored import Stored

if TYPE_CHECKING:
    from kv_dict.mapping.container import Container

__all__ = ["Action", "Held", "shape_lock"]

Action = Callable[[Any], Any]
"""What a mutating method does, to a plain container of the same kind; it may be applied again."""


class _ShapeLock:
    """Guards which containers a tree consists of, for the microseconds it takes to change that."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        os.register_at_fork(after_in_child=self._renew)

    def _renew(self) -> None:
        self._lock = threading.Lock()

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *exc_info: object) -> None:
        self._lock.release()


shape_lock = _ShapeLock()


class Held:
    """The state behind the containers of one ``md[key]``.

    Mutations through it take turns (a lock of its own, which a mutation holds until the store has
    answered); reading its containers takes no lock.

    Attributes
    ----------
    scope : Scope
        Where the value lives.
    stored : Stored
        The entries it was read from, or that its last mutation left.
    top : Container
        The outermost container.
    """

    __slots__ = ("_turn", "scope", "stored", "top")

    def __init__(self, scope: Scope, stored: Stored) -> None:
        self.scope = scope
        self.stored = stored
        self.top: Container
        self._turn = threading.RLock()

    def mutate(self, container: Container, action: Action, read: Any = None) -> Any:
        """Commit what `action` does to `container`; return what it returned, as plain data.

        Parameters
        ----------
        container : Container
            One of this tree.
        action : callable
            Called with a plain container of the same kind; again after each conflict. What it
            raises is raised here, and nothing is written.
        read : tuple of one key or index, or None
            An item whose value the action was computed from: if somebody else changed that very
            item meanwhile, applying the action again would undo it, so it is a conflict.

        Raises
        ------
        ConflictError
            `container` is no longer part of the value, here or in the store.
        """
        timeout = self.scope.timeout
        if not self._turn.acquire(timeout=timeout):
            raise Unavailable(
                f"md[{self.stored.key!r}]: another thread's change through the same containers "
                f"did not end within {timeout:g} s; nothing was written"
            )
        try:
            place = Place.of(container, self.stored.key)
            stored, value = self.stored, self.stored.value()
            target = place.find(value)
            indices = _containers_in(target)
            for left in attempts(timeout, str(place)):
                items = list(target) if isinstance(target, list) else []
                result = action(target)
                operations = stored.replacement(value)
                if operations:
                    try:
                        revisions = self.scope.commit(operations, left)
                    except ConflictError:
                        pass
                    else:
                        stored = stored.after(operations, revisions)
                        break
                fresh = self.scope.load(stored.key, left)
                if not operations and fresh.same_as(stored):
                    break  # the action changed nothing, and still would not
                # Somebody else has changed the value: find the container in what it is now.
                old, value = stored.value(), fresh.value() if fresh else None
                before = place.find(old)
                place = place.moved(old, value)
                target = place.find(value)
                indices = {
                    local: at
                    for local, index in indices.items()
                    if (at := follow(before, index, target)) is not None
                }
                stored = fresh
                if read is not None and (reason := place.changed(read[0], before, target)):
                    self._show(stored, place, indices)
                    raise ConflictError(reason)
            moved = moves(items, target)
            self._show(
                stored, place, {local: moved[at] for local, at in indices.items() if at in moved}
            )
            return result
        finally:
            self._turn.release()

    def _show(self, stored: Stored, place: Place, moved: dict[int, int]) -> None:
        """Make the local containers show what is stored now."""
        value = stored.value()
        known = place.known_moves()
        known[id(place.container)] = moved
        with shape_lock:
            self.stored = stored
            self.top.show(value, known)


def _containers_in(target: Any) -> dict[int, int]:
    """Return the indices of a list's containers, each by itself; none for other containers."""
    if not isinstance(target, list):
        return {}
    return {index: index for index, item in enumerate(target) if is_container(item)}
