"""`open_mapping`: what most programs need of all this."""

from __future__ import annotations

from kv_dict.mapping import RemoteKVMapping

__all__ = ["open_mapping"]


def open_mapping(
    target: str | None = None, *, entry_point: str | None = None, reads: str | None = None
) -> RemoteKVMapping:
    """Open the dictionary in a store, ready for use: ``RunEngine(open_mapping())``.

    Parameters
    ----------
    target : str, optional
        The name of a profile, or the URL of a store. Without one, the profile that is in force: of
        ``KV_DICT_PROFILE``, of a ``kv_dict.toml``, or else a SQLite file in the user's data folder,
        which is made when it is not there; ``KV_DICT_URL`` names another store.
    entry_point : str, optional
        The scope within the store, in place of what the profile or ``KV_DICT_ENTRY_POINT`` says;
        ``"md"`` if nobody does.
    reads : {"server", "replica"}, optional
        As for `RemoteKVMapping`: from a local copy that is kept live, or from the store each time.
        With a profile ``"replica"`` if it does not say otherwise, with a URL ``"server"``.

    Returns
    -------
    RemoteKVMapping
        Connected: a store that cannot be used is found out here, not at the first read.

    Raises
    ------
    ConfigurationError
        The target is neither a profile nor a URL of a known kind, or what it names cannot be used.
    Unavailable
        The store cannot be reached.

    Examples
    --------
    >>> from kv_dict import open_mapping
    >>> with open_mapping("memory://") as md:
    ...     md["sample"] = "Fe2O3"
    ...     md["sample"]
    'Fe2O3'
    """
    from kv_dict.profiles.loading import load_profile  # noqa: PLC0415 - imported when used

    return load_profile(target, entry_point=entry_point, reads=reads).open()
