"""Where a container is within a value, also after somebody else has changed that value.

A step into a dict is its key. A step into a list is an index, which other writers may shift: so it
is followed by what was there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from kv_dict.errors import ConflictError

if TYPE_CHECKING:
    from kv_dict.mapping.container import Container

__all__ = ["Moves", "Place", "follow", "is_container", "moves"]

Moves = dict[int, dict[int, int]]
"""By the identity of a local list: the old index of an item to its new one."""


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

    def changed(self, item: Any, before: Any, now: Any) -> str | None:
        """Return a message if `item` of the container is not what it was before."""
        was, became = _item(before, item), _item(now, item)
        if was == became:
            return None
        return (
            f"{self}[{item!r}] was {was!r:.60} when it was read here, and others have made it "
            f"{became!r:.60}; nothing was written. It shows the new value now: do it again, or "
            "use increment() or transform()"
        )

    def known_moves(self) -> Moves:
        """Return where this place's own steps went, for the local lists it passes."""
        return {
            id(parent): {old: new}
            for parent, old, new in zip(self._parents, self._old, self._steps, strict=True)
            if isinstance(parent, list)
        }


def _item(container: Any, item: Any) -> Any:
    try:
        return container[item]
    except (KeyError, IndexError):
        return "nothing"


def follow(old: list[Any], index: int, new: list[Any]) -> int | None:
    """Return where in `new` the item ``old[index]`` is; None if that cannot be told."""
    item = old[index]
    if index < len(new) and new[index] == item:
        return index
    equal = [at for at, other in enumerate(new) if other == item]
    if len(equal) == 1:
        return equal[0]
    return index if len(old) == len(new) else None  # changed where it is, by somebody else


def moves(before: Sequence[Any], after: Any) -> dict[int, int]:
    """Return old index to new index of the containers that an action moved within a plain list."""
    if not before:
        return {}
    place = {id(item): index for index, item in enumerate(before)}
    return {
        place[id(item)]: index
        for index, item in enumerate(after)
        if id(item) in place and is_container(item)
    }


def is_container(item: Any) -> bool:
    """Return whether a plain item is of a kind that is wrapped."""
    return isinstance(item, dict | list | set | bytearray)
