"""`require_baton`: no plan begins in a session that has not got the baton."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from kv_dict.coordination import Baton
from kv_dict.errors import NotHolder
from kv_dict.integrations.bluesky.plans import discard, name_of

if TYPE_CHECKING:
    from bluesky import RunEngine

__all__ = ["require_baton"]


def require_baton(RE: RunEngine, baton: Baton) -> Callable[[], None]:  # noqa: N803
    """Have a RunEngine refuse plans while this session has not got the baton.

    Asks the store at each ``RE(plan)``, before anything of the plan happens. While the store is
    away plans can begin until the baton's lease is over. A plan that is under way is not stopped,
    and one that was paused can be resumed.

    Parameters
    ----------
    RE : bluesky.RunEngine
        The RunEngine.
    baton : Baton
        Whose `acquire` and `release` this session calls when it wants to.

    Returns
    -------
    callable
        Call it to have no baton required any more.

    Raises
    ------
    NotHolder
        By ``RE(plan)``: says who has the baton, and how to get it.

    Examples
    --------
    >>> from bluesky import RunEngine
    >>> from bluesky.plan_stubs import null
    >>> from kv_dict.coordination import Baton
    >>> RE = RunEngine(md)
    >>> with Baton(md) as baton:
    ...     undo = require_baton(RE, baton)
    ...     RE(null())
    Traceback (most recent call last):
        ...
    kv_dict.errors.NotHolder: the plan 'null' did not begin: nobody holds the baton...
    """

    def check(plan: Any) -> Any:
        try:
            baton.check()
        except NotHolder as refusal:
            name = name_of(plan)
            discard(plan)
            raise NotHolder(f"the plan {name!r} did not begin: {refusal}") from None
        return plan

    RE.preprocessors.insert(0, check)  # before those of others, which may act

    def undo() -> None:
        if check in RE.preprocessors:
            RE.preprocessors.remove(check)

    return undo
