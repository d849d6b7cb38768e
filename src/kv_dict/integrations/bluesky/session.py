"""`BeamlineSession`: what a profile asks of a RunEngine, in one call."""

from __future__ import annotations

import atexit
from contextlib import ExitStack
from typing import TYPE_CHECKING

from kv_dict.closing import Closing
from kv_dict.coordination import Baton, Presence
from kv_dict.integrations.bluesky.open_runs import stay_during_runs
from kv_dict.integrations.bluesky.require_baton import require_baton
from kv_dict.integrations.bluesky.run_status import RunStatus, metadata_of
from kv_dict.integrations.bluesky.scan_ids import scan_id_source
from kv_dict.profiles import Profile

if TYPE_CHECKING:
    from bluesky import RunEngine

__all__ = ["BeamlineSession"]


class BeamlineSession(Closing):
    """Makes a RunEngine one of those that share a beamline, as its profile says.

    - Scan ids are counted in the store, for all sessions together, unless the RunEngine was given a
      ``scan_id_source`` of its own.
    - `status` shows what the RunEngine does.
    - `presence` announces this session, and lists the others.
    - `baton` is there to be acquired. With ``require_baton = true`` in the profile no plan begins
      without it.
    - The metadata do not change proposal while a run is open (`stay_during_runs`).

    Parameters
    ----------
    RE : bluesky.RunEngine
        The RunEngine, with the metadata that the profile opened.
    profile : Profile
        What `load_profile` returned.
    program : str, optional
        What others are told of this session: ``"queue server"``; the name of its command if not
        given.

    Attributes
    ----------
    status : RunStatus
    presence : Presence
    baton : Baton

    Raises
    ------
    ConfigurationError
        The metadata of the RunEngine are a dict, say, which nobody can share.
    Unavailable
        The store cannot be reached.

    Notes
    -----
    Ends with the program, or with `close`: then the baton is given up, the session is off the
    list, and its state is ``"ended"``. The mapping stays open: who opened it closes it.

    Examples
    --------
    >>> from bluesky import RunEngine
    >>> from kv_dict.integrations.bluesky import BeamlineSession
    >>> from kv_dict.profiles import load_profile
    >>> profile = load_profile("memory://")
    >>> md = profile.open()
    >>> RE = RunEngine(md)
    >>> with BeamlineSession(RE, profile, program="ipython") as session:
    ...     [str(one.session.program) for one in session.presence.sessions()]
    ['ipython']
    >>> md.close()
    """

    def __init__(
        self,
        RE: RunEngine,  # noqa: N803 - what everybody calls it
        profile: Profile,
        *,
        program: str | None = None,
    ) -> None:
        from bluesky.run_engine import default_scan_id_source  # noqa: PLC0415 - it is there

        if not isinstance(profile, Profile):
            raise TypeError(f"profile={profile!r:.60}: what load_profile() returns")
        md = metadata_of(RE.md)
        with ExitStack() as stack:
            self.baton = stack.enter_context(Baton(md, program=program))
            self.presence = stack.enter_context(Presence(md, program=program))
            self.status = stack.enter_context(RunStatus(RE, program=program))
            stack.callback(stay_during_runs(RE))
            if profile.require_baton:
                stack.callback(require_baton(RE, self.baton))
            if RE.scan_id_source is default_scan_id_source:
                RE.scan_id_source = scan_id_source
            self._stack = stack.pop_all()
        atexit.register(self.close)

    def close(self) -> None:
        """Leave the beamline to the others, and the RunEngine alone. Idempotent.

        It goes on counting its runs in the store.
        """
        atexit.unregister(self.close)
        self._stack.close()
