"""Which profile is in force, and what of files, environment and arguments wins."""

from __future__ import annotations

import dataclasses
import logging
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kv_dict import (
    CheckError,
    ConfigurationError,
    ProtectedError,
    RemoteKVMapping,
    SQLiteBackend,
    open_mapping,
)
from kv_dict.profiles import Profile, default_path, list_profiles, load_profile

Write = Callable[..., Path]

XAS = """
default = "xas"

[profiles.xas]
url = "sqlite:xas.db"
entry_point = "xas"
timeout = 2

[profiles.other]
url = "memory://"
"""


def origins(profile: Profile) -> dict[str, str]:
    return {setting.name: setting.origin for setting in profile.settings}


def values(profile: Profile) -> dict[str, Any]:
    return {setting.name: setting.value for setting in profile.settings}


# -- which -----------------------------------------------------------------------------------------


def test_nothing_said() -> None:
    profile = load_profile()
    assert profile.name == "default"
    assert profile.url == f"sqlite://{default_path()}"
    assert (profile.entry_point, profile.separator, profile.reads) == ("md", ":", "replica")
    assert (profile.timeout, profile.on_outage, profile.protected) == (5.0, "fail", ())
    assert set(origins(profile).values()) == {"default"}
    assert not default_path().parent.exists(), "nothing is made before it is opened"


def test_the_file_names_the_default(write: Write) -> None:
    path = write(XAS)
    profile = load_profile()
    assert (profile.name, profile.entry_point, profile.timeout) == ("xas", "xas", 2.0)
    assert profile.url == f"sqlite://{path.parent}/xas.db"
    assert origins(profile) == {
        "profile": f"{path} default",
        "url": f"{path} [profiles.xas]",
        "entry_point": f"{path} [profiles.xas]",
        "separator": "default",
        "reads": "default",
        "timeout": f"{path} [profiles.xas]",
        "on_outage": "default",
        "protected": "default",
        "check": "default",
        "require_baton": "default",
    }


def test_a_profile_called_default_is_the_default(write: Write) -> None:
    write('[profiles.default]\nurl = "memory://"')
    assert load_profile().url == "memory://"


def test_environment_over_default_and_argument_over_environment(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(XAS + '[profiles.third]\nurl = "memory://?history=3"')
    monkeypatch.setenv("KV_DICT_PROFILE", "other")
    profile = load_profile()
    assert (profile.name, profile.url) == ("other", "memory://")
    assert origins(profile)["profile"] == "environment KV_DICT_PROFILE"
    assert load_profile("third").name == "third"
    assert origins(load_profile("third"))["profile"] == "argument"
    monkeypatch.setenv("KV_DICT_PROFILE", "")  # as not set
    assert load_profile().name == "xas"


def test_nearer_files_win_profile_by_profile(places: Any, write: Write) -> None:
    for number, folder in enumerate((places.site, places.user, places.ipython, places.cwd)):
        write(
            f'default = "of{number}"\n[profiles.of{number}]\ntimeout = {number + 1}\n'
            f"[profiles.shared]\ntimeout = {number + 1}",
            folder,
        )
    load = lambda name=None: load_profile(name, profile_dir=places.ipython)  # noqa: E731
    assert load().name == "of3"
    assert [load(f"of{number}").timeout for number in range(4)] == [1, 2, 3, 4]
    assert load("shared").timeout == 4
    for number, folder in ((2, places.cwd), (1, places.ipython), (0, places.user)):
        (folder / "kv_dict.toml").unlink()
        assert load().name == f"of{number}"
        assert load("shared").timeout == number + 1


def test_a_nearer_table_hides_the_whole_of_a_farther_one(places: Any, write: Write) -> None:
    write('[profiles.a]\nurl = "memory://"\ntimeout = 3', places.user)
    write('[profiles.a]\nentry_point = "near"')
    profile = load_profile("a")
    assert (profile.entry_point, profile.timeout) == ("near", 5.0)
    assert origins(profile)["url"] == "default"


def test_a_default_may_be_of_another_file(places: Any, write: Write) -> None:
    write('default = "far"')
    write('[profiles.far]\nurl = "memory://"', places.site)
    assert load_profile().name == "far"


def test_kv_dict_config_names_the_only_file(
    places: Any, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(XAS)
    elsewhere = places.root / "elsewhere.toml"
    elsewhere.write_text('[profiles.only]\nurl = "sqlite:only.db"')
    monkeypatch.setenv("KV_DICT_CONFIG", str(elsewhere))
    assert load_profile().name == "default"
    assert load_profile("only").url == f"sqlite://{places.root}/only.db"
    with pytest.raises(ConfigurationError, match="no profile has that name"):
        load_profile("xas")
    elsewhere.unlink()
    with pytest.raises(ConfigurationError, match=r"KV_DICT_CONFIG: there is no file .*elsewhere"):
        load_profile()


def test_several_system_directories(
    places: Any, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = places.root / "one", places.root / "two"
    for number, folder in enumerate((one, two)):
        (folder / "kv-dict").mkdir(parents=True)
        write(f"[profiles.a]\ntimeout = {number + 1}", folder / "kv-dict")
    monkeypatch.setenv("XDG_CONFIG_DIRS", f"{one}{os.pathsep}{two}")
    assert load_profile("a").timeout == 1


@pytest.mark.parametrize("spelling", ["--profile-dir={}", "--profile-dir {}"])
def test_the_profile_directory_on_the_command_line(
    places: Any, write: Write, monkeypatch: pytest.MonkeyPatch, spelling: str
) -> None:
    path = write('default = "here"\n[profiles.here]\nurl = "sqlite:here.db"', places.ipython)
    monkeypatch.setattr("sys.argv", ["ipython", *spelling.format(places.ipython).split(" ")])
    assert load_profile().url == f"sqlite://{path.parent}/here.db"
    monkeypatch.setattr("sys.argv", ["ipython", "--profile-dir"])
    assert load_profile().name == "default"


def test_the_running_ipython_tells_its_profile_directory(places: Any, write: Write) -> None:
    pytest.importorskip("IPython")
    write('default = "here"\n[profiles.here]\nurl = "sqlite:here.db"', places.ipython)
    startup = places.ipython / "startup"
    startup.mkdir()
    (startup / "00-md.py").write_text(
        "import sys\nsys.argv[1:] = []\n"
        "from kv_dict import open_mapping\nmd = open_mapping()\nprint(md.backend.url)\nmd.close()\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "IPython", f"--profile-dir={places.ipython}", "-c", "pass"],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "IPYTHONDIR": str(places.root / "ipython")},
    )
    assert f"sqlite://{places.ipython}/here.db" in done.stdout, done.stderr


def test_a_working_directory_that_was_removed(places: Any, write: Write) -> None:
    write('[profiles.a]\nurl = "memory://"', places.user)
    places.cwd.rmdir()
    assert load_profile("a").url == "memory://"


# -- what overrides what ---------------------------------------------------------------------------


def test_every_setting_may_come_from_another_place(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(XAS)
    monkeypatch.setenv("KV_DICT_ENTRY_POINT", "of the environment")
    monkeypatch.setenv("KV_DICT_ON_OUTAGE", "continue")
    monkeypatch.setenv("KV_DICT_PROTECTED", "a, b")
    profile = load_profile(reads="replica", timeout=7)
    assert profile.entry_point == "of the environment"
    assert (profile.on_outage, profile.protected, profile.timeout) == ("continue", ("a", "b"), 7.0)
    assert load_profile(entry_point="of the call").entry_point == "of the call"
    found = origins(profile)
    assert found["url"] == f"{path} [profiles.xas]"
    assert found["entry_point"] == "environment KV_DICT_ENTRY_POINT"
    assert found["timeout"] == "argument timeout"
    assert found["separator"] == "default"


def test_a_url_in_the_environment_makes_the_address_of_the_profile_void(
    write: Write, places: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    (places.cwd / "password").write_text("hush")
    write("""
        default = "redis"
        [profiles.redis]
        url = "rediss://xas-server/1"
        user = "xas"
        password_file = "password"
        options = { replicas = 1 }
        entry_point = "xas"
        """)
    assert load_profile().url.startswith("rediss://xas@xas-server:6379/1?")
    monkeypatch.setenv("KV_DICT_URL", "redis://elsewhere/")
    profile = load_profile()
    assert profile.url == "redis://elsewhere:6379/0", "no login is shown to another server"
    assert profile.entry_point == "xas"
    assert origins(profile)["url"] == "environment KV_DICT_URL"
    named = load_profile("redis")
    assert named.url.startswith("rediss://xas@xas-server"), "a name that is asked for is meant"


def test_an_argument_that_is_a_url_asks_no_file(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    write("this is no TOML")
    monkeypatch.setenv("KV_DICT_PROFILE", "nobody")
    monkeypatch.setenv("KV_DICT_URL", "gopher://x")
    monkeypatch.setenv("KV_DICT_PASSWORD_FILE", "/nowhere")
    monkeypatch.setenv("KV_DICT_ENTRY_POINT", "xas")
    profile = load_profile("memory://")
    assert (profile.name, profile.url, profile.entry_point) == ("(url)", "memory://", "xas")
    assert profile.reads == "server"
    monkeypatch.setenv("KV_DICT_READS", "replica")
    assert load_profile("memory://").reads == "replica"
    assert load_profile("memory://", reads="server").reads == "server"


def test_a_login_from_the_environment_is_added_to_the_profile(
    write: Write, places: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    (places.cwd / "password").write_text("hush")
    write('default = "redis"\n[profiles.redis]\nurl = "redis://xas-server/1"')
    monkeypatch.setenv("KV_DICT_USER", "me")
    monkeypatch.setenv("KV_DICT_PASSWORD_FILE", "password")
    assert load_profile().url == f"redis://me@xas-server:6379/1?password_file={places.cwd}/password"


@pytest.mark.parametrize(("text", "separator"), [("false", None), ("/", "/"), ("::", "::")])
def test_separator_of_the_environment(
    text: str, separator: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KV_DICT_SEPARATOR", text)
    assert load_profile().separator == separator


@pytest.mark.parametrize("text", ['""', "false"])
def test_flat_keys(write: Write, places: Any, text: str) -> None:
    write(f'[profiles.a]\nurl = "sqlite:a.db"\nentry_point = "xas-"\nseparator = {text}')
    with load_profile("a").open() as md:
        md["sample"] = "Fe2O3"
        assert (md.sep, md.entry_point) == (None, "xas-")
    with open_mapping("sqlite:a.db", entry_point="xas-sample") as md:
        assert dict(md) == {}
    import sqlite3

    connection = sqlite3.connect(places.cwd / "a.db")
    assert connection.execute("SELECT key FROM entries").fetchall() == [("xas-sample",)]
    connection.close()


def test_a_variable_that_nobody_knows_is_told_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("KV_DICT_ENTRYPOINT", "xas")
    monkeypatch.setenv("KV_DICT_TEST_OF_MINE", "xas")
    with caplog.at_level(logging.WARNING, "kv_dict"):
        load_profile()
        load_profile()
    (message,) = caplog.messages
    assert "KV_DICT_ENTRYPOINT means nothing to kv_dict; did you mean 'KV_DICT_ENTRY" in message


# -- paths -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("sqlite:a.db", "{user}/a.db"),
        ("sqlite:///a.db", "{user}/a.db"),
        ("sqlite:../a b.db", "{user}/../a b.db"),
        ("sqlite:~/a.db", "{home}/a.db"),
        ("sqlite:////abs/a.db", "/abs/a.db"),
        ("sqlite:/abs/a%23b.db", "/abs/a#b.db"),
    ],
)
def test_paths_are_relative_to_the_file(places: Any, write: Write, url: str, path: str) -> None:
    write(f'[profiles.a]\nurl = "{url}"\noptions = {{ history = 3 }}', places.user)
    backend = load_profile("a").backend()
    assert isinstance(backend, SQLiteBackend)
    expected = path.format(user=places.user, home=places.root / "home")
    assert os.path.normpath(backend.path) == os.path.normpath(expected)
    assert backend._file.history == 3


def test_other_files_are_relative_to_it_too(places: Any, write: Write, certificates: Path) -> None:
    (places.user / "secrets").mkdir()
    (places.user / "secrets" / "password").write_text("hush")
    for name in ("ca.pem", "client.pem", "client.key"):
        (places.user / name).write_bytes((certificates / name).read_bytes())
    write(
        """
        [profiles.a]
        url = "postgresql://xas-server/metadata"
        user = "bl@02"
        password_file = "secrets/password"
        options = { table = "xas.md", create_table = true }
        [profiles.a.tls]
        ca = "ca.pem"
        cert = "client.pem"
        key = "client.key"
        """,
        places.user,
    )
    profile = load_profile("a")
    folder = places.user
    address, _, query = profile.url.partition("?")
    assert address == "postgresql://bl%4002@xas-server/metadata"
    assert set(query.split("&")) == {
        f"ca_file={folder}/ca.pem",
        f"cert_file={folder}/client.pem",
        f"key_file={folder}/client.key",
        "table=xas.md",
    }
    assert values(profile)["password_file"] == f"{folder}/secrets/password"


# -- opening ---------------------------------------------------------------------------------------


def test_defaults_are_put_where_they_are_missing(write: Write) -> None:
    write("""
        [profiles.a]
        url = "sqlite:a.db"
        protected = ["beamline_id"]
        [profiles.a.defaults]
        beamline_id = "XAS"
        cycle = "2026-3"
        installed = 2026-01-31
        sample = { name = "none", layers = [1, 2.5] }
        """)
    profile = load_profile("a")
    with profile.open() as md:
        assert md["beamline_id"] == "XAS"
        assert md["sample"] == {"name": "none", "layers": [1, 2.5]}
        assert md["installed"].isoformat() == "2026-01-31"
        md["cycle"] = "2027-1"
        del md["sample"]["name"]
        with pytest.raises(ProtectedError):
            md["beamline_id"] = "other"
    with profile.open() as md:
        assert md["cycle"] == "2027-1", "nothing is overwritten"
        assert md["sample"] == {"layers": [1, 2.5]}


def test_what_is_opened_is_as_the_profile_says(write: Write) -> None:
    write("""
        [profiles.a]
        url = "sqlite:a.db"
        entry_point = "ep"
        separator = "/"
        reads = "replica"
        on_outage = "continue"
        timeout = 1.5
        protected = ["a"]
        check = "bluesky"
        """)
    with open_mapping("a") as md:
        assert (md.entry_point, md.sep, md.reads, md.timeout) == ("ep", "/", "replica", 1.5)
        assert (md.protected, md.on_outage) == (("a",), "continue")
        with pytest.raises(CheckError, match="bluesky wants a whole number"):
            md["scan_id"] = "7"
    with open_mapping("a", entry_point="other", reads="replica") as md:
        assert md.entry_point == "other"


def test_what_a_profile_is_for(write: Write, places: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that somebody wrote is for RE.md: what no run could carry is refused, unless it says."""
    write("""
        [profiles.xas]
        url = "sqlite:a.db"
        [profiles.settings]
        url = "sqlite:a.db"
        entry_point = "settings"
        check = "none"
        defaults = { sample = [1] }
        """)
    for target, check in (
        ("xas", "bluesky"),
        ("settings", "none"),
        ("memory://", "none"),
        (None, "none"),  # nobody wrote one
    ):
        assert load_profile(target).check == check
    assert load_profile("xas", entry_point="xas-318").check == "bluesky"
    with open_mapping("xas") as md:
        with pytest.raises(CheckError, match="bluesky wants a string or a dict"):
            md["sample"] = ["Fe2O3"]
        with pytest.raises(CheckError, match=r"no '\.' and no '/'"):
            md["sample"] = {"a.b": 1}
        with RemoteKVMapping(md.backend, "settings") as settings:
            settings["focused"] = {"slits.gap": 0.5}
    with open_mapping("settings") as md:
        assert md["sample"] == [1]
    monkeypatch.setenv("REDIS_HOST", "xas-redis")
    assert load_profile("nslsii").check == "bluesky"
    monkeypatch.setenv("KV_DICT_CHECK", "none")
    assert load_profile("xas").check == "none"
    monkeypatch.setenv("KV_DICT_CHECK", "bluesky")
    assert load_profile("memory://").check == "bluesky"


def test_it_is_frozen(write: Write) -> None:
    write('[profiles.a]\nurl = "memory://"\n[profiles.a.defaults]\nsample = { layers = [1] }')
    profile = load_profile("a")
    with pytest.raises(dataclasses.FrozenInstanceError):
        profile.timeout = 3  # type: ignore[misc]
    profile.defaults["sample"]["layers"].append(2)
    assert profile.defaults == {"sample": {"layers": [1]}}


def test_a_pickle_opens_the_same(write: Write) -> None:
    write('[profiles.a]\nurl = "sqlite:a.db"\n[profiles.a.defaults]\ncycle = "2026-3"')
    with pickle.loads(pickle.dumps(load_profile("a"))).open() as md:
        assert dict(md) == {"cycle": "2026-3"}


def test_a_store_that_cannot_be_opened_leaves_nothing_open(write: Write) -> None:
    write('[profiles.a]\nurl = "sqlite:no/such/folder/a.db"')
    with pytest.raises(ConfigurationError, match="there is no folder"):
        open_mapping("a")


# -- what there is ---------------------------------------------------------------------------------


def test_the_list(write: Write, places: Any) -> None:
    near, far = write(XAS), write('[profiles.xas]\n[profiles.broken]\nread = "x"', places.site)
    listed = {(one.name, one.where): one for one in list_profiles()}
    assert [name for (name, _), one in listed.items() if one.in_force] == ["xas"]
    assert listed["xas", str(near)].url == f"sqlite://{places.cwd}/xas.db"
    assert listed["xas", str(far)].problem == f"hidden by {near}"
    assert "did you mean 'reads'?" in str(listed["broken", str(far)].problem)
    assert listed["other", str(near)].url == "memory://"
    assert listed["default", "built in"].url == f"sqlite://{default_path()}"
    assert "REDIS_HOST" in str(listed["nslsii", "built in"].problem)
