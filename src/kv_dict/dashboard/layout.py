"""What the board shows: `Layout`, of a table in a profile or of sensible defaults.

.. code-block:: toml

    [dashboard]
    title = "XAS"
    hide = ["*password*", "proposal/pi_email"]

    [[dashboard.tiles]]
    label = "Ring current"
    key = ["beam_current_mA", "ring_current"]
    unit = "mA"
    digits = 1
    max_age = 10
    rules = [{ below = 10, state = "alarm", text = "no beam" }, { below = 100, state = "warn" }]
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from kv_dict.dashboard import kinds
from kv_dict.dashboard.hiding import hides, without_hidden
from kv_dict.errors import ConfigurationError

if TYPE_CHECKING:
    from kv_dict.profiles import Profile

__all__ = ["STATES", "Layout", "Rule", "Tile"]

STATES: Final = ("ok", "busy", "warn", "alarm", "off")
"""Each a colour, and a mark beside it for who cannot tell colours apart."""

Scalar: TypeAlias = str | int | float | bool | None

_MOST_TILES: Final = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """When a tile is in a state. The first rule that holds counts.

    Parameters
    ----------
    state : {"ok", "busy", "warn", "alarm", "off"}
        Its colour.
    below, above : float, optional
        Holds for numbers less, or greater, than that.
    equals : str, int, float, bool, optional
        Holds for that value; text is compared without regard to case.
    text : str, optional
        Shown beside the value: what it means.
    """

    state: str
    below: float | None = None
    above: float | None = None
    equals: Scalar = None
    text: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tile:
    """One value on the board.

    Parameters
    ----------
    key : tuple of str
        The key; of several, the first that is there.
    path : tuple of (str or int)
        Where in the value: steps into dicts and lists.
    label : str
        What it is called; the key if empty.
    unit : str
        Behind the value.
    digits : int, optional
        Behind the decimal point.
    rules : tuple of Rule
        Its colours.
    detail : tuple of str
        Another key, or one and the way into it, whose value is shown below in small.
    max_age : float, optional
        Seconds without a change after which the value is shown as old.
    size : {1, 2}
        Columns.
    plot : bool
        Whether the last values of a number are drawn.
    optional : bool
        Left out where none of its keys is there.
    """

    key: tuple[str, ...]
    path: tuple[str | int, ...] = ()
    label: str = ""
    unit: str = ""
    digits: int | None = None
    rules: tuple[Rule, ...] = ()
    detail: tuple[str | int, ...] = ()
    max_age: float | None = None
    size: int = 1
    plot: bool = True
    optional: bool = False


_SHUTTER: Final = (
    Rule(equals="open", state="ok"),
    Rule(equals=True, state="ok", text="open"),
    Rule(equals=1, state="ok", text="open"),
    Rule(equals="closed", state="off"),
    Rule(equals=False, state="off", text="closed"),
    Rule(equals=0, state="off", text="closed"),
    Rule(equals="fault", state="alarm"),
)

_TILES: Final = (
    Tile(key=("sample", "sample_name"), label="Sample", size=2),
    Tile(
        key=("beam_current_mA", "beam_current", "ring_current", "sr_current"),
        label="Beam current",
        unit="mA",
        digits=1,
        rules=(
            Rule(below=1, state="alarm", text="no beam"),
            Rule(below=50, state="warn", text="low"),
        ),
        optional=True,
    ),
    Tile(
        key=("shutter", "photon_shutter", "safety_shutter", "shutter_status"),
        label="Shutter",
        rules=_SHUTTER,
        optional=True,
    ),
    Tile(key=("proposal",), path=("title",), label="Proposal", detail=("proposal", "proposal_id")),
    Tile(key=("proposal",), path=("pi_name",), label="Principal investigator"),
    Tile(key=("data_session",), label="Data session", detail=("cycle",)),
    Tile(key=("user", "username", "operator"), label="User"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """What the board of one source shows.

    Parameters
    ----------
    title : str
        What the beamline is called; the name of the source if empty.
    tiles : tuple of Tile
        The values on the board, in this order.
    hide : tuple of str
        What never leaves this process, neither to the page nor to any other reader of the API:
        paths, ``"proposal/pi_email"``, whose steps may be patterns (``*``, ``?``, ``[abc]``).
        Without a ``/`` it is hidden at every depth, with one in front at the top only.

    Examples
    --------
    >>> from kv_dict.dashboard import Layout
    >>> layout = Layout.from_dict({"hide": ["*password*"], "tiles": [{"key": "energy_keV"}]})
    >>> layout.hides("smtp_password"), layout.tiles[0].key
    (True, ('energy_keV',))
    >>> layout.shown("smtp", {"host": "mail", "password": "..."})
    {'host': 'mail'}
    """

    title: str = ""
    tiles: tuple[Tile, ...] = _TILES
    hide: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        hides(self.hide, "")  # refuses what is no pattern

    def hides(self, key: str) -> bool:
        """Return whether a key of the mapping is kept from readers, with all that is in it."""
        return hides(self.hide, key)

    def shown(self, key: str, value: Any) -> Any:
        """Return what readers get of the value of a key: the same object if that is all of it."""
        return without_hidden(self.hide, key, value)

    def as_dict(self) -> dict[str, Any]:
        """Return what the page needs of it, for JSON."""
        return {"title": self.title, "tiles": [asdict(tile) for tile in self.tiles]}

    @classmethod
    def from_dict(cls, given: Mapping[str, Any], where: str = "dashboard") -> Layout:
        """Return the layout of a table, as TOML gives it.

        Parameters
        ----------
        given : mapping
            Keys as the parameters of this class. A tile's ``key``, ``path`` and ``detail`` may be
            text or lists; in text, ``/`` separates steps of ``path`` and ``detail``.
        where : str
            What messages call the table.

        Raises
        ------
        ConfigurationError
            A key that is not known, or a value it cannot have; names it, as
            ``dashboard.tiles[0].unit``.
        """
        table = kinds.table(given, where, cls)
        read: dict[str, Any] = {}
        if "title" in table:
            read["title"] = kinds.text(table["title"], f"{where}.title")
        if "hide" in table:
            patterns = kinds.items(table["hide"], f"{where}.hide")
            read["hide"] = tuple(
                kinds.pattern(p, f"{where}.hide[{i}]") for i, p in enumerate(patterns)
            )
        if "tiles" in table:
            tiles = kinds.items(table["tiles"], f"{where}.tiles")
            if len(tiles) > _MOST_TILES:
                raise ConfigurationError(f"{where}.tiles: {len(tiles)} of them; at most 100")
            read["tiles"] = tuple(_tile(t, f"{where}.tiles[{i}]") for i, t in enumerate(tiles))
        return cls(**read)

    @classmethod
    def of_profile(cls, profile: Profile) -> Layout:
        """Return the layout in the table ``dashboard`` of a profile, or the default one.

        Raises
        ------
        ConfigurationError
            As `from_dict`; names the file and the profile, too.
        """
        table = profile.dashboard
        origins = [one.origin for one in profile.settings if one.name.startswith("dashboard.")]
        return cls.from_dict(table, f"{origins[0]} dashboard") if table else cls()


def _tile(given: Any, where: str) -> Tile:
    if isinstance(given, str):
        given = {"key": given}
    table = kinds.table(given, where, Tile)
    if "key" not in table:
        raise ConfigurationError(f"{where}.key is missing: the key whose value is shown")
    read: dict[str, Any] = {"key": kinds.keys(table.pop("key"), f"{where}.key")}
    for name, value in table.items():
        read[name] = _OF_TILE[name](value, f"{where}.{name}")
    return Tile(**read)


def _rule(given: Any, where: str) -> Rule:
    table = kinds.table(given, where, Rule)
    state = table.get("state")
    if state not in STATES:
        raise ConfigurationError(f"{where}.state = {state!r}: one of {', '.join(STATES)}")
    if len({"below", "above", "equals"} & set(table)) != 1:
        raise ConfigurationError(f"{where}: one of below, above and equals")
    read: dict[str, Any] = {"state": state}
    for name in ("below", "above"):
        if name in table:
            read[name] = kinds.number(table[name], f"{where}.{name}")
    if "equals" in table:
        if not isinstance(table["equals"], str | int | float):
            raise ConfigurationError(f"{where}.equals: a text, a number, true or false")
        read["equals"] = table["equals"]
    if "text" in table:
        read["text"] = kinds.text(table["text"], f"{where}.text")
    return Rule(**read)


def _rules(given: Any, where: str) -> tuple[Rule, ...]:
    return tuple(_rule(rule, f"{where}[{i}]") for i, rule in enumerate(kinds.items(given, where)))


_OF_TILE: Final = {
    "path": kinds.steps,
    "label": kinds.text,
    "unit": kinds.text,
    "digits": lambda given, where: kinds.choice(given, where, tuple(range(16))),
    "rules": _rules,
    "detail": kinds.steps,
    "max_age": kinds.seconds,
    "size": lambda given, where: kinds.choice(given, where, (1, 2)),
    "plot": kinds.flag,
    "optional": kinds.flag,
}
