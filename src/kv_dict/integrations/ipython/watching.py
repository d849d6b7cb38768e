"""`%md --watch`: every change by anybody, until Ctrl-C."""

from __future__ import annotations

import time
from queue import Empty, SimpleQueue
from typing import Final

from IPython.core.error import UsageError

from kv_dict.integrations.ipython.target import Target
from kv_dict.integrations.ipython.tree import heading
from kv_dict.mapping import Change, LayeredMapping, RemoteKVMapping
from kv_dict.mapping.showing import label, one_line

__all__ = ["watch"]

_LOOK: Final = 0.5
"""Seconds between two looks whether the store is away."""


def watch(target: Target, key: str | None, width: int) -> None:
    """Print changes of the mapping, or of one item, until Ctrl-C; an outage and its end, too."""
    md = target.mapping
    if not isinstance(md, RemoteKVMapping | LayeredMapping):
        raise UsageError(
            f"{target.name} is a {type(md).__name__}, which cannot be followed; "
            "RunEngine(open_mapping()) makes it one that can"
        )
    told: SimpleQueue[Change] = SimpleQueue()
    token = md.subscribe(told.put, key=key, initial=False)
    print(f"{heading(target)}\nCtrl-C ends this.", flush=True)
    away = None
    try:
        while True:
            try:
                print(_line(told.get(timeout=_LOOK), width), flush=True)
            except Empty:
                if away != (away := md.stale_since):
                    print(f"{_clock(away)}  {'away' if away else 'live again'}", flush=True)
    except KeyboardInterrupt:
        print()
    finally:
        md.unsubscribe(token)


def _line(change: Change, width: int) -> str:
    begin = f"{_clock(change.time)}  {label(change.key)}  "
    if change.kind == "delete":
        begin += "deleted, was "
    value = change.previous if change.kind == "delete" else change.value
    return begin + one_line(value, max(20, width - len(begin)))


def _clock(moment: float | None) -> str:
    return time.strftime("%H:%M:%S", time.localtime(moment))
