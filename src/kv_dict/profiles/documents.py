"""Configuration files of other programs: JSON, YAML or TOML."""

from __future__ import annotations

import errno
import stat
from pathlib import Path
from typing import Any, Final

from kv_dict.errors import ConfigurationError

__all__ = ["parse_toml", "read_document", "read_text"]

_LARGEST: Final = 1 << 20  # bytes of a configuration


def read_text(path: Path) -> str:
    """Return the text of a file; OSError or ValueError where it has none, or will never end."""
    status = path.stat()
    if stat.S_ISFIFO(status.st_mode) or stat.S_ISCHR(status.st_mode):
        raise OSError(errno.EINVAL, "it is no regular file")
    with path.open("rb") as file:
        data = file.read(_LARGEST + 1)
    if len(data) > _LARGEST:
        raise OSError(errno.EFBIG, f"it is larger than {_LARGEST:,} bytes")
    return data.decode("utf-8-sig")  # some editors put a mark in front


def read_document(path: Path) -> dict[str, Any]:
    """Return the mapping that a file holds, in the format that its name ends with.

    Raises
    ------
    ConfigurationError
        It cannot be read, is of another format, or holds no mapping.
    """
    try:
        text = read_text(path)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or "it is no text"
        raise ConfigurationError(f"{path} cannot be read ({why})") from None
    kind = path.suffix.lower()
    if kind == ".json":
        content = _json(path, text)
    elif kind == ".toml":
        content = parse_toml(path, text)
    elif kind in (".yml", ".yaml"):
        content = _yaml(path, text)
    else:
        raise ConfigurationError(f"{path}: a .json, .yml, .yaml or .toml file is expected")
    if not isinstance(content, dict):
        raise ConfigurationError(f"{path} holds no mapping of names to values")
    return content


def _json(path: Path, text: str) -> Any:
    import json  # noqa: PLC0415 - as the others, only where such a file is

    try:
        return json.loads(text)
    except ValueError as error:
        raise ConfigurationError(f"{path} is no JSON: {error}") from None
    except RecursionError:
        raise _too_deep(path) from None


def parse_toml(path: Path, text: str) -> dict[str, Any]:
    """Return what the text of a TOML file says; ConfigurationError if it is none."""
    import tomllib  # noqa: PLC0415

    try:
        return tomllib.loads(text)
    except ValueError as error:  # of a number that is too long, too
        raise ConfigurationError(f"{path} is no TOML: {error}") from None
    except RecursionError:
        raise _too_deep(path) from None


def _too_deep(path: Path) -> ConfigurationError:
    return ConfigurationError(f"{path} cannot be read: it is nested too deeply")


def _yaml(path: Path, text: str) -> Any:
    try:
        import yaml  # noqa: PLC0415
    except ImportError:
        raise ConfigurationError(
            f"{path} is YAML, which needs PyYAML: pip install 'kv-dict[yaml]'"
        ) from None
    try:
        return yaml.safe_load(text)
    except RecursionError:
        raise _too_deep(path) from None
    except (yaml.YAMLError, ValueError) as error:  # of a date that is none, say
        where = getattr(error, "problem_mark", None)
        line = f", line {where.line + 1}" if where else ""
        # Nothing of the text is repeated: a secret may be in it.
        raise ConfigurationError(f"{path}{line}: it is no YAML that can be read") from None
