"""A YAML file: a mapping, each of whose entries is an item; also what apstools' `StoredDict` wrote.

`StoredDict` writes with PyYAML's full dumper, which puts tags of Python on whatever is not plain
YAML. Tuples, complex numbers, numpy's scalars and ordered dicts are understood here; no other tag
is followed, because that would run the code that it names.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from typing import Any, Final

from kv_dict.codec.tags import MARK, restore
from kv_dict.errors import ConfigurationError, DecodeError
from kv_dict.migration.sources.source import (
    PathSource,
    Progress,
    Reading,
    Unreadable,
    Unusable,
    bytes_of,
)

__all__ = ["StoredDictFile", "YAMLFile", "is_of_stored_dict"]

_MOST_VALUES: Final = 10_000_000
"""What an item may expand to: anchors can make a small file mean more than fits into memory."""

_MERGE: Final = "tag:yaml.org,2002:merge"
_PYTHON: Final = "tag:yaml.org,2002:python/"
_MARK: Final = b"# Dictionary contents written: "


_FAILURES: Final = (DecodeError, ImportError, LookupError, RecursionError, TypeError, ValueError)
"""What one item may raise, beside YAML's own errors, without keeping the others from being read."""


class YAMLFile(PathSource):
    """A YAML file.

    Parameters
    ----------
    path : Path
        The file.
    """

    kind = "yaml"

    def read(self, progress: Progress, *, timeout: float) -> Reading:
        yaml = _yaml()
        failures = (yaml.YAMLError, *_FAILURES)
        reading = Reading()
        try:
            data = bytes_of(self.path)
            loader = _loader(yaml)(data)
            root = loader.get_single_node()
            if root is None:
                return reading
            if not isinstance(root, yaml.MappingNode):
                raise DecodeError(f"{self.path} holds a {root.id}, not a mapping of keys to values")
            loader.flatten_mapping(root)
        except RecursionError:
            raise DecodeError(f"{self.path} is nested too deeply to be read") from None
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise DecodeError(f"{self.path} is not YAML: {_told(error)}") from None
        tagged = MARK.encode() in data
        sizes: dict[int, float] = {}
        for done, (key_node, value_node) in enumerate(root.value):
            progress("reading", done, len(root.value))
            line = key_node.start_mark.line + 1
            key: Any = f"line {line}"
            try:
                key = loader.construct_object(key_node, deep=True)
                if key in reading.items:
                    raise DecodeError(f"line {line}: the key is given twice")
                if _size(value_node, sizes) > _MOST_VALUES:
                    raise DecodeError(f"line {line}: it contains itself, or expands to too much")
                value = loader.construct_object(value_node, deep=True)
                reading.items[key] = restore(value, f"md[{key!r}]") if tagged else value
            except failures as error:
                shown = key if isinstance(key, str) else repr(key)
                reading.unusable.append(Unusable(shown, _told(error)))
        progress("reading", len(root.value), len(root.value))
        return reading


class StoredDictFile(YAMLFile):
    """``StoredDict(file)``."""

    kind = "stored-dict"

    def read(self, progress: Progress, *, timeout: float) -> Reading:
        reading = super().read(progress, timeout=timeout)
        reading.notes.append(
            "a session with this StoredDict writes seconds after a change, and changes inside of "
            "values only with others: end it first"
        )
        return reading


def is_of_stored_dict(data: bytes) -> bool:
    """Return whether a file begins as `StoredDict` begins one."""
    return any(line.startswith(_MARK) for line in data.splitlines()[:3])


def _yaml() -> Any:
    try:
        import yaml  # noqa: PLC0415 - nothing else needs it
    except ModuleNotFoundError:
        raise ConfigurationError(
            "reading YAML needs PyYAML, which is not installed: pip install 'kv-dict[cli]'"
        ) from None
    return yaml


def _told(error: Exception) -> str:
    """Return the message of an error of YAML in one line, with the place."""
    problem, mark = getattr(error, "problem", None), getattr(error, "problem_mark", None)
    if problem is None:
        return " ".join(str(error).split()) or type(error).__name__
    where = "" if mark is None else f" (line {mark.line + 1}, column {mark.column + 1})"
    return f"{problem}{where}"


def _size(node: Any, known: dict[int, float]) -> float:
    """Return how many values a node expands to; infinitely many if it contains itself."""
    size = known.get(id(node))
    if size is not None:
        return size
    known[id(node)] = math.inf  # met again before it is known: it contains itself
    size = 1.0
    if not isinstance(node.value, str):
        for part in node.value:
            size += sum(_size(n, known) for n in (part if isinstance(part, tuple) else (part,)))
    known[id(node)] = size
    return size


# -- the tags of Python ----------------------------------------------------------------------------


def _loader(yaml: Any) -> Any:
    """Return a safe loader that understands some tags of Python and follows none.

    PyYAML's own in Python: the one in C ends the process when a file is nested very deeply.
    """

    class Loader(yaml.SafeLoader):  # type: ignore[misc]
        """Of one file."""

        def construct_mapping(self, node: Any, deep: bool = False) -> Any:
            seen = set()
            for key_node, _ in node.value:
                if key_node.tag != _MERGE and isinstance(key_node, yaml.ScalarNode):
                    if (key_node.tag, key_node.value) in seen:
                        line = key_node.start_mark.line + 1
                        raise DecodeError(f"line {line}: {key_node.value!r} is given twice")
                    seen.add((key_node.tag, key_node.value))
            return super().construct_mapping(node, deep=deep)

    plain = yaml.SafeLoader
    for name, construct in {
        "none": plain.construct_yaml_null,
        "bool": plain.construct_yaml_bool,
        "int": plain.construct_yaml_int,
        "long": plain.construct_yaml_int,
        "float": plain.construct_yaml_float,
        "str": plain.construct_yaml_str,
        "unicode": plain.construct_yaml_str,
        "bytes": plain.construct_yaml_binary,
        "list": lambda loader, node: loader.construct_sequence(node, deep=True),
        "dict": lambda loader, node: loader.construct_mapping(node, deep=True),
        "tuple": lambda loader, node: tuple(loader.construct_sequence(node, deep=True)),
        "complex": lambda loader, node: complex(loader.construct_scalar(node)),
    }.items():
        Loader.add_constructor(_PYTHON + name, construct)
    apply = f"{_PYTHON}object/apply:"
    Loader.add_constructor(f"{apply}collections.OrderedDict", _ordered_dict)
    for module in ("numpy.core.multiarray", "numpy._core.multiarray"):
        Loader.add_constructor(f"{apply}{module}.scalar", _numpy_scalar)
    Loader.add_constructor(f"{apply}numpy.dtype", _numpy_dtype)
    Loader.add_constructor(None, _unknown)
    return Loader


def _ordered_dict(loader: Any, node: Any) -> OrderedDict[Any, Any]:
    arguments = loader.construct_sequence(node, deep=True)
    return OrderedDict(map(tuple, arguments[0]) if arguments else ())


def _numpy_dtype(loader: Any, node: Any) -> Any:
    import numpy as np  # noqa: PLC0415 - only numpy's values need it

    found = loader.construct_mapping(node, deep=True)
    dtype, order = np.dtype(found["args"][0]), found["state"][1]
    if dtype.kind not in "biufcSU":
        raise DecodeError(f"a numpy scalar of dtype {dtype}")
    return dtype.newbyteorder(order)


def _numpy_scalar(loader: Any, node: Any) -> Any:
    import numpy as np  # noqa: PLC0415 - as above

    dtype, data = loader.construct_sequence(node, deep=True)
    return np.frombuffer(data, dtype=dtype)[0]


def _unknown(loader: Any, node: Any) -> Unreadable:
    tag = node.tag.removeprefix("tag:yaml.org,2002:")
    return Unreadable(
        f"!!{tag} in line {node.start_mark.line + 1} is an object that only the code it names "
        "could build"
    )
