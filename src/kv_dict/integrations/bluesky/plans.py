"""What a RunEngine hands to its preprocessors: the plan that was made, in a generator or two."""

from __future__ import annotations

import inspect
from typing import Any

__all__ = ["discard", "name_of"]


def _made(plan: Any) -> Any:
    """Return the object that a plan function of bluesky's returned, which has not begun yet."""
    from bluesky.utils import Plan  # noqa: PLC0415 - only where there are plans

    if inspect.isgenerator(plan):
        maker = inspect.getgeneratorlocals(plan).get("self")
        if isinstance(maker, Plan):
            return maker
    return plan


def name_of(plan: Any) -> str:
    """Return the name of a plan that has not begun yet."""
    made = _made(plan)
    made = getattr(made, "_iter", made)  # within a Plan, the generator of the function
    return str(getattr(made, "__name__", type(made).__name__))


def discard(plan: Any) -> None:
    """Close a plan that will not begin, so that bluesky does not warn that it was forgotten."""
    _made(plan).close()
    plan.close()
