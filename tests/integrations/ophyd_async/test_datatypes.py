"""What fits which datatype, and what is said of what does not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from ophyd_async.core import Array1D, Table
from ophyd_async.testing import (
    ExampleEnum,
    ExampleSubsetEnum,
    ExampleSupersetEnum,
    ExampleTable,
)

from kv_dict.codec import JSONCodec
from kv_dict.integrations.ophyd_async.datatypes import Misfit, datatype_of, equal

FITTING = [
    (bool, True, True),
    (bool, np.bool_(False), False),
    (int, 5, 5),
    (int, 5.0, 5),
    (int, np.int16(5), 5),
    (int, np.float64(-3.0), -3),
    (int, 2**70, 2**70),
    (float, 5, 5.0),
    (float, np.float32(0.5), 0.5),
    (float, float("nan"), float("nan")),
    (str, "Fe₂O₃", "Fe₂O₃"),
    (str, ExampleEnum.A, "Aaa"),
    (ExampleEnum, "Bbb", ExampleEnum.B),
    (ExampleSupersetEnum, "Ddd", ExampleSupersetEnum.D),
    (ExampleSubsetEnum, "Aaa", ExampleSubsetEnum.A),
    (ExampleSubsetEnum, "not listed", "not listed"),
    (np.ndarray, [[1, 2], [3, 4]], np.array([[1, 2], [3, 4]])),
    (np.ndarray, [], np.array([])),
    (np.ndarray, [1.5, float("nan")], np.array([1.5, float("nan")])),
    (Array1D[np.int8], [1, -128], np.array([1, -128], "i1")),
    (Array1D[np.int8], [], np.array([], "i1")),
    (Array1D[np.uint64], [2**64 - 1], np.array([2**64 - 1], "u8")),
    (Array1D[np.int32], [1.0, 2.0], np.array([1, 2], "i4")),
    (Array1D[np.int32], np.array([1, 2], "u1"), np.array([1, 2], "i4")),
    (Array1D[np.float32], [1.1, 2], np.array([1.1, 2], "f4")),
    (Array1D[np.bool_], [True, False], np.array([True, False])),
    (Sequence[str], ("a", "b"), ["a", "b"]),
    (Sequence[str], np.array(["a", "b"]), ["a", "b"]),
    (Sequence[ExampleEnum], ["Aaa", "Ccc"], [ExampleEnum.A, ExampleEnum.C]),
    (Table, {"x": [1, 2], "name": ["a", "b"]}, Table(x=np.array([1, 2]), name=["a", "b"])),
]

MISFITS = [
    (bool, 1, "1 (int), which is not a bool"),
    (int, True, "True (bool), which is not an int"),
    (int, 5.5, "5.5 (float), which is not an int"),
    (int, float("inf"), "inf (float), which is not an int"),
    (float, "fast", "'fast' (str), which is not a float"),
    (float, True, "True (bool), which is not a float"),
    (float, 10**400, "which is not a float"),
    (float, None, "None (NoneType), which is not a float"),
    (str, 5, "5 (int), which is not a str"),
    (str, "x" * 100 and ["x" * 100], "(list), which is not a str"),
    (ExampleEnum, "Zzz", "'Zzz' (str), which is not one of 'Aaa', 'Bbb', 'Ccc' (ExampleEnum)"),
    (ExampleSupersetEnum, "Zzz", "which is not one of 'Aaa', 'Bbb', 'Ccc', 'Ddd'"),
    (ExampleSubsetEnum, 3, "3 (int), which is not one of 'Aaa', 'Bbb' (ExampleSubsetEnum)"),
    (np.ndarray, [[1], [2, 3]], "which is not an array of numbers"),
    (np.ndarray, ["a"], "which is not an array of numbers"),
    (np.ndarray, {"a": 1}, "which is not an array of numbers"),
    (Array1D[np.int8], [200], "[200] (list), which is not a one-dimensional array of int8"),
    (Array1D[np.uint8], [-1], "array of uint8"),
    (Array1D[np.int32], [1.5], "array of int32"),
    (Array1D[np.int32], [float("nan")], "array of int32"),
    (Array1D[np.int32], [float("inf")], "array of int32"),
    (Array1D[np.int64], np.array([1e300]), "array of int64"),
    (Array1D[np.float64], [[1.0]], "a one-dimensional array of float64"),
    (Array1D[np.float64], [True], "array of float64"),
    (Array1D[np.float64], [1j], "array of float64"),
    (Array1D[np.bool_], [1, 0], "array of bool"),
    (Sequence[str], "abc", "'abc' (str), which is not a list of strings"),
    (Sequence[str], [1], "[1] (list), which is not a list of strings"),
    (Sequence[ExampleEnum], ["Aaa", "Zzz"], "a list in which each is one of 'Aaa', 'Bbb', 'Ccc'"),
    (ExampleTable, {"a_bool": [True]}, "with the columns a_bool, a_int, a_float, a_str, a_enum"),
    (ExampleTable, [1], "[1] (list), which is not a ExampleTable"),
    (Table, {"x": [[1]]}, "a Table in which a column holds [[1]] (list)"),
    (Table, {"x": [1], "y": [1, 2]}, "not a valid one: "),
]


def called(value: Any) -> str:
    return getattr(value, "__name__", str(value))[:40]


@pytest.mark.parametrize(("kind", "given", "expected"), FITTING, ids=called)
def test_what_fits_comes_back_from_the_store(kind: Any, given: Any, expected: Any) -> None:
    datatype = datatype_of(kind)
    fitted = datatype.fit(given)
    assert equal(fitted, expected), fitted
    codec = JSONCodec()
    stored = codec.decode(codec.encode(datatype.stored(fitted), "md"), "md")
    assert equal(datatype.fit(stored), expected)


@pytest.mark.parametrize(("kind", "given", "message"), MISFITS, ids=called)
def test_what_does_not_fit_is_named(kind: Any, given: Any, message: str) -> None:
    with pytest.raises(Misfit) as caught:
        datatype_of(kind).fit(given)
    assert message in str(caught.value)
    assert len(str(caught.value)) < 250


@pytest.mark.parametrize("kind", [kind for kind, *_ in FITTING], ids=called)
def test_empty_values_fit(kind: Any) -> None:
    datatype = datatype_of(kind)
    assert equal(datatype.fit(datatype.stored(datatype.empty())), datatype.empty())


@pytest.mark.parametrize(
    "kind", [None, complex, dict, list, 5, Array1D[np.complex128], Sequence[int], Any], ids=called
)
def test_what_is_no_datatype_is_refused(kind: Any) -> None:
    with pytest.raises(TypeError, match="is no datatype of a signal"):
        datatype_of(kind)


def test_what_is_equal() -> None:
    one, other = np.array([1, 2]), np.array([1, 3])
    assert equal(float("nan"), float("nan"))
    assert not equal(1, 1.0)
    assert not equal(1, True)
    assert not equal(one, other)
    assert not equal(one, one.astype("f4"))
    assert not equal(one, [1, 2])
    assert equal(Table(x=one), Table(x=one.copy()))
    assert not equal(Table(x=one), Table(x=other))
    assert not equal(Table(x=one), Table(y=one))


def test_arrays_may_be_changed() -> None:
    codec = JSONCodec()
    stored = codec.decode(codec.encode(np.array([1.0, 2.0]), "md"), "md")
    for kind in (np.ndarray, Array1D[np.float64]):
        array = datatype_of(kind).fit(stored)
        array[0] = 5
