"""Where somebody who takes part keeps things."""

from __future__ import annotations

from typing import NamedTuple


class Where(NamedTuple):
    """Where a competitor keeps its items.

    Attributes
    ----------
    folder : str
        A folder of its own, which exists.
    scope : str
        An entry point or prefix of its own.
    url : str
        Of the server that it needs, as `kv_dict.open_mapping` takes it.
    port : int
        Of that server, on 127.0.0.1.
    """

    folder: str
    scope: str
    url: str = ""
    port: int = 0
