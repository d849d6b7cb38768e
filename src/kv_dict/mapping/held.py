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

from kv_dict.errors import ConflictError
from kv_dict.mapping.place import LIVE, Place, containers_in, follow, item_of, moves
from kv_dict.mapping.retry import attempts
from kv_dict.mapping.scope import Scope
from kv_dict.mapping.stored import Stored

if TYPE_CHECKING:
    from kv_dict.mapping.container import Container

__all__ = ["Action", "Held", "shape_lock"]

Action = Callable[[Any], Any]
"""What a mutating method does, to a plain container of the same kind; it may be applied again."""


shape_lock = threading.RLock()
"""Guards which containers a tree consists of, for the microseconds it takes to change that.

Used with ``with`` and nothing else, which leaves an interrupt no gap.
"""
os.register_at_fork(
    before=shape_lock.acquire,
    after_in_parent=shape_lock.release,
    after_in_child=shape_lock.release,
)


class Held:
    """The state behind the containers of one ``md[key]``.

    Mutations take turns, which last until the store has answered; reading takes no lock.

    Attributes
    ----------
    scope : Scope
        Where the value lives.
    stored : Stored
        The entries it was read from, or that its last mutation left.
    top : Container
        The outermost container.
    """

    __slots__ = ("scope", "stored", "top")

    def __init__(self, scope: Scope, stored: Stored) -> None:
        self.scope = scope
        self.stored = stored
        self.top: Container

    def mutate(self, container: Container, action: Action, read: Any = None) -> Any:
        """Commit what `action` does to `container`; return what it returned, as plain data.

        Parameters
        ----------
        container : Container
            One of this tree.
        action : callable
            Called with a plain container of the same kind; again after each conflict. What it
            raises is raised here, and nothing is written.
        read : tuple of a key or index, and a value, or None
            An item that the action was computed from, and what it was when it was read. If others
            have changed that very item, applying the action would undo it: that is a conflict.

        Raises
        ------
        ConflictError
            `container` is no longer part of the value, here or in the store.
        """
        self.scope.check_here()
        return self.scope.in_turn(
            self.stored.key, lambda timeout: self._mutate(container, action, read, timeout)
        )

    def _mutate(self, container: Container, action: Action, read: Any, timeout: float) -> Any:
        place = Place.of(container, self.stored.key)
        stored, value = self.stored, self.stored.value()
        target = place.find(value)
        # Of each container in it: from where it is locally to where it is in `target`.
        steps: dict[Any, Any] = {step: step for step in containers_in(target)}
        if read is not None and read[1] is LIVE:
            read = (read[0], item_of(target, read[0]))
        for left in attempts(timeout, str(place)):
            if read is not None and read[1] != (now := item_of(target, read[0])):
                self._show(stored, place, steps)
                raise ConflictError(
                    f"{place}[{read[0]!r}] was {read[1]!r:.60} when it was read here, and "
                    f"others have made it {now!r:.60}; nothing was written. It shows the new "
                    "value now: do it again, or use increment() or transform()"
                )
            inside = containers_in(target)
            result = action(target)
            operations = self.scope.replacement(stored, value)
            if operations:
                try:
                    revisions = self.scope.commit(operations, left())
                except ConflictError:
                    pass
                else:
                    stored = stored.after(operations, revisions)
                    break
            fresh = self.scope.load(stored.key, left())
            if not operations and fresh.same_as(stored):
                break  # the action changed nothing, and still would not
            # Somebody else has changed the value: find the container in what it is now.
            old, value = stored.value(), fresh.value() if fresh else None
            before = place.find(old)
            place = place.moved(old, value)
            target = place.find(value)
            if isinstance(target, list):
                steps = {
                    local: None if step is None else follow(before, step, target)
                    for local, step in steps.items()
                }
            stored = fresh
        moved = moves(inside, target)
        self._show(stored, place, {local: moved.get(step) for local, step in steps.items()})
        return result

    def _show(self, stored: Stored, place: Place, moved: dict[Any, Any]) -> None:
        """Make the local containers show what is stored now."""
        value = stored.value()
        known = place.known_moves()
        known[id(place.container)] = moved
        with shape_lock:
            self.stored = stored
            if type(value) is self.top.base:
                self.top.show(value, known)
