"""Sessions that share a store agree: who is there, and who may act.

Without a framework; `kv_dict.integrations.bluesky` has a RunEngine ask for the baton.
"""

from kv_dict.coordination.baton import Baton
from kv_dict.coordination.beside import beside
from kv_dict.coordination.presence import Presence, Present
from kv_dict.coordination.pulse import Pulse, elapsed
from kv_dict.coordination.record import BatonRecord, Handover, Request
from kv_dict.coordination.session import Session

__all__ = [
    "Baton",
    "BatonRecord",
    "Handover",
    "Presence",
    "Present",
    "Pulse",
    "Request",
    "Session",
    "beside",
    "elapsed",
]
