"""What the prompt shows of the metadata: ``pass-318 #4217 In [5]:``, red while the store is away.

Each prompt is made anew, in vi mode at every keystroke: so this reads the replica alone, and never
asks the store.
"""

from __future__ import annotations

from typing import Any, Final

from IPython.core.error import UsageError
from IPython.terminal.prompts import Prompts
from pygments.token import Token  # type: ignore[import-untyped]

from kv_dict.errors import KVDictError
from kv_dict.integrations.ipython.target import in_namespace
from kv_dict.mapping import LayeredMapping, RemoteKVMapping
from kv_dict.mapping.showing import label

__all__ = ["MetadataPrompts", "hide_segment", "segment", "show_segment"]

LIVE: Final = Token.Metadata
STALE: Final = Token.Metadata.Stale
_STYLES: Final = {LIVE: "ansicyan", STALE: "ansired bold"}
_LONGEST: Final = 24


def segment(namespace: dict[str, Any]) -> list[tuple[Any, str]]:
    """Return what belongs in front of the prompt, as tokens; nothing if there is nothing to show.

    The item ``data_session`` and the last ``scan_id``, of a mapping that has a replica.
    """
    found = in_namespace(namespace)
    if found is None or not isinstance(found.mapping, RemoteKVMapping | LayeredMapping):
        return []
    md = found.mapping
    try:
        session, scan_id = md.peek("data_session"), md.peek("scan_id")
    except KVDictError:  # closed, or not a value: the next command tells
        return []
    words = [] if session is None else [_short(label(session))]
    if scan_id is not None:
        words.append(_short(f"#{label(scan_id)}"))
    stale = md.stale_since is not None
    if stale:
        words.append("stale")
    return [(STALE if stale else LIVE, " ".join(words) + " ")] if words else []


class _WithSegment:
    """Put the segment in front of what other prompts show."""

    shell: Any

    def __init__(self, shell: Any) -> None:
        super().__init__(shell)  # type: ignore[call-arg]  # mixed into prompts
        shell.highlighting_style_overrides = _STYLES | shell.highlighting_style_overrides
        shell.refresh_style()

    def in_prompt_tokens(self) -> list[tuple[Any, str]]:
        tokens: list[tuple[Any, str]] = super().in_prompt_tokens()  # type: ignore[misc]
        return [*segment(self.shell.user_ns), *tokens]


class MetadataPrompts(_WithSegment, Prompts):
    """IPython's prompts with a segment in front: data session and scan id, red when stale.

    For ``c.TerminalInteractiveShell.prompts_class`` in ``ipython_config.py``; in a session
    ``%md --prompt`` adds the segment to whatever prompts there are.
    """


def show_segment(shell: Any) -> None:
    """Add the segment to the prompts of a shell."""
    prompts = getattr(shell, "prompts", None)
    if prompts is None:
        raise UsageError("this shell has no prompt in a terminal")
    if not isinstance(prompts, _WithSegment):
        shell.prompts = type("MetadataPrompts", (_WithSegment, type(prompts)), {})(shell)


def hide_segment(shell: Any) -> None:
    """Take the segment away again."""
    if isinstance(prompts := getattr(shell, "prompts", None), _WithSegment):
        shell.prompts = type(prompts).__mro__[2](shell)


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
