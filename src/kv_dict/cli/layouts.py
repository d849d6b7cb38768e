"""What a board shows: of a file that an option names, or of the profile."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from kv_dict.errors import ConfigurationError

if TYPE_CHECKING:
    from kv_dict.dashboard.layout import Layout
    from kv_dict.profiles import Profile

__all__ = ["layout_of"]


def layout_of(profile: Profile, file: Path | None, hide: Sequence[str] = ()) -> Layout:
    """Return the layout of `file`, or else that of the profile.

    What the profile hides stays hidden whatever the file says, and `hide` comes on top.

    Raises
    ------
    ConfigurationError
        One of them cannot be read; names the file and the key.
    """
    from kv_dict.dashboard.layout import Layout

    layout = of_profile = Layout.of_profile(profile)
    if file is not None:
        layout = _read(file)
        hide = (*of_profile.hide, *hide)
    return replace(layout, hide=(*layout.hide, *hide))


def _read(path: Path) -> Layout:
    from kv_dict.dashboard.layout import Layout
    from kv_dict.profiles.documents import parse_toml, read_text

    try:
        text = read_text(path)
    except OSError as error:
        raise ConfigurationError(f"cannot read {path}: {error.strerror}") from None
    except ValueError as error:
        raise ConfigurationError(f"{path} is no TOML: {error}") from None
    table = parse_toml(path, text)
    try:
        return Layout.from_dict(table.get("dashboard", table))
    except ConfigurationError as error:
        raise ConfigurationError(f"{path}: {error}") from None
