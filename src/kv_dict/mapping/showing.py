"""How a mapping shows itself to people: at a prompt, in IPython."""

from __future__ import annotations

from typing import Any

from kv_dict.errors import KVDictError
from kv_dict.mapping.reading import Readable

__all__ = ["Showing"]


class Showing:
    """The part of `RemoteKVMapping` that shows it. A store that is away is shown, not raised."""

    _scope: Readable

    def __repr__(self) -> str:
        scope = self._scope
        try:
            shown = repr(scope.plain())
        except KVDictError as error:
            shown = f"<{type(error).__name__}: {error}>"
        return f"{type(self).__name__}({shown}, {scope})"

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        """Let IPython lay the items out as those of a dict."""
        scope = self._scope
        try:
            items = scope.plain()
        except KVDictError:
            printer.text(repr(self))
            return
        with printer.group(1, f"{type(self).__name__}(", ")"):
            printer.pretty(items)
            printer.text(",")
            printer.breakable()
            printer.text(str(scope))

    def _ipython_key_completions_(self) -> list[str]:
        return list(self._scope.plain())
