"""bluesky: scan ids that several RunEngines share, and the handover to the next experiment."""

from kv_dict.integrations.bluesky.experiment import Handover, start_experiment
from kv_dict.integrations.bluesky.scan_ids import ScanIds, async_scan_id_source, scan_id_source

__all__ = ["Handover", "ScanIds", "async_scan_id_source", "scan_id_source", "start_experiment"]
