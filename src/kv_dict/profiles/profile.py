"""`Profile`: all that is said of how to reach a store and how to use it, put together."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from kv_dict.backend import Backend
from kv_dict.credentials import Secret
from kv_dict.errors import ConfigurationError
from kv_dict.mapping import RemoteKVMapping
from kv_dict.portal import face_of

__all__ = ["Profile", "Setting", "default_path"]


def default_path() -> Path:
    """Return the SQLite file that is used when nothing else is said: one for each user."""
    import platformdirs  # noqa: PLC0415 - costs what a caller with a URL need not pay

    return platformdirs.user_data_path("kv-dict", appauthor=False) / "metadata.db"


class Setting(NamedTuple):
    """One setting of a profile, for people.

    Attributes
    ----------
    name : str
        The key, with that of its table: ``timeout``, ``tls.ca``.
    value : object
        What is in force; of a secret, three asterisks.
    origin : str
        Where it comes from: a file and the table in it, ``environment KV_DICT_URL``, ``argument``,
        or ``default``.
    """

    name: str
    value: Any
    origin: str


@dataclass(frozen=True, slots=True, eq=False)
class Profile:
    """How to reach a store, and how to use it. Immutable; made by `load_profile`.

    Shows no secret, in `repr` and in `settings`; a pickle of it holds them.

    Attributes
    ----------
    name : str
        What it is called; ``"(url)"`` if it was made of a URL alone.
    url : str
        The store, masked.
    entry_point : str
        The scope within the store.
    separator : str or None
        Between entry point and key; None for flat keys behind a literal prefix.
    reads : {"server", "replica"}
        Where reads are answered.
    timeout : float
        Seconds after which any operation gives up.
    on_outage : {"fail", "continue"}
        What a write does when the store is away.
    protected : tuple of str
        Keys that the mapping changes only when they are unlocked.
    check : {"none", "bluesky"}
        What refuses values when they are written.
    require_baton : bool
        Whether only the holder of the baton may run plans; `BeamlineSession` obeys it.
    settings : tuple of Setting
        All of it, with where it comes from.
    """

    name: str
    url: str
    entry_point: str
    separator: str | None
    reads: str
    timeout: float
    on_outage: str
    protected: tuple[str, ...]
    check: str
    require_baton: bool
    settings: tuple[Setting, ...] = field(repr=False)
    _address: Secret = field(repr=False)
    _defaults: Mapping[str, Any] = field(repr=False)
    _dashboard: Mapping[str, Any] = field(repr=False)
    _folder: Path | None = field(repr=False)  # to be made, for the default store

    @property
    def defaults(self) -> dict[str, Any]:
        """What `open` puts into the mapping where it is missing: a copy."""
        return copy.deepcopy(dict(self._defaults))

    @property
    def checked_by(self) -> str | None:
        """The `check` of a `RemoteKVMapping`."""
        return None if self.check == "none" else self.check

    @property
    def dashboard(self) -> dict[str, Any]:
        """What its table of that name says, not checked yet: a copy, for `Layout.of_profile`."""
        return copy.deepcopy(dict(self._dashboard))

    def reveal_url(self) -> str:
        """Return the URL with its secrets, for a program that opens it by itself."""
        return self._address.reveal()

    def backend(self) -> Backend:
        """Return the store, not connected."""
        from kv_dict.backends import open_backend  # noqa: PLC0415 - a driver is imported when used

        self.make_folder()
        return open_backend(self.reveal_url())

    @property
    def makes_folder(self) -> bool:
        """Whether it is the default store, whose folder is made when it is first needed."""
        return self._folder is not None

    def make_folder(self) -> None:
        """Make the folder of the default store; nothing for any other."""
        if self._folder is None:
            return
        try:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise ConfigurationError(
                f"cannot make {self._folder}, where metadata is kept by default "
                f"({error.strerror}); say where with KV_DICT_URL=sqlite:////some/folder/"
                "metadata.db"
            ) from None

    def mapping(self, *, unlocked: bool = False) -> RemoteKVMapping:
        """Return a mapping of it, not connected, and without the defaults: to look, say.

        An `unlocked` one protects no keys, and checks no values.
        """
        return RemoteKVMapping(
            self.backend(),
            self.entry_point,
            self.separator,
            reads=self.reads,
            timeout=self.timeout,
            on_outage=self.on_outage,
            protected=() if unlocked else self.protected,
            check=None if unlocked else self.checked_by,
        )

    def open(self) -> RemoteKVMapping:
        """Return a mapping of it, connected, with the defaults in it.

        Each default is put where its key is missing, atomically: nothing is overwritten, whoever
        else opens it at the same time. A protected key may be among them.

        Raises
        ------
        ConfigurationError
            The store cannot be used.
        Unavailable
            It cannot be reached.

        Examples
        --------
        >>> from kv_dict.profiles import load_profile
        >>> with load_profile("memory://").open() as md:
        ...     md["sample"] = "Fe2O3"
        """
        mapping = self.mapping()
        try:
            face_of(mapping.backend).ping(timeout=mapping.timeout)
            with mapping.unlocked(*self._defaults):
                for key, value in self.defaults.items():
                    mapping.setdefault(key, value)
        except BaseException:
            mapping.close()
            raise
        return mapping
