"""A folder of bluesky's `PersistentDict`: one file an item, its value as msgpack with arrays.

The file's name is the quoted key, with ``#`` and a number behind it since zict 3. It is read here
without bluesky, and arrays of Python objects, which are pickles, are not unpickled: a pickle runs
code.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from kv_dict.errors import ConfigurationError, DecodeError, Unavailable
from kv_dict.migration.sources.source import (
    PathSource,
    Progress,
    Reading,
    Unreadable,
    Unusable,
    bytes_of,
)

__all__ = ["PersistentDictSource"]


class PersistentDictSource(PathSource):
    """``PersistentDict(folder)``.

    Parameters
    ----------
    path : Path
        The folder that its files are in.
    """

    kind = "persistent-dict"

    def read(self, progress: Progress, *, timeout: float) -> Reading:
        msgpack = _msgpack()
        before = self._files()
        reading = Reading()
        reading.notes.append(
            "a bluesky session with this folder writes changes inside of values only when it ends: "
            "end it first"
        )
        for done, (key, files) in enumerate(before.items()):
            progress("reading", done, len(before))
            if len(files) > 1:
                names = " and ".join(sorted(path.name for path in files))
                why = f"{names} both hold it; remove the one that is out of date"
                reading.unusable.append(Unusable(key, why))
                continue
            (path,) = files
            try:
                reading.items[key] = _decode(msgpack, bytes_of(path))
            except (DecodeError, ConfigurationError) as error:
                reading.unusable.append(Unusable(key, f"{path}: {error}"))
        progress("reading", len(before), len(before))
        if reading.unusable and not reading.items:
            raise DecodeError(
                f"{self.path} is not a folder of PersistentDict: no file in it can be read as an "
                f"item ({reading.unusable[0].reason})"
            )
        if self._files() != before:
            raise Unavailable(f"{self.path} was changed while it was read; end what writes there")
        return reading

    def _files(self) -> dict[str, dict[Path, tuple[int, int]]]:
        """Return the files of each key, each with its time and size."""
        found: dict[str, dict[Path, tuple[int, int]]] = {}
        try:
            paths = sorted(self.path.iterdir())
            for path in paths:
                quoted, _, number = path.name.partition("#")
                key = unquote(quoted)
                if not path.is_file() or quote(key, safe="") != quoted or not _is_count(number):
                    raise ConfigurationError(
                        f"{self.path} is not a folder of PersistentDict: {path.name!r} in it is "
                        "not the file of an item"
                    )
                status = path.stat()
                found.setdefault(key, {})[path] = status.st_mtime_ns, status.st_size
        except OSError as error:
            raise ConfigurationError(f"{self.path} cannot be read: {error.strerror}") from None
        return found


def _is_count(number: str) -> bool:
    return number == "" or (number.isascii() and number.isdigit())


def _msgpack() -> Any:
    try:
        import msgpack  # noqa: PLC0415 - nothing else needs it
    except ModuleNotFoundError:
        raise ConfigurationError(
            "reading a PersistentDict needs msgpack, which is not installed: "
            "pip install 'kv-dict[bluesky]'"
        ) from None
    return msgpack


def _decode(msgpack: Any, data: bytes) -> Any:
    try:
        return msgpack.unpackb(data, object_hook=_restore, raw=False, strict_map_key=False)
    except ModuleNotFoundError as error:
        raise DecodeError(
            f"it holds an array, and reading that needs {error.name}: pip install numpy"
        ) from None
    except Exception as error:  # noqa: BLE001 - msgpack raises its own and all kinds of built-in ones
        raise DecodeError(f"not a value of msgpack ({type(error).__name__}: {error})") from None


def _restore(found: dict[Any, Any]) -> Any:
    """Return what a dict stands for, if msgpack-numpy wrote it in place of something else."""
    if b"complex" in found:
        return complex(_text(found[b"data"]))
    if b"nd" not in found:
        return found
    kind, written = found.get(b"kind"), found[b"type"]
    if kind == b"O":
        return Unreadable("an array of Python objects, which is a pickle")
    if kind == b"V":
        return Unreadable("an array of records; store plain arrays, or its .tolist()")
    import numpy as np  # noqa: PLC0415 - only values that hold arrays need it

    values = np.frombuffer(found[b"data"], dtype=np.dtype(_text(written)))
    return values.reshape(found[b"shape"]) if found[b"nd"] else values[0]


def _text(text: str | bytes) -> str:
    return text.decode() if isinstance(text, bytes) else text
