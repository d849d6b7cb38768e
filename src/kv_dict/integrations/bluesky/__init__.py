"""bluesky: scan ids, what a RunEngine is doing, which one may run, and the next experiment."""

from kv_dict.integrations.bluesky.experiment import Handover, start_experiment
from kv_dict.integrations.bluesky.open_runs import stay_during_runs
from kv_dict.integrations.bluesky.require_baton import require_baton
from kv_dict.integrations.bluesky.run_status import RunStatus
from kv_dict.integrations.bluesky.scan_ids import ScanIds, async_scan_id_source, scan_id_source
from kv_dict.integrations.bluesky.session import BeamlineSession
from kv_dict.integrations.bluesky.status import Status, read_status

__all__ = [
    "BeamlineSession",
    "Handover",
    "RunStatus",
    "ScanIds",
    "Status",
    "async_scan_id_source",
    "read_status",
    "require_baton",
    "scan_id_source",
    "start_experiment",
    "stay_during_runs",
]
