"""``from = "nslsii"``: the environment variables by which NSLS-II's nslsii package finds Redis.

As `nslsii.utils.open_redis_client` of nslsii 0.11 has it. Without TLS there is no password. Over
TLS the password is in ``REDIS_PASSWORD``, or in a file that ``REDIS_SECRET_FILE`` names or that is
at the usual place. What it keeps there is in the layout of redis-json-dict: no separator, and the
entry point is the prefix.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Final

from kv_dict.credentials import Secret
from kv_dict.errors import ConfigurationError
from kv_dict.profiles.keys import Given, Origin

__all__ = ["settings"]


SECRET_FILE: Final = "/etc/bluesky/redis.secret"  # noqa: S105 - where it is, not what
_USUAL: Final = "nslsii's default of REDIS_SECRET_FILE"


def settings(given: Mapping[str, Given]) -> dict[str, Given]:
    """Return what the environment says, below what the profile says in `given`."""
    of_nslsii = Origin("nslsii")
    found = {
        "entry_point": Given("", of_nslsii),
        "separator": Given(None, of_nslsii),
    }
    if "url" in given:
        return found
    password = os.environ.get("REDIS_PASSWORD")
    file = os.environ.get("REDIS_SECRET_FILE")
    secure = bool(password or file) or any(key.startswith("tls.") for key in given)
    host, source = _host(secure)
    port = os.environ.get("REDIS_PORT") or ("6380" if secure else "6379")
    scheme = "rediss" if secure else "redis"
    found["url"] = Given(f"{scheme}://{host}:{port}/", source)
    if password:
        found["password"] = Given(Secret(password), _variable("REDIS_PASSWORD"))
    elif secure:
        where = _variable("REDIS_SECRET_FILE") if file else Origin(_USUAL)
        found["password_file"] = Given(where.path("password_file", file or SECRET_FILE), where)
    return found


def _host(secure: bool) -> tuple[str, Origin]:
    if host := os.environ.get("REDIS_HOST"):
        return host, _variable("REDIS_HOST")
    acronym = os.environ.get("BEAMLINE_ACRONYM")
    if acronym and not secure:
        return f"info.{acronym.lower()}.nsls2.bnl.gov", _variable("BEAMLINE_ACRONYM")
    raise ConfigurationError(
        "the profile is from nslsii, and REDIS_HOST is not set"
        + (
            ": with TLS it has to name the server"
            if secure
            else ", nor BEAMLINE_ACRONYM: one of them has to say which server it is"
        )
    )


def _variable(name: str) -> Origin:
    return Origin(f"environment {name}")
