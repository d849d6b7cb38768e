"""bluesky: scan ids that several RunEngines share, what each is doing, and which one may run."""

from kv_dict.integrations.bluesky.require_baton import require_baton
from kv_dict.integrations.bluesky.run_status import RunStatus
from kv_dict.integrations.bluesky.scan_ids import ScanIds, async_scan_id_source, scan_id_source
from kv_dict.integrations.bluesky.status import Status, read_status

__all__ = [
    "RunStatus",
    "ScanIds",
    "Status",
    "async_scan_id_source",
    "read_status",
    "require_baton",
    "scan_id_source",
]
