"""RE, whose metadata lives where `kv_dict.toml` says, and what it shares with other sessions."""

import atexit
import sys
from functools import cache
from pathlib import Path

from bluesky import RunEngine

from kv_dict import KVDictError, RemoteKVMapping
from kv_dict.coordination import beside
from kv_dict.integrations.bluesky import BeamlineSession
from kv_dict.profiles import load_profile


def in_queue_server():
    """Return whether the queue server runs this: there is nobody to be asked anything."""
    server = sys.modules.get("bluesky_queueserver")  # importing it would take as long as bluesky
    return server is not None and server.is_re_worker_active()


try:
    profile = load_profile(profile_dir=Path(__file__).resolve().parents[1])
    md = profile.open()
    # What the beamline is at, for all sessions, and in no start document: see 10-motors.py.
    beamline = RemoteKVMapping(md.backend, beside(md, "beamline"), md.sep, reads="replica")
except KVDictError as error:
    raise SystemExit(
        f"No session without metadata. {type(error).__name__}: {error}\n"
        "KV_DICT_PROFILE=local starts one whose metadata is in a file of this computer."
    ) from None
atexit.register(md.close)
atexit.register(beamline.close)

RE = RunEngine(md)
# One counter of scan ids for all sessions; what RE does, for every prompt and display; who is here,
# `presence.sessions()`; and who may run plans, if the profile says require_baton = true.
session = BeamlineSession(RE, profile, program="queue server" if in_queue_server() else "ipython")
presence = session.presence
baton = session.baton


def take_baton(wait: float = 0.0):
    """Take the baton for this session; NotHolder says who has it. Seconds to wait for it."""
    return baton.acquire(wait)


def release_baton():
    """Let others run plans."""
    baton.release()


@cache
def best_effort():
    """Return what prints the runs; made when it is first used, because it imports matplotlib."""
    from bluesky.callbacks.best_effort import BestEffortCallback

    callback = BestEffortCallback()
    callback.disable_plots()  # best_effort().enable_plots() after `%matplotlib qt`
    return callback


RE.subscribe(lambda name, document: best_effort()(name, document))
if in_queue_server():
    best_effort()  # nobody waits for a prompt there, but the first run would
