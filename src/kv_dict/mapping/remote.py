"""`RemoteKVMapping`: a dictionary that lives in a store."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable
from typing import Any, Final, Self

from kv_dict.backend import Backend
from kv_dict.closing import Closing
from kv_dict.errors import ConflictError
from kv_dict.keys import KeySpace, check_key
from kv_dict.locks import Turn
from kv_dict.mapping.arithmetic import adding
from kv_dict.mapping.container import Container, plain
from kv_dict.mapping.feed import Source
from kv_dict.mapping.following import Following
from kv_dict.mapping.guarded import Guarded
from kv_dict.mapping.options import Options, check_timeout
from kv_dict.mapping.pins import pin
from kv_dict.mapping.protection import Protecting, protected_keys
from kv_dict.mapping.reading import Reading, as_dict
from kv_dict.mapping.retry import attempts
from kv_dict.mapping.scope import Scope
from kv_dict.mapping.showing import Showing
from kv_dict.mapping.stored import Stored
from kv_dict.mapping.subscriptions import Subscriptions
from kv_dict.mapping.switching import Switching

__all__ = ["RemoteKVMapping"]

_MISSING: Final = object()


class RemoteKVMapping(Showing, Following, Guarded, Protecting, Switching, Reading, Closing):
    """A dictionary whose items live in a store that others may use at the same time.

    Behaves as a dict: every operation of one is here and gives the same results. The differences
    are those that sharing makes: keys are strings, values have to be storable, iteration is in the
    order of the keys, and another program may have changed what is there since the last line.

    A container that is read (``md["scan"]``) is a real dict, list, set or bytearray, and changes of
    it, at any depth, are written to the store. A copy (``md.copy()``, ``dict(md)``,
    ``copy.deepcopy(md)``, a slice) is plain and detached.

    Parameters
    ----------
    backend : Backend
        Where it lives. Several mappings may use one backend; the last one closed closes it.
    entry_point : str
        The scope: mappings of different entry points know nothing of each other.
    sep : str or None
        Between entry point and key in the store. None for no separator: the entry point is then
        the literal beginning of each stored key.
    json_encoder, json_decoder : callable, optional
        Functions of value to JSON text and back, in place of the built-in codec.
    reads : {"server", "replica"}
        ``"server"``: each read asks the store. ``"replica"``: reads are answered by a local copy,
        which a watch keeps live, in a microsecond and during an outage too (`stale_since`). One's
        own writes are seen at once, those of others as fast as the store tells; after `sync`, all.
    timeout : float
        Seconds after which any operation gives up, with an error that says what is known.
    on_outage : {"fail", "continue"}
        What a write does when the store is away: raise, or, with a replica, wait in this process
        until it is back. See :doc:`/explanations/outages`.
    protected : iterable of str
        Keys that this mapping changes only in a block of `unlocked`; others may change them.
    check : {"bluesky"} or callable, optional
        What refuses values when they are written. ``"bluesky"``: those with which no run could
        begin. A function is called with each key and its new value, plain as it would be read, and
        raises TypeError or ValueError if that is wrong.

    Raises
    ------
    Unavailable
        By any operation: the store cannot be reached; nothing was written.
    OutcomeUnknown
        By any writing operation: the store did not answer; it may or may not have been written.
    EncodeError
        By any writing operation: a key or value cannot be stored; nothing was written.
    ProtectedError
        By any writing operation: it would change a protected key; nothing was written.
    CheckError
        By any writing operation: `check` refuses a value; nothing was written.
    DecodeError
        By reading an item: what is stored there is not a value.
    ClosedError
        By any operation after `close`.

    Notes
    -----
    Thread-safe, and usable in a forked child. Each operation is atomic; a sequence of them is not:
    ``md["n"] += 1`` reads and then writes. Use `increment` or `transform` for that.

    Items whose value cannot be decoded, because another program wrote something else there, are
    left out of iteration, `len` and copies, with a warning in the log; reading one raises
    DecodeError, and it can be assigned and deleted.

    Examples
    --------
    >>> from kv_dict import InMemoryAsyncBackend, RemoteKVMapping
    >>> md = RemoteKVMapping(InMemoryAsyncBackend(), "ep1")
    >>> md["user"] = {"name": "Ada", "visits": [1]}
    >>> md["user"]["visits"].append(2)
    >>> md["user"]
    {'name': 'Ada', 'visits': [1, 2]}
    >>> md.increment("scan_id")
    1
    >>> md.close()
    """

    _scope: Scope

    def __init__(
        self,
        backend: Backend,
        entry_point: str,
        sep: str | None = ":",
        *,
        json_encoder: Callable[[Any], str | bytes] | None = None,
        json_decoder: Callable[[str], Any] | None = None,
        reads: str = "server",
        timeout: float = 5.0,
        on_outage: str = "fail",
        protected: Iterable[str] = (),
        check: str | Callable[[str, Any], object] | None = None,
    ) -> None:
        if not isinstance(backend, Backend):
            raise TypeError(
                f"backend must be a Backend, such as SQLiteBackend(path), not "
                f"{type(backend).__name__}; open_mapping() takes a URL"
            )
        self._options = Options(
            json_encoder,
            json_decoder,
            reads,
            timeout,
            on_outage,
            protected_keys(protected),
            check,
        )
        self._switches = Turn()
        self._switch_checks = []
        self._scope = self._open(backend, KeySpace(entry_point, sep), float(timeout))
        self._source = Source(self._scope)
        self._subscriptions = Subscriptions((self._source,))

    def _open(self, backend: Backend, space: KeySpace, timeout: float) -> Scope:
        """Return a scope to use as the options say."""
        return Scope(
            backend,
            space,
            self._options.codec,
            timeout,
            local=self._options.reads == "replica",
            holds_back=self._options.on_outage == "continue",
            protected=self._options.protected,
            check=self._options.checker,
        )

    @property
    def backend(self) -> Backend:
        """Where it lives."""
        return self._scope.backend

    @property
    def entry_point(self) -> str:
        """The scope within the store."""
        return self._scope.space.entry_point

    @property
    def sep(self) -> str | None:
        """What is between entry point and key in the store."""
        return self._scope.space.sep

    @property
    def reads(self) -> str:
        """Where reads are answered: ``"server"`` or ``"replica"``."""
        return self._options.reads

    @property
    def on_outage(self) -> str:
        """What a write does when the store is away: ``"fail"`` or ``"continue"``."""
        return self._options.on_outage

    @property
    def timeout(self) -> float:
        """Seconds after which any operation gives up; may be set."""
        return self._scope.timeout

    @timeout.setter
    def timeout(self, seconds: float) -> None:
        self._scope.timeout = check_timeout(seconds)

    # -- writing ---------------------------------------------------------------------------------

    def __setitem__(self, key: str, value: Any) -> None:
        if isinstance(value, Container) and value.is_assigned_by_operator(self._scope, key):
            return
        self.update({key: value})

    def __delitem__(self, key: str) -> None:
        self._remove(check_key(key), lambda stored: None)

    def update(self, other: Any = (), /, **more: Any) -> None:
        """Assign many items in one atomic step: all of them are written or none.

        Takes what `dict.update` takes: a mapping, pairs, keyword arguments.
        """
        items = {check_key(key): value for key, value in as_dict(other, more).items()}
        if items:
            self._scope.assign(items)

    def setdefault(self, key: str, default: Any = None) -> Any:
        """Return ``self[key]``, after storing `default` there if it was missing; atomic."""
        check_key(key)
        scope = self._scope

        def put(timeout: float) -> Stored:
            for stored, left in scope.versions(key, timeout):
                if stored:
                    break
                operations = scope.replacement(stored, default)
                try:
                    return stored.after(operations, scope.commit(operations, left()))
                except ConflictError:
                    continue
            return stored

        stored = scope.in_turn(key, put)
        return scope.live(stored, stored.value())

    def pop(self, key: str, default: Any = _MISSING, /) -> Any:
        """Remove `key` and return its value, detached; `default` or KeyError if it is missing."""
        try:
            return self._remove(check_key(key), Stored.value)
        except KeyError:
            if default is _MISSING:
                raise
            return default

    def _remove(self, key: str, take: Callable[[Stored], Any]) -> Any:
        """Remove a checked key, and return what `take` made of it before."""
        scope = self._scope

        def remove(timeout: float) -> Any:
            for stored, left in scope.versions(key, timeout):
                if not stored and scope.local:  # it may be there all the same: ask
                    stored = scope.load(key, left())  # noqa: PLW2901
                if not stored:
                    raise KeyError(key)
                taken = take(stored)
                try:
                    scope.commit(stored.removal(), left())
                except ConflictError:
                    continue
                break
            return taken

        return scope.in_turn(key, remove)

    def popitem(self) -> tuple[str, Any]:
        """Remove the last item, in the order of the keys, and return it, detached."""
        scope = self._scope
        for left in attempts(scope.timeout, "the last item"):
            readable = scope.readable(left())
            if not readable:
                raise KeyError("popitem(): mapping is empty")
            last, value = readable[-1]
            try:
                scope.commit(last.removal(), left())
            except ConflictError:
                scope.catch_up(left())
                continue
            break
        return last.key, value

    def clear(self) -> None:
        """Remove every item of this entry point, in one atomic step."""
        self._scope.clear()

    def transform(self, key: str, function: Callable[[Any], Any], default: Any = _MISSING) -> Any:
        """Replace a value by what a function makes of it, atomically.

        Parameters
        ----------
        key : str
            The item.
        function : callable
            Called with the present value, plain and detached, and returns the new one. Called
            again whenever another program changed the item meanwhile: it should do nothing else.
        default : object, optional
            What it is called with where the item is missing.

        Returns
        -------
        object
            The new value, as it was stored.

        Raises
        ------
        KeyError
            The item is missing, and there is no default.
        ConflictError
            Others changed it at every attempt until the timeout; nothing was written.

        Examples
        --------
        >>> md.transform("samples", lambda names: names + ["Fe2O3"], default=[])
        ['Fe2O3']
        """
        check_key(key)
        scope = self._scope

        def replace(timeout: float) -> Any:
            for stored, left in scope.versions(key, timeout):
                if not stored and default is _MISSING:
                    raise KeyError(key)
                new = function(stored.value() if stored else plain(default))
                operations = scope.replacement(stored, new)
                try:
                    revisions = scope.commit(operations, left()) if operations else ()
                except ConflictError:
                    continue
                break
            return stored.after(operations, revisions).value()

        return scope.in_turn(key, replace)

    def increment(self, key: str, by: float = 1) -> Any:
        """Add `by` to a number, atomically, and return the sum; a missing item counts as 0.

        Raises
        ------
        TypeError
            The item, or `by`, is not a number.

        Examples
        --------
        >>> md.increment("scan_id")
        1
        """
        return self.transform(key, adding(by, key), 0)

    def pin(self, key: str, value: Any) -> None:
        """Have the running asyncio task read `value` at `key`, whatever others have stored since.

        For a number that was taken with `increment` or `transform`, and that code one does not own
        assigns and reads back: assigning just that value makes the store hold at least that, and
        never less than what others have stored since. Any other change of the item by this task
        ends it. Other tasks and threads read what is stored.

        Raises
        ------
        RuntimeError
            Not in an asyncio task.
        """
        pin(self._scope, check_key(key), value)

    def at(self, entry_point: str) -> Self:
        """Return another mapping, of another entry point of the same store, with these options.

        It has to be closed on its own.
        """
        scope = self._scope
        options = self._options.as_keywords() | {"timeout": scope.timeout}
        return type(self)(scope.backend, entry_point, scope.space.sep, **options)

    @classmethod
    def fromkeys(
        cls,
        keys: Iterable[str],
        value: Any = None,
        *,
        backend: Backend,
        entry_point: str,
        **options: Any,
    ) -> Self:
        """Return a mapping in whose store each of `keys` now has `value`.

        Unlike `dict.fromkeys` it writes, in one atomic step, and so has to be told where; items
        that are there under other keys stay. `options` are those of the constructor.
        """
        mapping = cls(backend, entry_point, **options)
        try:
            mapping.update(dict.fromkeys(keys, value))
        except BaseException:
            mapping.close()
            raise
        return mapping

    def __reduce__(self) -> tuple[Any, ...]:
        scope = self._scope
        options = self._options.as_keywords() | {"timeout": scope.timeout}
        where = scope.backend, scope.space.entry_point, scope.space.sep
        return _reopen, (type(self), where, options)

    # -- life ------------------------------------------------------------------------------------

    def close(self) -> None:
        """Release the mapping, and close the backend if no other mapping uses it. Idempotent."""
        while True:
            scope = self._scope
            scope.close()
            if scope is self._scope:  # and no switch has come in between
                break
        self._subscriptions.close()

    def __enter__(self) -> Self:
        self._scope.check_open()
        return self

    def __del__(self) -> None:
        scope = getattr(self, "_scope", None)  # None: the constructor failed
        if scope is not None and not scope.closed and scope.backend.capabilities.persistent:
            warnings.warn(
                f"unclosed {type(self).__name__}({scope})",
                ResourceWarning,
                stacklevel=2,
                source=self,
            )
        if scope is not None:
            scope.abandon()


def _reopen(
    kind: type[RemoteKVMapping], where: tuple[Backend, str, str | None], options: dict[str, Any]
) -> RemoteKVMapping:
    """Unpickle a mapping: a new one, connected to the same store."""
    return kind(*where, **options)
