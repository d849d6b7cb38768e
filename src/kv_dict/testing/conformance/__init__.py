"""The conformance suite: what every backend does, whatever its store.

Each test states one sentence of the contract in `kv_dict.backend`. A backend that cannot do
something says so in its `Capabilities`; no test is there to be overridden.
"""

from kv_dict.testing.conformance.commits import CommitConformance
from kv_dict.testing.conformance.entries import EntryConformance
from kv_dict.testing.conformance.guards import GuardConformance
from kv_dict.testing.conformance.history import HistoryConformance
from kv_dict.testing.conformance.life import LifeConformance
from kv_dict.testing.conformance.snapshots import SnapshotConformance
from kv_dict.testing.conformance.watch import WatchConformance
from kv_dict.testing.conformance.writers import WriterConformance

__all__ = ["BackendConformance"]


class BackendConformance(
    EntryConformance,
    GuardConformance,
    CommitConformance,
    SnapshotConformance,
    WriterConformance,
    WatchConformance,
    HistoryConformance,
    LifeConformance,
):
    """Subclass this with a ``raw`` fixture that returns a `RawStore` with an empty store.

    Examples
    --------
    ::

        class TestMyBackend(BackendConformance):
            @pytest.fixture
            def raw(self, tmp_path):
                return MyRawStore(tmp_path)
    """
