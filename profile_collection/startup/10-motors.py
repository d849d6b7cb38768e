"""Motors and signals, simulated by ophyd-async."""

from bluesky.plan_stubs import mv
from ophyd_async.core import StrictEnum, init_devices, soft_signal_rw
from ophyd_async.sim import PatternGenerator, SimMotor, SimStage


class ShutterState(StrictEnum):
    OPEN = "open"
    CLOSED = "closed"


pattern = PatternGenerator()  # what there is to see at each position of the table

with init_devices():
    table = SimStage(pattern)
    energy = SimMotor(initial_value=7.112, units="keV")
    temperature = soft_signal_rw(float, 295.0, units="K", precision=1)
    shutter = soft_signal_rw(ShutterState, ShutterState.CLOSED)

RE(mv(table.x.velocity, 0, table.y.velocity, 0))  # it moves at once
