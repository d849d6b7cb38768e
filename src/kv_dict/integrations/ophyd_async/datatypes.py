"""What each datatype of ophyd-async is in the store, and what of it fits.

A value is converted where nothing is lost by it: 5 is a float, 5.0 an int, a JSON list of numbers
an array. Anything else is a `Misfit`, in both directions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, get_args, get_origin

import numpy as np
from ophyd_async.core import EnumTypes, SignalDatatype, Table, get_dtype, get_enum_cls

__all__ = ["Datatype", "Misfit", "datatype_of", "equal"]


class Misfit(Exception):
    """A value that is not of the datatype; says what it is and what it should be."""


@dataclass(frozen=True)
class Datatype:
    """One datatype.

    Attributes
    ----------
    name : str
        What messages call it: "a float".
    fit : callable
        Returns a value of the datatype made of what the store or a caller gave, or raises Misfit.
    empty : callable
        Returns the value that a signal has which nobody ever set: 0, "", the first choice.
    stored : callable
        Returns what the mapping is given for a value of the datatype.
    """

    name: str
    fit: Callable[[Any], Any]
    empty: Callable[[], Any]
    stored: Callable[[Any], Any] = lambda value: value


def datatype_of(kind: Any) -> Datatype:
    """Return how values of one of ophyd-async's datatypes are handled.

    Raises
    ------
    TypeError
        ophyd-async has no such datatype.
    """
    if kind in _PRIMITIVES:
        return _PRIMITIVES[kind]
    if isinstance(kind, type) and issubclass(kind, EnumTypes):
        return _enum(kind)
    if kind is np.ndarray:
        return Datatype("an array of numbers", _fit_array, lambda: np.array([]))
    if isinstance(kind, type) and get_origin(kind) is None and issubclass(kind, Table):
        return _table(kind)
    if get_origin(kind) is np.ndarray and kind in get_args(SignalDatatype):
        dtype = get_dtype(kind)
        name = f"a one-dimensional array of {dtype}"
        fit = partial(_fit_array1d, dtype=dtype, name=name)
        return Datatype(name, fit, lambda: np.array([], dtype))
    if get_origin(kind) is Sequence:
        (of,) = get_args(kind)
        if of is str or get_enum_cls(of) is not None:
            return _sequence(datatype_of(of))
    raise TypeError(
        f"{kind!r} is no datatype of a signal; they are bool, int, float, str, Array1D[...], "
        "np.ndarray, Sequence[str], a Table, and a StrictEnum, SubsetEnum or SupersetEnum or a "
        "Sequence of one"
    )


def equal(one: Any, other: Any) -> bool:
    """Return whether two values of a datatype are the same; NaN is the same as NaN."""
    if isinstance(one, np.ndarray) or isinstance(other, np.ndarray):
        return (
            isinstance(one, np.ndarray)
            and isinstance(other, np.ndarray)
            and one.dtype == other.dtype
            and np.array_equal(one, other, equal_nan=one.dtype.kind in "fc")
        )
    if isinstance(one, Table) and isinstance(other, Table):
        columns, others = dict(one), dict(other)
        return columns.keys() == others.keys() and all(
            equal(column, others[name]) for name, column in columns.items()
        )
    return type(one) is type(other) and bool(one == other or (one != one and other != other))


def _misfit(value: Any, name: str) -> Misfit:
    kind = type(value)
    shown = f"{value!r:.60}" if len(repr(value)) <= 60 else f"{value!r:.57}..."
    return Misfit(f"{shown} ({kind.__name__}), which is not {name}")


# -- numbers and strings ---------------------------------------------------------------------------


def _fit_bool(value: Any) -> bool:
    if isinstance(value, bool | np.bool_):
        return bool(value)
    raise _misfit(value, "a bool")


def _fit_int(value: Any) -> int:
    plain = value.item() if isinstance(value, np.generic) else value
    if isinstance(plain, int) and not isinstance(plain, bool):
        return int(plain)
    if isinstance(plain, float) and plain.is_integer():
        return int(plain)
    raise _misfit(value, "an int")


def _fit_float(value: Any) -> float:
    plain = value.item() if isinstance(value, np.generic) else value
    if isinstance(plain, int | float) and not isinstance(plain, bool):
        try:
            return float(plain)
        except OverflowError:
            raise _misfit(value, "a float") from None
    raise _misfit(value, "a float")


def _fit_str(value: Any) -> str:
    if isinstance(value, str):
        return str.__str__(value)
    raise _misfit(value, "a str")


_PRIMITIVES: dict[Any, Datatype] = {
    bool: Datatype("a bool", _fit_bool, bool),
    int: Datatype("an int", _fit_int, int),
    float: Datatype("a float", _fit_float, float),
    str: Datatype("a str", _fit_str, str),
}


def _enum(kind: Any) -> Datatype:
    choices = list(kind)
    name = f"one of {', '.join(repr(choice.value) for choice in choices)} ({kind.__name__})"

    def fit(value: Any) -> Any:
        if not isinstance(value, str):
            raise _misfit(value, name)
        try:
            return kind(value)  # of a SubsetEnum: any string
        except ValueError:
            raise _misfit(value, name) from None

    return Datatype(name, fit, lambda: choices[0], _fit_str)


# -- arrays ----------------------------------------------------------------------------------------


def _fit_array(value: Any) -> np.ndarray[Any, Any]:
    if isinstance(value, np.ndarray | list | tuple | np.generic):
        try:
            array = np.array(value)  # a copy: what a mapping returns is read-only
        except ValueError:  # rows of different lengths
            raise _misfit(value, "an array of numbers") from None
        if array.dtype.kind in "biufc":
            return array
    raise _misfit(value, "an array of numbers")


def _fit_array1d(value: Any, dtype: np.dtype[Any], name: str) -> np.ndarray[Any, Any]:
    if isinstance(value, list | tuple) and not value:
        return np.array([], dtype)
    try:
        array = _fit_array(value)
    except Misfit:
        raise _misfit(value, name) from None
    if array.ndim != 1 or not _holds(dtype, array):
        raise _misfit(value, name)
    return array.astype(dtype)


def _holds(dtype: np.dtype[Any], array: np.ndarray[Any, Any]) -> bool:
    """Return whether `dtype` has every value of `array`; floats may be rounded."""
    kind, given = dtype.kind, array.dtype.kind
    if kind == "b" or given in "bc":
        return given == kind or array.size == 0
    if kind == "f" or array.size == 0:
        return True
    if given == "f" and not np.array_equal(array, np.trunc(array)):  # NaN is not equal either
        return False
    bounds = np.iinfo(dtype)
    least, most = array.min(), array.max()
    return bool(np.isfinite(least) and np.isfinite(most)) and (
        bounds.min <= int(least) and int(most) <= bounds.max
    )


def _sequence(of: Datatype) -> Datatype:
    name = "a list of strings" if of.name == "a str" else f"a list in which each is {of.name}"

    def fit(value: Any) -> list[Any]:
        if isinstance(value, np.ndarray) and value.ndim == 1:
            value = value.tolist()
        if not isinstance(value, list | tuple):
            raise _misfit(value, name)
        try:
            return [of.fit(item) for item in value]
        except Misfit:
            raise _misfit(value, name) from None

    return Datatype(name, fit, list, lambda value: [of.stored(item) for item in value])


# -- tables ----------------------------------------------------------------------------------------


def _table(kind: type[Table]) -> Datatype:
    columns = {
        name: datatype_of(field.annotation)
        for name, field in kind.model_fields.items()
        if field.annotation is not None
    }
    name = f"a {kind.__name__}"
    if columns:
        name += f" with the columns {', '.join(columns)}"

    def fit(value: Any) -> Table:
        if isinstance(value, Table):
            value = dict(value)
        if not isinstance(value, dict) or (columns and value.keys() != columns.keys()):
            raise _misfit(value, name)
        try:
            return kind(**{step: _column(columns, step).fit(value[step]) for step in value})
        except Misfit as misfit:
            raise Misfit(f"{name} in which a column holds {misfit}") from None
        except ValueError as error:  # columns of different lengths
            said = str(error).partition("[type=")[0].strip().splitlines()[-1].strip()
            raise Misfit(f"{name}, but not a valid one: {said}") from None

    def empty() -> Table:
        return kind(**{step: column.empty() for step, column in columns.items()})

    def stored(table: Table) -> dict[str, Any]:
        return {step: _column(columns, step).stored(column) for step, column in table}

    return Datatype(name, fit, empty, stored)


def _column(columns: dict[str, Datatype], name: str) -> Datatype:
    return columns.get(name, _ANY_COLUMN)


def _fit_any_column(value: Any) -> Any:
    """Return a column of a `Table` that says nothing of its columns."""
    try:
        array = _fit_array(value)
    except Misfit:
        return _STRINGS.fit(value)
    if array.ndim != 1:
        raise _misfit(value, _ANY_COLUMN.name)
    return array


_STRINGS = _sequence(_PRIMITIVES[str])
_ANY_COLUMN = Datatype("a column of numbers or of strings", _fit_any_column, list)
