"""Files with the items of a mapping: JSON or YAML, types beyond JSON tagged as in the store."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kv_dict.cli.output import Failure
from kv_dict.cli.values import as_json
from kv_dict.codec.documents import parse_json
from kv_dict.codec.tags import restore

if TYPE_CHECKING:
    import yaml

__all__ = ["FORMATS", "format_of", "read", "written"]

FORMATS = ("json", "yaml")


def format_of(name: str, given: str | None) -> str:
    """Return the format that was asked for, or that the name of a file says; JSON if neither."""
    if given is not None:
        return given
    return "yaml" if Path(name).suffix.lower() in (".yaml", ".yml") else "json"


def written(items: dict[str, Any], form: str) -> bytes:
    """Return a document of `items`."""
    document = {key: as_json(value) for key, value in items.items()}
    if form == "json":
        text = json.dumps(document, ensure_ascii=False, indent=2, allow_nan=False) + "\n"
    else:
        import yaml

        dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
        text = yaml.dump(
            document, Dumper=dumper, sort_keys=False, allow_unicode=True, default_flow_style=False
        )
    return text.encode()


def read(data: bytes, form: str, name: str) -> dict[str, Any]:
    """Return the items that a document holds.

    Raises
    ------
    Failure
        It is no document of items; says where it goes wrong.
    """
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Failure(f"{name} is not UTF-8 ({error.reason} at byte {error.start})") from None
    try:
        document = parse_json(text) if form == "json" else _yaml(text)
    except RecursionError:
        raise Failure(f"{name} is nested too deeply") from None
    except ValueError as error:
        raise Failure(f"{name} is not {form.upper()}: {error}") from None
    if not isinstance(document, dict):
        kind = "empty" if document is None else f"a {type(document).__name__}"
        raise Failure(f"{name} is {kind}; it should be an object of keys and values")
    try:
        return {key: restore(value, f"{name}[{key!r}]") for key, value in document.items()}
    except RecursionError:
        raise Failure(f"{name} is nested too deeply") from None


def _yaml(text: str) -> Any:
    import yaml

    base: type[yaml.SafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

    class Loader(base):  # type: ignore[misc, valid-type]  # one of two, with the same interface
        """YAML without keys that are there twice."""

        def construct_mapping(self, node: Any, deep: bool = False) -> Any:
            seen = set()
            for key, _ in node.value:
                if key.tag != "tag:yaml.org,2002:str":
                    wrong = f"the key {key.value!r} is no string, and keys are strings; quote it"
                    raise ValueError(wrong + _place(key.start_mark))
                if key.value in seen:
                    twice = f"the key {key.value!r} is there twice"
                    raise ValueError(twice + _place(key.start_mark))
                seen.add(key.value)
            return super().construct_mapping(node, deep=deep)

    try:
        for event in yaml.parse(text, Loader=base):
            if isinstance(event, yaml.AliasEvent):  # nested ones grow to any size
                alias = f"an alias (*{event.anchor}) is not taken"
                raise ValueError(alias + _place(event.start_mark))  # noqa: TRY004
        return yaml.load(text, Loader=Loader)  # noqa: S506 - a safe one
    except yaml.YAMLError as error:
        problem = getattr(error, "problem", None) or str(error).partition("\n")[0]
        raise ValueError(f"{problem}{_place(getattr(error, 'problem_mark', None))}") from None


def _place(mark: Any) -> str:
    return "" if mark is None else f" (line {mark.line + 1}, column {mark.column + 1})"
