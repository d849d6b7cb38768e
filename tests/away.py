"""A store that can be cut off."""

from __future__ import annotations

from kv_dict import InMemoryAsyncBackend, Unavailable


class Away(InMemoryAsyncBackend):
    """A memory store that can be cut off."""

    away = False

    def check_open(self) -> None:
        super().check_open()
        if self.away:
            raise Unavailable("cut off")
