"""Detectors, simulated by ophyd-async."""

from bluesky.run_engine import call_in_bluesky_event_loop
from ophyd_async.core import init_devices
from ophyd_async.sim import SimPointDetector

with init_devices():
    det = SimPointDetector(pattern, num_channels=2)


async def expose_shortly():
    """Expose for a hundredth of a second."""
    await det.acquire_time.set(0.01)


call_in_bluesky_event_loop(expose_shortly())
