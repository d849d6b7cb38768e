"""What an exception of kv_dict shows at the prompt: the line that asked, and what came of it."""

from __future__ import annotations

from types import TracebackType
from typing import Any

from IPython.core.getipython import get_ipython

from kv_dict.errors import KVDictError

__all__ = ["show_all_frames", "show_frames_outside"]

_HOOK = "_render_traceback_"
"""The method of an exception that IPython asks for the lines to print."""


def show_frames_outside() -> None:
    """Leave the frames of kv_dict and of its drivers out, except in ``%xmode Verbose``.

    The message says what was asked and what to do; the way it took inside of kv_dict is longer than
    a screen. In a method of our own exceptions, because the one handler that a shell can have
    (``set_custom_exc``) may be a facility's, for its log.
    """
    setattr(KVDictError, _HOOK, _lines)


def show_all_frames() -> None:
    """Have IPython show these exceptions as any other."""
    if _HOOK in vars(KVDictError):
        delattr(KVDictError, _HOOK)


def _lines(error: KVDictError) -> list[str]:
    shell: Any = get_ipython()
    show = shell.InteractiveTB
    if show.mode == "Verbose":
        return list(show.structured_traceback(type(error), error, error.__traceback__))
    cause, suppressed = error.__cause__, error.__suppress_context__
    error.__cause__ = None  # the driver's exception, which the message tells of
    try:
        return list(show.structured_traceback(type(error), error, _outside(error.__traceback__)))
    finally:
        error.__cause__, error.__suppress_context__ = cause, suppressed


def _outside(traceback: TracebackType | None) -> TracebackType | None:
    """Return the frames of a traceback before the first one of kv_dict."""
    entries = []
    while traceback is not None and not _is_ours(traceback):
        entries.append(traceback)
        traceback = traceback.tb_next
    before: TracebackType | None = None
    for entry in reversed(entries):
        before = TracebackType(before, entry.tb_frame, entry.tb_lasti, entry.tb_lineno)
    return before


def _is_ours(entry: TracebackType) -> bool:
    name = entry.tb_frame.f_globals.get("__name__") or ""
    return str(name).partition(".")[0] == "kv_dict"
