"""Handing the beamline over to the next experiment: its fields in, the former user's values out.

The fields are those of nslsii's ``sync-experiment``, which profiles and analysis at NSLS-II and
elsewhere read from the start document.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from fnmatch import fnmatchcase
from typing import Any, Final

from kv_dict.mapping import LayeredMapping, RemoteKVMapping

__all__ = ["ALWAYS_CARRIED", "Handover", "start_experiment"]

ALWAYS_CARRIED: Final = ("scan_id", "versions")
"""What bluesky itself keeps in the metadata: without the first, runs would be counted anew."""

_ABOUT_PROPOSAL: Final = ("proposal_id", "title", "type", "pi_name")


@dataclass(frozen=True, slots=True)
class Handover:
    """What `start_experiment` did, or would do. ``print`` it.

    Attributes
    ----------
    entry_point : str
        Where the experiment's values are.
    written : dict
        The items that are put there.
    carried : dict
        The items of the former experiment that stay, or go along.
    dropped : dict
        Its other items, which are removed, or stay behind in the former entry point.
    left : str or None
        The former entry point, if another one was switched to.
    missing : tuple of str
        What of `carry_over` there is none of.
    done : bool
        False for a dry run.
    """

    entry_point: str
    written: dict[str, Any]
    carried: dict[str, Any]
    dropped: dict[str, Any]
    left: str | None
    missing: tuple[str, ...]
    done: bool

    def __str__(self) -> str:
        drop = "remove" if self.left is None else f"leave in {self.left!r}"
        parts = (("write", self.written), ("carry over", self.carried), (drop, self.dropped))
        title = f"{self.written['data_session']}, in {self.entry_point!r}"
        lines = [title if self.done else f"{title} (a dry run: nothing is written)"]
        for name, items in parts:
            lines += [f"  {name}: {key} = {items[key]!r:.60}" for key in sorted(items)]
        lines += [f"  carry over: {key} is not there" for key in self.missing]
        return "\n".join(lines)


def start_experiment(
    md: RemoteKVMapping | LayeredMapping,
    *,
    proposal: str | int | Mapping[str, Any],
    cycle: str,
    username: str,
    data_session: str | None = None,
    carry_over: Iterable[str] = (),
    entry_point: str | None = None,
    dry_run: bool = False,
) -> Handover:
    """Begin an experiment: write its fields, and drop what the former one left, in one step.

    Writes ``data_session``, ``cycle``, ``username``, ``start_datetime`` and ``proposal``. Of what
    the former user left, only what `carry_over` names stays, beside ``scan_id``, ``versions`` and
    what the mapping protects.

    Parameters
    ----------
    md : RemoteKVMapping or LayeredMapping
        The metadata. Of a layered one, only the upper layer is handed over; a field that belongs to
        the lower one is written there.
    proposal : str, int or mapping
        The number, or a dict with ``proposal_id`` and, as far as known, ``title``, ``type`` and
        ``pi_name``.
    cycle, username : str
        The cycle, and who measures.
    data_session : str, optional
        Which session the data belong to; ``pass-`` and the number of the proposal if not given.
    carry_over : iterable of str
        Keys, or patterns of keys such as ``"beamline_*"``, of items that the next user shall find.
    entry_point : str, optional
        Where the experiment's metadata shall live. The former user's then stay where they are, and
        `md` is switched once all is written; what was there from an earlier visit is found again.
        Without it, what is not carried over is removed.
    dry_run : bool
        Only tell what would be done.

    Returns
    -------
    Handover
        What was done: ``print`` it.

    Raises
    ------
    TypeError, ValueError
        An argument cannot be used; nothing was done.
    RunOpenError
        A run is open, where `stay_during_runs` or a `BeamlineSession` looks after that; nothing
        was done.
    Unavailable, OutcomeUnknown
        As for any write.

    Notes
    -----
    Call it between runs, or in a plan between two. All is one commit: no run can begin with half
    of it.

    Examples
    --------
    >>> from kv_dict.integrations.bluesky import start_experiment
    >>> md.update(sample="the last user's", beamline_id="XAS", scan_id=4217)
    >>> about = {"proposal_id": "318", "title": "Iron oxides", "pi_name": "Ada"}
    >>> print(start_experiment(md, proposal=about, cycle="2026-2", username="ada",
    ...                        carry_over=["beamline_id"]))
    pass-318, in ...
      write: cycle = '2026-2'
      ...
      carry over: beamline_id = 'XAS'
      carry over: scan_id = 4217
      remove: sample = "the last user's"
    """
    layer = md.over if isinstance(md, LayeredMapping) else md
    if not isinstance(layer, RemoteKVMapping):
        raise TypeError(f"md={type(md).__name__}: a RemoteKVMapping or a LayeredMapping")
    fields = _fields(proposal, cycle, username, data_session)
    rules = _rules(carry_over, fields)
    former = layer.copy()
    if isinstance(md, LayeredMapping):
        former = {key: value for key, value in former.items() if not md.is_below(key)}
    carried = {
        key: value
        for key, value in former.items()
        if key not in fields
        and (key in md.protected or any(key == rule or fnmatchcase(key, rule) for rule in rules))
    }
    dropped = {
        key: value for key, value in former.items() if key not in fields and key not in carried
    }
    missing = tuple(rule for rule in rules if not _is_pattern(rule) and rule not in md)
    missing = tuple(rule for rule in missing if rule not in ALWAYS_CARRIED)
    here = layer.entry_point
    if not dry_run:
        layer.check_switch(here if entry_point is None else entry_point)
    if entry_point is None or entry_point == here:
        if not dry_run:
            with md.unlocked(*fields):  # this is meant
                md.commit(fields, delete=dropped)
        return Handover(here, fields, carried, dropped, None, missing, not dry_run)
    with layer.at(entry_point) as there:
        put = _counted_on(carried, there) | fields
        if not dry_run:
            both = _both(md, there)
            with both.unlocked(*put):
                both.commit(put)
            md.switch(entry_point)
    return Handover(entry_point, put, carried, dropped, here, missing, not dry_run)


def _both(
    md: RemoteKVMapping | LayeredMapping, there: RemoteKVMapping
) -> RemoteKVMapping | LayeredMapping:
    """Return what `md` will be once it is switched."""
    if isinstance(md, LayeredMapping):
        return LayeredMapping(there, md.under, belongs_under=md.belongs_under)
    return there


def _counted_on(carried: dict[str, Any], there: RemoteKVMapping) -> dict[str, Any]:
    """Return what goes along; the scan id never goes back to a number that was given there."""
    counts = [count for count in (carried.get("scan_id"), there.get("scan_id")) if count]
    if len(counts) == 2 and all(type(count) is int for count in counts):
        return carried | {"scan_id": max(counts)}
    return carried


def _fields(proposal: Any, cycle: Any, username: Any, data_session: Any) -> dict[str, Any]:
    about = dict(proposal) if isinstance(proposal, Mapping) else {"proposal_id": proposal}
    number = about.get("proposal_id")
    if isinstance(number, bool) or not isinstance(number, str | int):
        raise TypeError(f"proposal={proposal!r:.80}: a number, or a dict with one as 'proposal_id'")
    number = str(number).strip()
    if not number or any(character.isspace() or character in "./" for character in number):
        raise ValueError(
            f"proposal={number!r}: a number such as '318123', without spaces, '.' or '/'"
        )
    if data_session is None:
        data_session = f"pass-{number}"
    for name, text in (("cycle", cycle), ("username", username), ("data_session", data_session)):
        if not isinstance(text, str):
            raise TypeError(f"{name}={text!r:.60}: a string")
        if not text.strip():
            raise ValueError(f"{name}={text!r}: not empty")
    return {
        "data_session": data_session,
        "cycle": cycle,
        "username": username,
        "start_datetime": datetime.now().astimezone().isoformat(timespec="seconds"),
        "proposal": dict.fromkeys(_ABOUT_PROPOSAL, "") | about | {"proposal_id": number},
    }


def _rules(carry_over: Iterable[str], fields: Mapping[str, Any]) -> tuple[str, ...]:
    if isinstance(carry_over, str):
        raise TypeError(f"carry_over={carry_over!r}: a list of keys, as in [{carry_over!r}]")
    named = tuple(carry_over)
    for key in named:
        if not isinstance(key, str):
            raise TypeError(f"carry_over has {key!r:.60}: keys are strings")
        if key in fields:
            raise ValueError(f"carry_over has {key!r}, which each experiment has its own of")
    return ALWAYS_CARRIED + named


def _is_pattern(rule: str) -> bool:
    return any(character in rule for character in "*?[")
