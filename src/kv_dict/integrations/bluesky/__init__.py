"""bluesky: scan ids that several RunEngines share."""

from kv_dict.integrations.bluesky.scan_ids import ScanIds, async_scan_id_source, scan_id_source

__all__ = ["ScanIds", "async_scan_id_source", "scan_id_source"]
