"""Detectors, simulated by ophyd-async."""

from bluesky.plan_stubs import mv
from ophyd_async.core import init_devices
from ophyd_async.sim import SimPointDetector

with init_devices():
    det = SimPointDetector(pattern, num_channels=2)

RE(mv(det.acquire_time, 0.01))
