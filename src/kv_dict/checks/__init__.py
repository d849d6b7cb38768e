"""What a mapping's values have to be beyond what can be stored, because others will read them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from kv_dict.checks.run_start import check_run_start
from kv_dict.errors import ConfigurationError

__all__ = ["NAMES", "Check", "check_run_start", "checker"]

Check: TypeAlias = Callable[[str, Any], object]
"""Called with a key and the value it shall have, as it would be read: plain data.

Raises TypeError or ValueError if that is wrong, with a message for people.
"""

_CHECKS: dict[str, Check] = {"bluesky": check_run_start}
NAMES = tuple(_CHECKS)


def checker(check: str | Check | None) -> Check | None:
    """Return the check of a name, or what is one itself.

    Raises
    ------
    ConfigurationError
        There is no check of that name.
    TypeError
        Neither a name nor callable.
    """
    if check is None or callable(check):
        return check
    if not isinstance(check, str):
        raise TypeError(f"check={check!r:.60}: a name, or a function of a key and a value")
    if check not in _CHECKS:
        names = ", ".join(repr(name) for name in sorted(_CHECKS))
        raise ConfigurationError(f"check={check!r}: {names}, or a function of a key and a value")
    return _CHECKS[check]
