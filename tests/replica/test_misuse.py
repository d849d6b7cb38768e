"""What nobody should do to a replica, and what somebody does: it goes on, or says why not."""

from __future__ import annotations

from kv_dict import InMemoryAsyncBackend, RemoteKVMapping

DEADLINE = 10.0


def test_clearing_costs_each_key_its_share() -> None:
    """It took minutes once: each deleted key had all those before it looked through."""
    with RemoteKVMapping(InMemoryAsyncBackend(), "ep1", reads="replica", timeout=100) as md:
        md.update({f"k{number}": number for number in range(40_000)})
        md.clear()
        assert len(md) == 0
