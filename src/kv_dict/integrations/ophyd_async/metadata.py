"""Units, precision and limits: what the documents say of a value beside its type."""

from __future__ import annotations

from typing import Any, cast, get_type_hints

from event_model import Limits
from ophyd_async.core import SignalMetadata

from kv_dict.errors import ConfigurationError

__all__ = ["check_within", "metadata_of"]


def metadata_of(where: str, units: Any, precision: Any, limits: Any) -> SignalMetadata:
    """Return what was given; `where` names the value in messages.

    Raises
    ------
    TypeError
        One is of a wrong type.
    ConfigurationError
        One cannot be.
    """
    metadata = SignalMetadata()
    if units is not None:
        if not isinstance(units, str):
            raise TypeError(f"{where}: units={units!r}: a string, such as 'mm'")
        metadata["units"] = units
    if precision is not None:
        if isinstance(precision, bool) or not isinstance(precision, int):
            raise TypeError(f"{where}: precision={precision!r}: a number of digits")
        if precision < 0:
            raise ConfigurationError(f"{where}: precision={precision!r}: 0 digits or more")
        metadata["precision"] = precision
    if limits is not None:
        metadata["limits"] = _limits(where, limits)
    return metadata


def _limits(where: str, limits: Any) -> Limits:
    known = get_type_hints(Limits)
    if isinstance(limits, dict):
        if unknown := sorted(limits.keys() - known.keys()):
            raise ConfigurationError(
                f"{where}: limits of {', '.join(map(repr, unknown))}: there are {', '.join(known)}"
            )
        made = cast("Limits", dict(limits))
    elif isinstance(limits, tuple | list) and len(limits) == 2:
        made = Limits(control={"low": limits[0], "high": limits[1]})
    else:
        raise TypeError(
            f"{where}: limits={limits!r}: (low, high), or a dict of some of {', '.join(known)}"
        )
    low, high = _control(made)
    for bound in (low, high):
        if bound is not None and (isinstance(bound, bool) or not isinstance(bound, int | float)):
            raise TypeError(f"{where}: limits={limits!r}: {bound!r} is no number")
    if low is not None and high is not None and not low <= high:
        raise ConfigurationError(f"{where}: limits={limits!r}: the low one is above the high one")
    return made


def check_within(metadata: SignalMetadata, value: Any, where: str) -> None:
    """Raise ValueError for a number outside the control limits."""
    if "limits" not in metadata or not isinstance(value, int | float):
        return
    low, high = _control(metadata["limits"])
    if not ((low is None or low <= value) and (high is None or value <= high)):
        raise ValueError(
            f"{where} cannot be set to {value!r}: its control limits are {low!r} to {high!r}"
        )


def _control(limits: Limits) -> tuple[Any, Any]:
    control = limits.get("control") or {"low": None, "high": None}
    return control.get("low"), control.get("high")
