"""Facilities' own configuration: nslsii's environment, BITS' iconfig.yml, bluesky-nats' client."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from redis import Redis
from redis_json_dict import RedisJSONDict

from kv_dict import ConfigurationError, open_mapping
from kv_dict.profiles import Profile, load_profile
from kv_dict.testing.servers.nats import NatsServer

Write = Callable[..., Path]
Env = pytest.MonkeyPatch


def origins(profile: Profile) -> dict[str, str]:
    return {setting.name: setting.origin for setting in profile.settings}


def refusal(target: str) -> str:
    with pytest.raises(ConfigurationError) as caught:
        load_profile(target)
    assert "hush" not in str(caught.value)
    return str(caught.value)


# -- nslsii ----------------------------------------------------------------------------------------


def test_nslsii_where_redis_json_dict_left_it(
    redis_url: str, monkeypatch: Env, write: Write
) -> None:
    parts = urlsplit(redis_url)
    monkeypatch.setenv("REDIS_HOST", str(parts.hostname))
    monkeypatch.setenv("REDIS_PORT", str(parts.port))
    write('[profiles.xas]\nfrom = "nslsii"\nentry_point = "xas-"\noptions = { db = 0 }')
    with Redis.from_url(redis_url) as client:
        theirs = RedisJSONDict(client, prefix="xas-")
        theirs["proposal"] = {"title": "Iron", "pi_name": "Ada"}
        with open_mapping("xas") as md:
            assert md["proposal"] == {"title": "Iron", "pi_name": "Ada"}
            md["data_session"] = "pass-318"
            assert theirs["data_session"] == "pass-318"
            md.clear()


def test_nslsii_without_tls(monkeypatch: Env) -> None:
    monkeypatch.setenv("BEAMLINE_ACRONYM", "TST")
    profile = load_profile("nslsii")
    assert profile.url == "redis://info.tst.nsls2.bnl.gov:6379/0"
    assert (profile.entry_point, profile.separator, profile.reads) == ("", None, "replica")
    assert origins(profile)["url"] == "environment BEAMLINE_ACRONYM"
    assert origins(profile)["from"] == "built in"
    monkeypatch.setenv("REDIS_HOST", "xf31id1-tst-redis1")
    monkeypatch.setenv("KV_DICT_PROFILE", "nslsii")
    profile = load_profile()
    assert profile.url == "redis://xf31id1-tst-redis1:6379/0"
    assert origins(profile)["url"] == "environment REDIS_HOST"


def test_nslsii_over_tls(monkeypatch: Env, tmp_path: Path, write: Write) -> None:
    monkeypatch.setenv("REDIS_HOST", "xf31id1-tst-redis1")
    (tmp_path / "secret").write_text("hush\n")
    monkeypatch.setenv("REDIS_SECRET_FILE", str(tmp_path / "secret"))
    profile = load_profile("nslsii")
    assert profile.url == f"rediss://xf31id1-tst-redis1:6380/0?password_file={tmp_path}/secret"
    assert origins(profile)["password_file"] == "environment REDIS_SECRET_FILE"
    monkeypatch.setenv("REDIS_PASSWORD", "hush/@:#")
    profile = load_profile("nslsii")
    assert profile.url == "rediss://:***@xf31id1-tst-redis1:6380/0"
    assert "hush" not in repr(profile) + str(profile.settings)
    assert ("password", "***", "environment REDIS_PASSWORD") in profile.settings
    assert profile._address.reveal() == "rediss://:hush%2F%40%3A%23@xf31id1-tst-redis1:6380/"
    write(f'[profiles.tst]\nfrom = "nslsii"\npassword_file = "{tmp_path}/secret"')
    assert "password_file=" in load_profile("tst").url, "what the profile says is nearer"


def test_nslsii_asks_for_the_usual_secret_where_tls_is_wanted(
    monkeypatch: Env, certificates: Path, write: Write
) -> None:
    monkeypatch.setenv("REDIS_HOST", "xf31id1-tst-redis1")
    monkeypatch.setattr("kv_dict.profiles.nslsii.SECRET_FILE", "/nowhere/redis.secret")
    write(f'[profiles.tst]\nfrom = "nslsii"\ntls = {{ ca = "{certificates}/ca.pem" }}')
    assert "default of REDIS_SECRET_FILE=/nowhere/redis.secret: No such file" in refusal("tst")


def test_nslsii_has_to_say_which_server(monkeypatch: Env) -> None:
    assert "REDIS_HOST is not set, nor BEAMLINE_ACRONYM" in refusal("nslsii")
    monkeypatch.setenv("REDIS_PASSWORD", "hush")
    monkeypatch.setenv("BEAMLINE_ACRONYM", "TST")
    assert "with TLS it has to name the server" in refusal("nslsii")
    monkeypatch.setenv("KV_DICT_PROFILE", "nslsii")
    monkeypatch.setenv("KV_DICT_URL", "memory://")
    assert load_profile().url == "memory://"
    assert load_profile().separator is None


def test_nothing_of_a_facility_is_taken_unasked(monkeypatch: Env) -> None:
    monkeypatch.setenv("REDIS_HOST", "xf31id1-tst-redis1")
    assert load_profile().url.startswith("sqlite:")


# -- BITS ------------------------------------------------------------------------------------------

ICONFIG = """
ICONFIG_VERSION: 2.0.1
RUN_ENGINE:
    DEFAULT_METADATA:
        beamline_id: demo_instrument
        proposal_id: commissioning
    MD_PATH: .re_md_dict.yml
    USE_PROGRESS_BAR: false
OPHYD:
    TIMEOUTS: {PV_READ: &TIMEOUT 5, PV_WRITE: *TIMEOUT}
"""


def test_bits(places: Any) -> None:
    (places.cwd / "configs").mkdir()
    path = places.cwd / "configs" / "iconfig.yml"
    path.write_text(ICONFIG)
    profile = load_profile("bits")
    assert profile.url == f"sqlite://{places.cwd}/.re_md_dict.db"
    assert origins(profile)["url"] == f"{path} RUN_ENGINE MD_PATH"
    with profile.open() as md:
        assert dict(md) == {"beamline_id": "demo_instrument", "proposal_id": "commissioning"}


def test_bits_with_another_store(places: Any, write: Write) -> None:
    (places.user / "iconfig.yml").write_text(ICONFIG)
    write(
        """
        [profiles.instrument]
        from = "bits"
        file = "iconfig.yml"
        url = "sqlite:md.db"
        [profiles.instrument.defaults]
        proposal_id = "nearer"
        """,
        places.user,
    )
    profile = load_profile("instrument")
    assert profile.url == f"sqlite://{places.user}/md.db"
    assert profile.defaults == {"beamline_id": "demo_instrument", "proposal_id": "nearer"}


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("iconfig.yml", "a: [hush", "iconfig.yml, line 1: it is no YAML"),
        ("iconfig.yml", "- 1", "holds no mapping"),
        ("iconfig.yml", "RUN_ENGINE: 5", "RUN_ENGINE: a mapping is expected"),
        ("iconfig.yml", "RUN_ENGINE: {DEFAULT_METADATA: 5}", "DEFAULT_METADATA: a mapping is"),
        ("iconfig.yml", "RUN_ENGINE: {MD_PATH: 5}", "MD_PATH: 5: a path is expected"),
        ("iconfig.toml", "a =", "is no TOML"),
        ("iconfig.json", "{", "is no JSON"),
        ("iconfig.txt", "", "a .json, .yml, .yaml or .toml file is expected"),
        ("missing.yml", None, "cannot be read (No such file"),
    ],
)
def test_bits_mistakes(places: Any, write: Write, name: str, text: str | None, says: str) -> None:
    if text is not None:
        (places.cwd / name).write_text(text)
    write(f'[profiles.a]\nfrom = "bits"\nfile = "{name}"')
    assert says in refusal("a")


def test_bits_is_not_here() -> None:
    assert "neither iconfig.yml nor configs/iconfig.yml is in" in refusal("bits")


def test_bits_without_a_yaml_library(places: Any) -> None:
    (places.cwd / "iconfig.yml").write_text(ICONFIG)
    program = (
        "import sys; sys.modules['yaml'] = None\n"
        "from kv_dict import ConfigurationError, open_mapping\n"
        "try: open_mapping('bits')\nexcept ConfigurationError as error: print(error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60
    )
    assert "pip install 'kv-dict[yaml]'" in done.stdout, done.stderr


# -- bluesky-nats ----------------------------------------------------------------------------------

TUNING = {
    "name": None,
    "pedantic": False,
    "allow_reconnect": True,
    "connect_timeout": 2,
    "tls": None,
    "tls_hostname": None,
    "tls_handshake_first": False,
    "user_credentials": None,
    "inbox_prefix": "b'_INBOX'",
    "pending_size": 2097152,
    "flush_timeout": None,
}


def client_file(places: Any, write: Write, content: dict[str, Any], more: str = "") -> None:
    (places.cwd / "client.json").write_text(json.dumps(content))
    write(f'[profiles.a]\nfrom = "bluesky-nats"\nfile = "client.json"\n{more}')


def test_bluesky_nats_reaches_the_server(places: Any, write: Write, tmp_path: Path) -> None:
    users = 'authorization { users: [{ user: bl02, password: "hush/hush" }] }'
    with NatsServer(tmp_path / "server", users) as server:
        content = {"servers": [server.url], "user": "bl02", "password": "hush/hush", **TUNING}
        client_file(places, write, content, "options = { bucket = 'md', create_bucket = true }")
        profile = load_profile("a")
        assert "hush" not in repr(profile) + str(profile.settings)
        with profile.open() as md:
            md["sample"] = "Fe2O3"
        with profile.open() as md:
            assert dict(md) == {"sample": "Fe2O3"}
            assert md.backend.url == f"nats://***@127.0.0.1:{server.port}/?bucket=md"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("c.yaml", "servers:\n- nats://h1:4222\n- nats://h2:4222\nuser:\n"),
        ("c.toml", 'servers = ["nats://h1:4222", "h2:4222"]'),
        ("c.json", '{"servers": ["nats://h1:4222/", "nats://h2:4222"]}'),
    ],
)
def test_bluesky_nats_formats(places: Any, write: Write, name: str, text: str) -> None:
    (places.cwd / name).write_text(text)
    write(f'[profiles.a]\nfrom = "bluesky-nats"\nfile = "{name}"')
    profile = load_profile("a")
    assert profile.url == "nats://h1:4222,h2:4222/?bucket=kv_dict"
    assert origins(profile)["url"] == str(places.cwd / name)


def test_bluesky_nats_credentials(places: Any, write: Write) -> None:
    (places.cwd / "user.creds").write_text("-")
    client_file(places, write, {"servers": "tls://h", "user_credentials": "user.creds"})
    address = load_profile("a")._address.reveal()
    assert address == f"tls://h/?credentials_file={places.cwd}/user.creds"
    client_file(places, write, {"servers": "tls://h", "nkeys_seed": "user.creds"})
    address = load_profile("a")._address.reveal()
    assert address == f"tls://h/?nkey_seed_file={places.cwd}/user.creds"
    client_file(places, write, {"token": "hu#sh"})
    profile = load_profile("a")
    assert profile._address.reveal() == "nats://hu%23sh@localhost:4222/"
    assert profile.url == "nats://***@localhost:4222/?bucket=kv_dict"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ({"severs": ["nats://h"]}, "severs: bluesky-nats has no such key; did you mean 'servers'?"),
        ({"servers": []}, "servers: a URL or a list of URLs is expected"),
        ({"servers": ["http://h"]}, "servers: 'http://h': nats://host:4222 is expected"),
        ({"servers": ["nats://u:hush@h"]}, "say user and password"),
        ({"tls": {"ca": "x"}}, "tls: it is not taken from there; say it in [profiles.NAME.tls]"),
        ({"nkeys_seed_str": "hush"}, "put the seed into a file"),
        ({"user": 5}, "user: text is expected"),
        ({"user": "u"}, "user: it needs password_file as well"),
        ({"user": "u", "token": "hush"}, "user: one of user and token, not both"),
        ({"user_credentials": "no.creds"}, "no.creds cannot be read"),
    ],
)
def test_bluesky_nats_mistakes(
    places: Any, write: Write, content: dict[str, Any], says: str
) -> None:
    client_file(places, write, content)
    message = refusal("a")
    assert says in message
    assert str(places.cwd / "client.json") in message


def test_bluesky_nats_needs_its_file() -> None:
    assert "needs file =" in refusal("bluesky-nats")


# -- real servers, with what a profile says of them ------------------------------------------------


def test_tls_and_a_password_file(
    places: Any, write: Write, certificates: Path, tmp_path: Path
) -> None:
    config = f"""
        tls {{ cert_file: "{certificates}/server.pem", key_file: "{certificates}/server.key"
               ca_file: "{certificates}/ca.pem", verify: true }}
        authorization {{ users: [{{ user: bl02, password: hush }}] }}
    """
    (places.cwd / "password").write_text("hush\n")
    with NatsServer(tmp_path / "server", config) as server:
        write(f"""
            [profiles.a]
            url = "tls://localhost:{server.port}"
            user = "bl02"
            password_file = "password"
            options = {{ bucket = "md", create_bucket = true }}
            [profiles.a.tls]
            ca = "{certificates}/ca.pem"
            cert = "{certificates}/client.pem"
            key = "{certificates}/client.key"
            [profiles.a.defaults]
            beamline_id = "XAS"
            """)
        with open_mapping("a") as md:
            assert dict(md) == {"beamline_id": "XAS"}


def test_a_table_of_postgresql(write: Write, postgres_url: str, table: str) -> None:
    write(f"""
        [profiles.a]
        url = "{postgres_url}"
        options = {{ table = "{table}", create_table = true }}
        entry_point = "xas"
        """)
    with open_mapping("a") as md:
        md["sample"] = "Fe2O3"
    with open_mapping("a", reads="server") as md:
        assert dict(md) == {"sample": "Fe2O3"}
        assert f"table={table}" in md.backend.url
