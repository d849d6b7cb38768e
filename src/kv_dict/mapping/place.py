"""Where a container is within a value, also after somebody else has changed that value.

A step into a dict is its key. A step into a list is an index, which other writers may shift: so it
is followed by what was there.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final

from kv_dict.errors import ConflictError

if TYPE_CHECKING:
    from kv_dict.mapping.container import Container

__all__ = ["LIVE", "NOTHING", "Moves", "Place", "containers_in", "follow", "item_of", "moves"]

Moves = dict[int, dict[Any, Any]]
"""By the identity of a local container: an item's old key or index to its new one, None if gone."""

NOTHING: Final = "nothing"
"""What an item is that is not there, for comparing and for messages."""

LIVE: Final = object()
"""Stands for a container that was read: it is compared with what the store held."""


class Place:
    """The containers from the top of a value down to one of them, and the step into each.

    Attributes
    ----------
    container : Container
        The one at the end.
    """

    def __init__(
        self,
        key: str,
        container: Container,
        parents: Sequence[Container],
        old: list[Any],
        new: list[Any],
    ) -> None:
        self.container = container
        self._key = key
        self._parents = parents
        self._old = old  # the steps in the local containers
        self._steps = new  # the steps in the value that is looked at

    @classmethod
    def of(cls, container: Container, key: str) -> Place:
        """Return the place of a local container; ConflictError if its tree has lost it."""
        parents: list[Container] = []
        steps: list[Any] = []
        child = container
        while child.tie is not None and (parent := child.tie.parent) is not None:
            step = parent.step_to(child)
            if step is None:
                raise ConflictError(
                    f"a {container.base.__name__} that was read from md[{key!r}] is no longer in "
                    "it: it was replaced or removed, here; nothing was written. Read it again"
                )
            parents.append(parent)
            steps.append(step)
            child = parent
        parents.reverse()
        steps.reverse()
        return cls(key, container, parents, steps, steps)

    def __str__(self) -> str:
        return f"md[{self._key!r}]" + "".join(f"[{step!r}]" for step in self._steps)

    def find(self, value: Any) -> Any:
        """Return the plain container at this place of a plain `value`.

        Raises
        ------
        ConflictError
            There is none, or one of another kind.
        """
        for step in self._steps:
            try:
                value = value[step]
            except (KeyError, IndexError, TypeError):
                value = None
        if type(value) is not self.container.base:
            became = "gone" if value is None else f"a {type(value).__name__}"
            raise ConflictError(
                f"{self} was a {self.container.base.__name__} when it was read, and is {became} "
                "now; nothing was written. Read it again"
            )
        return value

    def moved(self, old: Any, new: Any) -> Place:
        """Return this place in `new`, which others made of `old`."""
        steps: list[Any] = []
        for step in self._steps:
            if isinstance(old, list) and isinstance(new, list):
                index = follow(old, step, new)
                if index is None:
                    raise ConflictError(
                        f"others changed the list at md[{self._key!r}]"
                        f"{''.join(f'[{s!r}]' for s in steps)}, and its item {step} cannot be told "
                        "from the rest any more; nothing was written. Read it again"
                    )
                steps.append(index)
            else:
                index = step
                steps.append(step)
            try:
                old, new = old[step], new[index]
            except (KeyError, IndexError, TypeError):
                steps = [*steps, *self._steps[len(steps) :]]
                break  # `find` will say what is missing
        return Place(self._key, self.container, self._parents, self._old, steps)

    def known_moves(self) -> Moves:
        """Return where this place's own steps went, for the local lists it passes."""
        return {
            id(parent): {old: new}
            for parent, old, new in zip(self._parents, self._old, self._steps, strict=True)
            if isinstance(parent, list)
        }


def item_of(container: Any, item: Any) -> Any:
    """Return an item of a plain container, `NOTHING` if it has no such item."""
    try:
        return container[item]
    except (KeyError, IndexError):
        return NOTHING


def follow(old: list[Any], index: int, new: list[Any]) -> int | None:
    """Return where in `new` the item ``old[index]`` is; None if that cannot be told.

    It is where it was if it is still the same there, or if nothing but it has changed; and it is
    elsewhere if there, and only there, is something equal.
    """
    item = old[index]
    if index < len(new) and new[index] == item:
        return index
    if len(old) == len(new) and all(
        was == now for at, (was, now) in enumerate(zip(old, new, strict=True)) if at != index
    ):
        return index
    equal = [at for at, other in enumerate(new) if other == item]
    return equal[0] if len(equal) == 1 and old.count(item) == 1 else None


def containers_in(target: Any) -> dict[Any, Any]:
    """Return the containers directly in a plain container, by key or index."""
    steps: Iterable[tuple[Any, Any]] = ()
    if isinstance(target, dict):
        steps = target.items()
    elif isinstance(target, list):
        steps = enumerate(target)
    return {step: item for step, item in steps if isinstance(item, dict | list | set | bytearray)}


def moves(before: dict[Any, Any], target: Any) -> dict[Any, Any]:
    """Return, for the containers that were in `target` before an action, where they are now."""
    place = {id(item): step for step, item in containers_in(target).items()}
    return {step: place.get(id(item)) for step, item in before.items()}
