"""`LayeredMapping`: the values of a proposal over those of the beamline, as one dictionary."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from fnmatch import fnmatchcase
from typing import Any, Final, Self

from kv_dict.closing import Closing
from kv_dict.errors import ConfigurationError
from kv_dict.keys import KeySpace, check_key
from kv_dict.mapping.arithmetic import adding
from kv_dict.mapping.container import Container
from kv_dict.mapping.covering import Layers, commit_both
from kv_dict.mapping.following import Subscribing
from kv_dict.mapping.reading import Reading, as_dict
from kv_dict.mapping.remote import RemoteKVMapping
from kv_dict.mapping.scope import GONE, Version
from kv_dict.mapping.showing import Showing
from kv_dict.mapping.subscriptions import Subscriptions

__all__ = ["LayeredMapping"]

_MISSING: Final = object()


class LayeredMapping(Showing, Subscribing, Reading, Closing):
    """Two mappings read as one: a proposal's values over the beamline's.

    Each key belongs to one layer. Those that `belongs_under` names are read and written in the
    lower layer only. All others are written to the upper layer, and read there first; where it has
    none, what the lower layer has is read as a default.

    Parameters
    ----------
    over : RemoteKVMapping
        The upper layer: the proposal's.
    under : RemoteKVMapping
        The lower layer: the beamline's.
    belongs_under : iterable of str
        Keys, or patterns of keys such as ``"beamline_*"``, that belong to the lower layer.

    Raises
    ------
    ConfigurationError
        One layer's entry point is within the other's.

    Notes
    -----
    Thread-safe. An item of the lower layer that is read as a default is never changed: a change of
    it, also of a container in it, makes an item of the upper layer. Deleting that uncovers the
    default again.

    What is written by one call is one commit where both layers are of one backend object, as after
    `on`. Reading all items takes one snapshot of each layer.

    Subscribers are told of what is read here. What is hidden is not told; where an item of the
    upper layer goes and uncovers one below, that is told as a put.

    Examples
    --------
    >>> from kv_dict import InMemoryAsyncBackend, LayeredMapping, RemoteKVMapping
    >>> beamline = RemoteKVMapping(InMemoryAsyncBackend(), "xas")
    >>> beamline.update(scan_id=4217, detector={"exposure": 0.1})
    >>> md = LayeredMapping.on(beamline, "xas-318", belongs_under=["scan_id"])
    >>> md["sample"] = "Fe2O3"
    >>> md["detector"]["exposure"] = 2.0
    >>> md.increment("scan_id")
    4218
    >>> dict(md)
    {'detector': {'exposure': 2.0}, 'sample': 'Fe2O3', 'scan_id': 4218}
    >>> dict(beamline)
    {'detector': {'exposure': 0.1}, 'scan_id': 4218}
    >>> md.close()
    """

    def __init__(
        self,
        over: RemoteKVMapping,
        under: RemoteKVMapping,
        *,
        belongs_under: Iterable[str] = ("scan_id",),
    ) -> None:
        for name, layer in (("over", over), ("under", under)):
            if not isinstance(layer, RemoteKVMapping):
                raise TypeError(f"{name} must be a RemoteKVMapping, not {type(layer).__name__}")
        if isinstance(belongs_under, str):
            raise TypeError(
                f"belongs_under={belongs_under!r}: a list of keys, as in [{belongs_under!r}]"
            )
        self._over = over
        self._under = under
        self._rule = tuple(check_key(pattern) for pattern in belongs_under)
        self._check_apart(over.entry_point)
        self._subscriptions = Subscriptions((over._source, under._source), self.is_below)

    @classmethod
    def on(
        cls,
        under: RemoteKVMapping,
        entry_point: str,
        *,
        belongs_under: Iterable[str] = ("scan_id",),
    ) -> Self:
        """Return a mapping with a layer of that entry point over `under`.

        The upper layer is of the same store, and has the same options.
        """
        over = under.at(entry_point)
        try:
            return cls(over, under, belongs_under=belongs_under)
        except BaseException:
            over.close()
            raise

    def _check_apart(self, entry_point: str) -> None:
        over, under = self._over, self._under
        above = KeySpace(entry_point, over.sep).prefix
        below = KeySpace(under.entry_point, under.sep).prefix
        within = above.startswith(below) or below.startswith(above)
        if within and over.backend is under.backend:
            raise ConfigurationError(
                f"the layers {entry_point!r} and {under.entry_point!r}: one is within the other, "
                f"because their keys begin with {above!r} and {below!r}"
            )

    @property
    def over(self) -> RemoteKVMapping:
        """The upper layer."""
        return self._over

    @property
    def under(self) -> RemoteKVMapping:
        """The lower layer."""
        return self._under

    @property
    def belongs_under(self) -> tuple[str, ...]:
        """The keys, and patterns of keys, that belong to the lower layer."""
        return self._rule

    def is_below(self, key: str) -> bool:
        """Return whether a key belongs to the lower layer."""
        return any(key == rule or fnmatchcase(key, rule) for rule in self._rule)

    def layer(self, key: str) -> RemoteKVMapping:
        """Return the layer that a key belongs to: where it is written."""
        return self._under if self.is_below(check_key(key)) else self._over

    def layers_of(self, key: str) -> tuple[RemoteKVMapping, ...]:
        """Return the layers in which a key is looked for, in this order."""
        return (self._under,) if self.is_below(check_key(key)) else self._layers

    @property
    def _scope(self) -> Layers:  # type: ignore[override]
        return Layers(self._over._scope, self._under._scope, self.is_below)

    # -- writing ---------------------------------------------------------------------------------

    def __setitem__(self, key: str, value: Any) -> None:
        scope = self._scope.of(check_key(key))
        if isinstance(value, Container) and value.is_assigned_by_operator(scope, key):
            return
        scope.assign({key: value})

    def __delitem__(self, key: str) -> None:
        try:
            del self.layer(key)[key]
        except KeyError:
            raise self._missing(key) from None

    def _missing(self, key: str) -> KeyError:
        if key in self._under and not self.is_below(key):
            return KeyError(
                f"{key!r} is an item of {self._under.entry_point!r}, below, and is read as a "
                "default: delete it there if it shall be gone for all"
            )
        return KeyError(key)

    def update(self, other: Any = (), /, **more: Any) -> None:
        """Assign many items, each in its layer, in one atomic step if the layers share a backend.

        Where they do not, the items of the lower layer are written first. An error of the second
        write says, as a note, that the first one was done.
        """
        self.commit(as_dict(other, more))

    def commit(self, put: Any = (), *, delete: Iterable[str] = ()) -> None:
        """Assign and remove many items, as `update` assigns them.

        Parameters
        ----------
        put : mapping or pairs
            What to assign.
        delete : iterable of str
            What to remove from the layer it belongs to; a key that is not there is no error.
        """
        items = {check_key(key): value for key, value in as_dict(put, {}).items()}
        gone = {check_key(key): GONE for key in delete}
        if both := sorted(items.keys() & gone.keys()):
            raise ValueError(f"both put and deleted: {', '.join(both)}")
        items |= gone
        above = {key: value for key, value in items.items() if not self.is_below(key)}
        below = {key: value for key, value in items.items() if self.is_below(key)}
        over, under, _ = self._scope
        if not above or not below:
            if items:
                (over if above else under).assign(items)
        elif over.backend is under.backend:
            commit_both(over, under, above, below)
        else:
            over.changes(above)  # what would be refused is refused before anything is written
            under.assign(below)
            try:
                over.assign(above)
            except BaseException as error:
                error.add_note(f"written before, to the other layer: {', '.join(sorted(below))}")
                raise

    def setdefault(self, key: str, default: Any = None) -> Any:
        """Return ``self[key]``, after storing `default` where it belongs if no layer has it."""
        layers = self._scope
        stored = layers.read(check_key(key))
        if stored:
            return layers.live(stored, stored.value())
        return self.layer(key).setdefault(key, default)

    def pop(self, key: str, default: Any = _MISSING, /) -> Any:
        """Remove `key` from its layer and return what that had, detached."""
        try:
            return self.layer(key).pop(key)
        except KeyError:
            if default is _MISSING:
                raise self._missing(key) from None
            return default

    def popitem(self) -> tuple[str, Any]:
        """Remove the last item of the upper layer, and return it."""
        return self._over.popitem()

    def clear(self) -> None:
        """Remove every item of the upper layer. The lower layer stays."""
        self._over.clear()

    def transform(self, key: str, function: Callable[[Any], Any], default: Any = _MISSING) -> Any:
        """Replace a value by what a function makes of it, atomically, in the layer it belongs to.

        As `RemoteKVMapping.transform`; where the upper layer has none, the function is given what
        the lower layer has.
        """
        layer = self.layer(key)
        if layer is self._over and (stored := self._under._scope.read(key)):
            default = stored.value()
        options = () if default is _MISSING else (default,)
        return layer.transform(key, function, *options)

    def increment(self, key: str, by: float = 1) -> Any:
        """Add `by` to a number, atomically, in the layer it belongs to, and return the sum."""
        return self.transform(key, adding(by, key), 0)

    def pin(self, key: str, value: Any) -> None:
        """Have the running task read `value` at `key`; see `RemoteKVMapping.pin`."""
        self.layer(key).pin(key, value)

    @property
    def protected(self) -> tuple[str, ...]:
        """The keys that are changed only in a block of `unlocked`, each in its layer."""
        return tuple(
            sorted(
                key for each in self._layers for key in each.protected if self.layer(key) is each
            )
        )

    @contextmanager
    def unlocked(self, *keys: str) -> Iterator[None]:
        """Return a context in which these protected keys may be changed, each in its layer.

        As `RemoteKVMapping.unlocked`.
        """
        below = [key for key in keys if self.is_below(check_key(key))]
        above = [key for key in keys if not self.is_below(key)]
        with self._over.unlocked(*above), self._under.unlocked(*below):
            yield

    # -- following -------------------------------------------------------------------------------

    @property
    def stale_since(self) -> float | None:
        """Since when a layer's store is away; see `RemoteKVMapping.stale_since`."""
        since = [at for layer in self._layers if (at := layer.stale_since) is not None]
        return min(since, default=None)

    @property
    def waiting(self) -> tuple[str, ...]:
        """The keys of writes that wait for a store to come back."""
        return tuple(sorted({key for layer in self._layers for key in layer.waiting}))

    def sync(self) -> None:
        """Return when reads see everything that was acknowledged, to anybody, before the call."""
        for layer in self._layers:
            layer.sync()

    def peek(self, key: str, default: Any = None) -> Any:
        """Return what the replicas hold of an item; see `RemoteKVMapping.peek`."""
        found = default
        for layer in reversed(self.layers_of(key)):
            found = layer.peek(key, found)
        return found

    def version(self, key: str) -> Version:
        """Return an item, plain and detached, with its revision and time in the layer it is in."""
        for layer in self.layers_of(key):
            with suppress(KeyError):
                return layer.version(key)
        raise KeyError(key)

    # -- life ------------------------------------------------------------------------------------

    @property
    def _layers(self) -> tuple[RemoteKVMapping, RemoteKVMapping]:
        return self._over, self._under

    def switch(self, entry_point: str) -> None:
        """Put the items of another entry point over the lower layer, in place of those there now.

        As `RemoteKVMapping.switch` of the upper layer.
        """
        self._check_apart(entry_point)
        self._over.switch(entry_point)

    def close(self) -> None:
        """Close both layers. Idempotent."""
        for layer in self._layers:
            layer.close()
        self._subscriptions.close()

    def __enter__(self) -> Self:
        for layer in self._layers:
            layer._scope.check_open()
        return self
