"""Configuration files of other programs: JSON, YAML or TOML."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from kv_dict.errors import ConfigurationError

__all__ = ["read_document"]


def read_document(path: Path) -> dict[str, Any]:
    """Return the mapping that a file holds, in the format that its name ends with.

    Raises
    ------
    ConfigurationError
        It cannot be read, is of another format, or holds no mapping.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or "it is no text"
        raise ConfigurationError(f"{path} cannot be read ({why})") from None
    kind = path.suffix.lower()
    if kind == ".json":
        content = _json(path, text)
    elif kind == ".toml":
        content = _toml(path, text)
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


def _toml(path: Path, text: str) -> Any:
    import tomllib  # noqa: PLC0415

    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"{path} is no TOML: {error}") from None


def _yaml(path: Path, text: str) -> Any:
    try:
        import yaml  # noqa: PLC0415
    except ImportError:
        raise ConfigurationError(
            f"{path} is YAML, which needs PyYAML: pip install 'kv-dict[yaml]'"
        ) from None
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        where = getattr(error, "problem_mark", None)
        line = f", line {where.line + 1}" if where else ""
        # Nothing of the text is repeated: a secret may be in it.
        raise ConfigurationError(f"{path}{line}: it is no YAML that can be read") from None
