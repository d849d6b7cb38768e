"""What a mapping can be told beside where it lives, checked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, Final

from kv_dict.checks import Check, checker
from kv_dict.codec import Codec, CustomCodec, JSONCodec
from kv_dict.errors import ConfigurationError

__all__ = ["Options", "check_timeout"]

_LONGEST_TIMEOUT: Final = 86_400


@dataclass(frozen=True, slots=True)
class Options:
    """The keyword arguments of `RemoteKVMapping`, which says what they mean.

    Raises
    ------
    ConfigurationError
        One has a value that it cannot have, or does not go with another.
    TypeError
        `timeout` is not a number.
    """

    json_encoder: Callable[[Any], str | bytes] | None
    json_decoder: Callable[[str], Any] | None
    reads: str
    timeout: float
    on_outage: str
    protected: tuple[str, ...] = ()
    check: str | Check | None = None

    def __post_init__(self) -> None:
        if self.reads not in ("server", "replica"):
            raise ConfigurationError(f"reads={self.reads!r}: 'server' or 'replica'")
        if self.on_outage not in ("fail", "continue"):
            raise ConfigurationError(f"on_outage={self.on_outage!r}: 'fail' or 'continue'")
        if self.on_outage == "continue" and self.reads != "replica":
            raise ConfigurationError(
                "on_outage='continue' needs reads='replica', to read meanwhile"
            )
        check_timeout(self.timeout)
        checker(self.check)

    @property
    def codec(self) -> Codec:
        """How values are encoded."""
        if self.json_encoder is not None or self.json_decoder is not None:
            return CustomCodec(self.json_encoder, self.json_decoder)
        return JSONCodec()

    @property
    def checker(self) -> Check | None:
        """What refuses values."""
        return checker(self.check)

    def as_keywords(self) -> dict[str, Any]:
        """Return them as a mapping takes them."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


def check_timeout(seconds: float) -> float:
    """Return a timeout in seconds as a float; ConfigurationError or TypeError if it is none."""
    if isinstance(seconds, bool) or not isinstance(seconds, int | float):
        raise TypeError(f"timeout={seconds!r}: seconds, as a number")
    if not 0 < seconds <= _LONGEST_TIMEOUT:
        raise ConfigurationError(f"timeout={seconds!r}: seconds, above 0, up to a day")
    return float(seconds)
