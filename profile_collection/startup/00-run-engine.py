"""RE, whose metadata lives where `kv_dict.toml` says."""

import atexit
import sys
from functools import cache
from pathlib import Path

from bluesky import RunEngine

from kv_dict import KVDictError
from kv_dict.coordination import Baton, Presence
from kv_dict.integrations.bluesky import RunStatus, require_baton, scan_id_source
from kv_dict.profiles import load_profile

try:
    profile = load_profile(profile_dir=Path(__file__).resolve().parents[1])
    md = profile.open()
except KVDictError as error:
    raise SystemExit(
        f"No session without metadata. {type(error).__name__}: {error}\n"
        "KV_DICT_PROFILE=local starts one whose metadata is in a file of this computer."
    ) from None
atexit.register(md.close)

RE = RunEngine(md, scan_id_source=scan_id_source)  # one counter for all sessions
status = RunStatus(RE)  # what it does, for every prompt and display
presence = Presence(md)  # who else is here: presence.sessions()
baton = Baton(md)  # who may run plans: baton.acquire(), baton.release()
if profile.require_baton:
    require_baton(RE, baton)


def in_queue_server():
    """Return whether the queue server runs this: there is nobody to be asked anything."""
    server = sys.modules.get("bluesky_queueserver")  # importing it would take as long as bluesky
    return server is not None and server.is_re_worker_active()


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
