"""Into an IPython shell, and out of it again."""

from __future__ import annotations

from typing import Any, Final

from IPython.core.guarded_eval import EVALUATION_POLICIES

from kv_dict.integrations.ipython.completing import complete_here, complete_no_more
from kv_dict.integrations.ipython.magic import MetadataMagics
from kv_dict.integrations.ipython.prompt import hide_segment
from kv_dict.integrations.ipython.target import close_profile
from kv_dict.integrations.ipython.tracebacks import show_all_frames, show_frames_outside
from kv_dict.mapping import LayeredMapping, RemoteKVMapping
from kv_dict.mapping.nested import NestedDict, NestedList

__all__ = ["load_ipython_extension", "unload_ipython_extension"]

_HARMLESS: Final = {RemoteKVMapping, LayeredMapping, NestedDict, NestedList}
"""What ``x[key]`` only reads: IPython evaluates what is before a bracket only if it knows that."""


def load_ipython_extension(shell: Any) -> None:
    """Add ``%md`` and its completion; have ``md["sample"]["<TAB>`` look into nested values.

    Exceptions of kv_dict show the line that asked, without what is inside of kv_dict.
    """
    shell.register_magics(MetadataMagics)
    complete_here(shell)
    show_frames_outside()
    EVALUATION_POLICIES["limited"].allowed_getitem.update(_HARMLESS)  # type: ignore[attr-defined]


def unload_ipython_extension(shell: Any) -> None:
    """Take all of it out, and close what ``%md`` has opened."""
    shell.magics_manager.magics["line"].pop("md", None)
    complete_no_more(shell)
    EVALUATION_POLICIES["limited"].allowed_getitem -= _HARMLESS  # type: ignore[attr-defined]
    show_all_frames()
    hide_segment(shell)
    close_profile()
