"""Motors, simulated by ophyd-async; and what all sessions share, as signals on the store."""

from bluesky.run_engine import call_in_bluesky_event_loop
from ophyd_async.core import StrictEnum, init_devices, soft_signal_rw
from ophyd_async.sim import PatternGenerator, SimStage

from kv_dict.integrations.ophyd_async import kv_signal_rw


class ShutterState(StrictEnum):
    OPEN = "open"
    CLOSED = "closed"


pattern = PatternGenerator()  # what there is to see at each position of the table

with init_devices():
    table = SimStage(pattern)
    temperature = soft_signal_rw(float, 295.0, units="K", precision=1)
    # Items of `beamline`: every session and display sees the same, also after a restart.
    energy = kv_signal_rw(
        float, beamline, "energy", initial=7.112, units="keV", precision=3, limits=(4, 20)
    )
    shutter = kv_signal_rw(ShutterState, beamline, "shutter", initial=ShutterState.CLOSED)


async def at_once():
    """Have the table move at once. Not by a plan: another session may hold the baton."""
    await table.x.velocity.set(0)
    await table.y.velocity.set(0)


call_in_bluesky_event_loop(at_once())
