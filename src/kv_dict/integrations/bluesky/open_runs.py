"""`stay_during_runs`: the metadata of a run stay those of its proposal until it is over."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from kv_dict.errors import ConfigurationError, RunOpenError
from kv_dict.mapping import LayeredMapping, RemoteKVMapping

if TYPE_CHECKING:
    from bluesky import RunEngine

__all__ = ["stay_during_runs"]

_NO_RUNS: Final = ("idle", "panicked")
"""States of a RunEngine in which no run goes on, whatever its documents said."""


def stay_during_runs(RE: RunEngine) -> Callable[[], None]:  # noqa: N803
    """Have the metadata of a RunEngine refuse to change proposal while one of its runs is open.

    ``md.switch`` and `start_experiment` then raise RunOpenError, which names the run: what reads
    the metadata in the middle of it, as path providers do, would mix two users' data. Between the
    runs of a plan, and in one that has not opened any, they go on.

    Parameters
    ----------
    RE : bluesky.RunEngine
        The RunEngine.

    Returns
    -------
    callable
        Call it to have nothing refused any more.

    Raises
    ------
    ConfigurationError
        The metadata of the RunEngine cannot be switched: it is a dict, say.

    Notes
    -----
    Looks after this RunEngine and this mapping: other sessions do as they like. ``RE.reset()``
    ends it.

    Examples
    --------
    >>> from bluesky import RunEngine
    >>> from bluesky.plan_stubs import open_run, pause
    >>> RE = RunEngine(md, scan_id_source=lambda md: 4217)
    >>> undo = stay_during_runs(RE)
    >>> def plan():
    ...     yield from open_run()
    ...     md.switch("proposal-319")
    >>> RE(plan())
    Traceback (most recent call last):
        ...
    kv_dict.errors.RunOpenError: no change to 'proposal-319': run 4217 (...) of the plan 'plan' ...
    """
    engine: Any = RE  # of which not all has types
    metadata: object = engine.md
    md = metadata.over if isinstance(metadata, LayeredMapping) else metadata
    if not isinstance(md, RemoteKVMapping):
        raise ConfigurationError(
            f"RE.md is a {type(md).__name__}, which cannot be switched: RunEngine(open_mapping())"
        )
    runs: dict[str, str] = {}

    def note(name: str, doc: dict[str, Any]) -> None:
        if name == "start":
            number, plan = doc.get("scan_id"), doc.get("plan_name")
            runs[doc["uid"]] = f"run {number} ({doc['uid'][:8]}) of the plan {plan!r}"
        else:
            runs.pop(doc["run_start"], None)

    def begin(plan: Any) -> Any:
        runs.clear()  # one whose end could not be told is over all the same
        return plan

    def check(entry_point: str) -> None:
        if str(RE.state) in _NO_RUNS or not (still := tuple(runs.values())):
            return
        verb = "is" if len(still) == 1 else "are"
        raise RunOpenError(
            f"no change to {entry_point!r}: {' and '.join(still)} {verb} open and would go on with "
            "it. Nothing was changed; do it when the run is over (if it is paused: RE.resume(), or "
            "RE.stop())"
        )

    tokens = [engine.subscribe(note, name) for name in ("start", "stop")]
    RE.preprocessors.append(begin)
    unasked = md.before_switch(check)

    def undo() -> None:
        unasked()
        for token in tokens:
            engine.unsubscribe(token)
        if begin in RE.preprocessors:
            RE.preprocessors.remove(begin)

    return undo
