"""``/metrics`` in the text format of Prometheus."""

from __future__ import annotations

from collections.abc import Iterator

from kv_dict.dashboard.board import Board

__all__ = ["text"]


def text(board: Board) -> str:
    """Return how the dashboard and its sources are."""
    return "".join(line + "\n" for line in _lines(board))


def _lines(board: Board) -> Iterator[str]:
    fanout, counts = board.fanout, board.fanout.counts
    for name, kind, help_, value in (
        ("viewers", "gauge", "Browsers that are connected.", fanout.viewers),
        ("changes_total", "counter", "States that were told.", counts.changes),
        ("frames_total", "counter", "Frames sent, to all of them.", counts.frames),
        ("sent_bytes_total", "counter", "Bytes of events sent.", counts.bytes),
        ("snapshots_total", "counter", "Streams that began with everything.", counts.snapshots),
        ("resumed_total", "counter", "Streams that went on where they were.", counts.resumed),
        ("stalled_total", "counter", "Readers let go because they took nothing.", counts.stalled),
    ):
        yield f"# HELP kv_dict_dashboard_{name} {help_}"
        yield f"# TYPE kv_dict_dashboard_{name} {kind}"
        yield f"kv_dict_dashboard_{name} {value}"
    yield "# HELP kv_dict_dashboard_source_live Whether the store of a source can be followed."
    yield "# TYPE kv_dict_dashboard_source_live gauge"
    for source in board.sources.values():
        live = int(source.state == "live")
        yield f'kv_dict_dashboard_source_live{{source="{_label(source.name)}"}} {live}'
    yield "# HELP kv_dict_dashboard_source_keys Keys of a source."
    yield "# TYPE kv_dict_dashboard_source_keys gauge"
    for source in board.sources.values():
        keys = board.keys_of(source)
        yield f'kv_dict_dashboard_source_keys{{source="{_label(source.name)}"}} {keys}'


def _label(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
