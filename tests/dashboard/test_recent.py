"""What was seen lately, in bounded memory."""

from __future__ import annotations

from kv_dict.dashboard.recent import Recent, Seen


def test_the_last_states_of_each_item_are_kept() -> None:
    recent = Recent(for_each=3)
    for number in range(5):
        recent.add("a", Seen(str(number).encode(), float(number), None))
    recent.add("b", Seen(None, 9.0, None))
    assert [seen.value for seen in recent.of("a")] == [b"2", b"3", b"4"]
    assert recent.of("b") == (Seen(None, 9.0, None),)
    assert recent.of("c") == ()


def test_memory_is_bounded_and_what_changed_long_ago_goes_first() -> None:
    recent = Recent(limit=10_000)
    recent.add("old", Seen(b"x" * 5000, 0.0, None))
    for number in range(50):
        recent.add("new", Seen(b"y" * 100, float(number), None))
    assert recent.of("old") == ()
    assert 30 < len(recent.of("new")) < 50
    recent.add("huge", Seen(b"z" * 20_000, 0.0, None))
    assert recent.of("huge") == recent.of("new") == ()
    recent.add("new", Seen(b"1", 1.0, None))
    assert len(recent.of("new")) == 1
