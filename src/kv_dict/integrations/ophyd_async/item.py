"""One value of a mapping, at the top or deeper, as a signal sees it: blocking calls, no loop."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, Final, NamedTuple
from urllib.parse import quote

from kv_dict.errors import ConfigurationError, DecodeError, EncodeError
from kv_dict.integrations.ophyd_async.datatypes import Datatype, Misfit
from kv_dict.keys import KeySpace, check_key
from kv_dict.mapping import LayeredMapping, RemoteKVMapping

__all__ = ["Item", "Key", "Present", "steps_of"]

Key = str | Sequence[str]
"""Where a value is: a key, ``"detector/exposure"``, or its steps, ``("detector", "exposure")``."""

_MISSING: Final = object()


def steps_of(key: Key) -> tuple[str, ...]:
    """Return the steps to a value: the key of the mapping, and those into its dicts.

    A string is cut at each ``/``; a key that holds one is given in a tuple. None for ``""``.

    Raises
    ------
    TypeError
        Not a string nor strings.
    ConfigurationError
        A step is empty.
    """
    if isinstance(key, str):
        steps = tuple(key.split("/")) if key else ()
    elif isinstance(key, Sequence):
        steps = tuple(key)
    else:
        raise TypeError(f"key={key!r}: a string, 'detector/exposure', or a tuple of its steps")
    for step in steps:
        if not check_key(step):
            raise ConfigurationError(f"key={key!r}: a step of it is empty")
    return steps


class Present(NamedTuple):
    """A value of the datatype, and when it was written (POSIX seconds), if that is known."""

    value: Any
    time: float | None


class Item:
    """A value of a datatype in a mapping. Thread-safe.

    Parameters
    ----------
    md : RemoteKVMapping or LayeredMapping
        Where it is.
    steps : tuple of str
        The key, and the steps into the dict that is there.
    datatype : Datatype
        What it is.
    initial : object or None
        What it is where nothing is stored; None for nothing, which is an error then.
    """

    def __init__(
        self,
        md: RemoteKVMapping | LayeredMapping,
        steps: tuple[str, ...],
        datatype: Datatype,
        initial: Any,
    ) -> None:
        self.md = md
        self.key, *self._below = steps
        self.datatype = datatype
        self.where = "md" + "".join(f"[{step!r}]" for step in steps)
        self.initial = None if initial is None else self.checked(initial, "initial=")

    @property
    def layers(self) -> tuple[RemoteKVMapping, ...]:
        """The mappings in which the key is looked for; it is written to the first one."""
        md = self.md
        return md.layers_of(self.key) if isinstance(md, LayeredMapping) else (md,)

    @property
    def nested(self) -> bool:
        """Whether it is only a part of what is stored under the key."""
        return bool(self._below)

    @property
    def uri(self) -> str:
        """The store, the stored key, and the steps into its value: no passwords."""
        md = self.layers[0]
        key = KeySpace(md.entry_point, md.sep).spell(self.key)
        steps = "/".join(quote(step, safe=":@") for step in (key, *self._below))
        return f"kv+{md.backend.url}#{steps}"

    # -- reading ---------------------------------------------------------------------------------

    def read(self) -> Present:
        """Return the present value, as the mapping reads.

        Raises
        ------
        KeyError
            There is none, and no initial value.
        DecodeError
            What is stored is not of the datatype; says what it is.
        """
        try:
            version = self.md.version(self.key)
        except KeyError:
            return Present(self.value_in(_MISSING), None)
        return Present(self.value_in(version.value), version.time)

    def value_in(self, stored: Any) -> Any:
        """Return the value within what is stored under the key; errors as of `read`."""
        for depth, step in enumerate(self._below):
            if stored is _MISSING:
                break
            if not isinstance(stored, dict):
                raise DecodeError(f"{self.where} cannot be read: {self._no_dict(depth, stored)}")
            stored = stored.get(step, _MISSING)
        if stored is _MISSING:
            if self.initial is not None:
                return self.initial
            md = self.layers[0]
            raise KeyError(
                f"{self.where} is missing in {md.backend.url}, entry point {md.entry_point!r}: set "
                "the signal, or give it an initial value"
            )
        try:
            return self.datatype.fit(stored)
        except Misfit as misfit:
            raise DecodeError(
                f"{self.where} holds {misfit}; write a value that fits, or change the datatype of "
                "the signal"
            ) from None

    def missing(self) -> Any:
        """Return the value where nothing is stored; errors as of `read`."""
        return self.value_in(_MISSING)

    # -- writing ---------------------------------------------------------------------------------

    def checked(self, value: Any, what: str = "") -> Any:
        """Return `value` as one of the datatype.

        Raises
        ------
        EncodeError
            It is not.
        """
        try:
            return self.datatype.fit(value)
        except Misfit as misfit:
            raise EncodeError(f"{self.where} cannot be set to {what}{misfit}") from None

    def write(self, value: Any) -> None:
        """Store a value of the datatype; what is stored beside it stays as it is, or is to become.

        Raises as assigning to an item of the mapping does.
        """
        stored = self.datatype.stored(value)
        if self._below:
            self.md.transform(self.key, partial(self._planted, stored=stored), {})
        else:
            self.md[self.key] = stored

    def ensure(self) -> None:
        """Store the initial value if nothing is stored."""
        if self.initial is None:
            return
        stored = self.datatype.stored(self.initial)
        if not self._below:
            self.md.setdefault(self.key, stored)
            return
        if not self._is_there():  # of layers, changing nothing would copy what is below
            self.md.transform(self.key, partial(self._planted, stored=stored, keep=True), {})

    def _is_there(self) -> bool:
        place: Any = self.md.get(self.key)
        for step in self._below:
            if not isinstance(place, dict) or step not in place:
                return False
            place = place[step]
        return True

    def _planted(self, root: Any, *, stored: Any, keep: bool = False) -> Any:
        """Return `root`, the value of the key, with `stored` at its place; `keep` what is there."""
        *between, last = self._below
        place = root
        for depth, step in enumerate([*between, None]):
            if not isinstance(place, dict):
                raise EncodeError(f"{self.where} cannot be set: {self._no_dict(depth, place)}")
            if step is not None:
                place = place.setdefault(step, {})
        if not (keep and last in place):
            place[last] = stored
        return root

    def _no_dict(self, depth: int, found: Any) -> str:
        around = "".join(f"[{step!r}]" for step in (self.key, *self._below[:depth]))
        return f"md{around} holds {found!r:.60} ({type(found).__name__}), which is no dict"
