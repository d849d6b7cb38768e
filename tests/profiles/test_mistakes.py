"""What an operator may get wrong: each is told with file, key and remedy, and without a secret."""

from __future__ import annotations

import os
import subprocess
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kv_dict import ConfigurationError, open_mapping
from kv_dict.profiles import load_profile

Write = Callable[..., Path]


def refusal(target: str | None = "a", **more: Any) -> str:
    with pytest.raises(ConfigurationError) as caught:
        load_profile(target, **more)
    shown = traceback.TracebackException.from_exception(caught.value)
    assert "hush" not in "".join(shown.format())
    return str(caught.value)


@pytest.mark.parametrize(
    ("line", "key", "says"),
    [
        ('read = "server"', "read", "there is no such key; did you mean 'reads'?"),
        ("zzz = 1", "zzz", "known are url, from, file, user, password_file, tls, options, entry"),
        ('tls = { cz = "x" }', "tls.cz", "there is no such key; did you mean 'tls.ca'?"),
        ('tls = { hostname = "x" }', "tls.hostname", "known are tls.ca, tls.cert, tls.key"),
        ('tls = "ca.pem"', "tls", "'ca.pem': a table is expected"),
        ("options = [1]", "options", "[1]: a table is expected"),
        ("defaults = 1", "defaults", "1: a table is expected"),
        ("url = 5", "url", "5 is not a text"),
        ('url = ""', "url", "'' is not a text"),
        ('url = "a\\u0000b"', "url", "NUL"),
        ('entry_point = ["xas"]', "entry_point", "['xas'] is not a text"),
        ("separator = true", "separator", "true: a text is expected, or false for none"),
        ('separator = "%"', "separator", "cannot separate keys"),
        ('reads = "replika"', "reads", "'server' or 'replica' is expected; did you mean 'replica'"),
        ("reads = true", "reads", "true: 'server' or 'replica' is expected"),
        ('timeout = "5"', "timeout", "'5': seconds are expected, above 0, up to 86400"),
        ("timeout = 0", "timeout", "seconds are expected"),
        ("timeout = nan", "timeout", "seconds are expected"),
        ("timeout = inf", "timeout", "seconds are expected"),
        ("timeout = true", "timeout", "true: seconds are expected"),
        ('on_outage = "wait"', "on_outage", "'fail' or 'continue' is expected"),
        (
            'on_outage = "continue"\nreads = "server"',
            "on_outage",
            "[profiles.a] reads is 'server'",
        ),
        ('check = "blusky"', "check", "'none' or 'bluesky' is expected; did you mean 'bluesky'"),
        (
            "defaults = { sample = [1] }",
            "defaults.sample",
            "md['sample'] is [1], and bluesky wants a string or a dict (or check = 'none')",
        ),
        ('defaults = { "a.b" = 1 }', "defaults.a.b", "no '.' and no '/' in them (or check"),
        ("require_baton = 1", "require_baton", "true or false is expected"),
        ('protected = "beamline_id"', "protected", "a list of keys is expected"),
        ("protected = [1]", "protected", "a list of keys is expected"),
        ('protected = ["scan_id"]', "protected", "the RunEngine counts it up at every run"),
        ('protected = ["versions"]', "protected", "the RunEngine writes it when it starts"),
        ('from = "nsls2"', "from", "is expected; did you mean 'nslsii'?"),
        ('file = "iconfig.yml"', "file", "it needs from ="),
        ('user = "xas"', "user", "a store at sqlite: has no users"),
        ('password = "hush"', "password", "put it into a file of its own"),
        ('options = { password = "hush" }', "options.password", "put it into a file of its own"),
        ('options = { token = "hush" }', "options.token", "put it into a file of its own"),
        ("options = { history = [1] }", "options.history", "[1] is not a text"),
        ('url = "memory://"\noptions = { histori = 1 }', "url", "no option 'histori'"),
        ('url = "gopher://hush"', "url", "no backend for 'gopher'"),
        ('url = "xas.db"', "url", "that is not a URL"),
        ('url = "redis://[hush"', "url", "malformed"),
        ('url = "redis://:hush@h"', "url", "it holds a password or token"),
        ('url = "redis://u:hu/sh@h"', "url", "it holds a password or token"),
        ('url = "postgresql://h/d?password=hush"', "url", "it holds a password or token"),
        ('url = "nats://hush@h"', "url", "it holds a password or token"),
        ('url = "nats://h/?bucket=b&token=hush"', "url", "it holds a password or token"),
        ('url = "redis://u@h"\nuser = "v"', "user", "the URL has a login already"),
        (
            'url = "nats://h/?bucket=a"\noptions = { bucket = "b" }',
            "options.bucket",
            "bucket is given twice, here and in",
        ),
        ('url = "redis://h"\npassword_file = "no"', "password_file", "No such file"),
        ('url = "redis://h"\npassword_file = "empty"', "password_file", "first line is empty"),
        ('url = "redis://h"\npassword_file = "~nobody-here/x"', "password_file", "~nobody-here"),
        ('url = "redis://h?password_file=no"', "url", "No such file"),
        ('url = "rediss://h"\ntls = { ca = "no" }', "tls.ca", "cannot be read (No such file"),
        ('url = "rediss://h"\ntls = { cert = "empty" }', "url", "belong together"),
        ('url = "redis://h"\ntls = { ca = "empty" }', "url", "TLS is for rediss://"),
        (
            'url = "nats://h"\noptions = { credentials_file = "no" }',
            "options.credentials_file",
            "cannot be read (No such file",
        ),
        ('url = "memory://"\npassword_file = "some"', "url", "no option 'password_file'"),
        ("url = 'sqlite:a.db#hush'", "url", "write '#' in a URL as %23"),
    ],
)
def test_in_a_profile(write: Write, places: Any, line: str, key: str, says: str) -> None:
    (places.cwd / "empty").touch()
    (places.cwd / "some").write_text("hush")
    path = write(f"[profiles.a]\n{line}\n")
    message = refusal()
    assert message.startswith(f"{path} [profiles.a] {key}"), message
    assert says in message


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[profiles.a\n", "is no TOML: Expected ']' at the end of a table declaration (at line 1"),
        ("a = 1\na = 2\n", "is no TOML: Cannot overwrite a value (at line 2"),
        ('defualt = "a"', "defualt: there is no such key; did you mean 'default'?"),
        ("[redis]", "redis: there is no such key; known are default and [profiles.NAME]"),
        ("default = 1", "default: 1: the name of a profile is expected"),
        ("profiles = 1", "profiles: tables [profiles.NAME] are expected"),
        ("[profiles]\na = 1", "profiles.a: a table [profiles.a] is expected"),
        ('[profiles."a:b"]', "letters, digits and _ . - are expected"),
        ('[profiles.a]\n[profiles.""]', "letters, digits and _ . - are expected"),
    ],
)
def test_in_a_file(write: Write, text: str, says: str) -> None:
    path = write(text)
    message = refusal()
    assert message.startswith(str(path))
    assert says in message


def test_a_file_that_cannot_be_read(places: Any, write: Write) -> None:
    (places.cwd / "kv_dict.toml").mkdir()
    assert "cannot be read (Is a directory); repair it" in refusal()
    (places.cwd / "kv_dict.toml").rmdir()
    (places.cwd / "kv_dict.toml").write_bytes(b"\xff")
    assert "is no TOML" in refusal()


def test_a_file_that_one_may_not_read(write: Write) -> None:
    write("").chmod(0)
    me = os.geteuid()
    if me == 0:  # who may read everything
        os.seteuid(65534)
    try:
        assert "cannot be read (Permission denied)" in refusal()
    finally:
        os.seteuid(me)


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("KV_DICT_TIMEOUT", "soon", "'soon': seconds are expected"),
        ("KV_DICT_REQUIRE_BATON", "perhaps", "true or false is expected"),
        ("KV_DICT_READS", "replika", "did you mean 'replica'?"),
        ("KV_DICT_ON_OUTAGE", "no", "'fail' or 'continue' is expected"),
        ("KV_DICT_SEPARATOR", "%", "cannot separate keys"),
        ("KV_DICT_PROTECTED", "a, scan_id", "'scan_id' cannot be protected"),
        ("KV_DICT_URL", "gopher://x", "no backend for 'gopher'"),
        ("KV_DICT_URL", "sqlite:a.db?timeout=3", "no option 'timeout'"),
        ("KV_DICT_ENTRY_POINT", "\udcff", "lone surrogate"),
        ("KV_DICT_PASSWORD_FILE", "nowhere", "No such file"),
        ("KV_DICT_TLS_CA", "nowhere", "No such file"),
    ],
)
def test_in_the_environment(
    monkeypatch: pytest.MonkeyPatch, write: Write, name: str, text: str, says: str
) -> None:
    write('default = "a"\n[profiles.a]\nurl = "rediss://h"')
    monkeypatch.setenv(name, text)
    message = refusal(None)
    assert message.startswith(f"environment {name}")
    assert says in message


def test_a_profile_that_is_not_there(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write('default = "xsa"\n[profiles.xas]')
    assert refusal(None).startswith(f"{path} default = 'xsa': no profile has that name; did you")
    monkeypatch.setenv("KV_DICT_PROFILE", "xsb")
    assert refusal(None).startswith("environment KV_DICT_PROFILE = 'xsb': no profile has that")
    message = refusal("xsc")
    assert "'xsc' is not a URL, and no profile has that name; did you mean 'xas'?" in message
    assert "there are xas, default, nslsii, bits, bluesky-nats" in message


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"reads": "sometimes"}, "argument reads: 'sometimes'"),
        ({"timeout": "5"}, "argument timeout: '5'"),
        ({"entry_point": 5}, "argument entry_point: 5"),
        ({"on_outage": "continue"}, "argument on_outage: 'continue' needs reads = 'replica'"),
    ],
)
def test_in_the_arguments(arguments: dict[str, Any], says: str) -> None:
    assert says in refusal("memory://", **arguments)


def test_a_mistake_in_another_profile_is_no_hindrance(write: Write) -> None:
    write('[profiles.a]\nurl = "memory://"\n[profiles.b]\nnonsense = 1')
    with open_mapping("a") as md:
        assert dict(md) == {}


@pytest.mark.parametrize(
    ("url", "driver", "extra"),
    [
        ("redis://h", "redis", "redis"),
        ("postgresql://h/d", "asyncpg", "postgres"),
        ("nats://h", "nats", "nats"),
    ],
)
def test_a_missing_driver(write: Write, url: str, driver: str, extra: str) -> None:
    path = write(f'[profiles.a]\nurl = "{url}"')
    program = (
        f"import sys; sys.modules[{driver!r}] = None\n"
        "from kv_dict import ConfigurationError\nfrom kv_dict.profiles import load_profile\n"
        "try: load_profile('a')\nexcept ConfigurationError as error: print(error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60
    )
    assert done.stdout.startswith(f"{path} [profiles.a] url: "), done.stderr
    assert f"pip install 'kv-dict[{extra}]'" in done.stdout


def test_a_password_is_in_no_variable_of_a_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KV_DICT_URL", "redis://:hush@h:port")
    monkeypatch.setenv("REDIS_HOST", "h:port")
    monkeypatch.setenv("REDIS_PASSWORD", "hush")
    for target in (None, "nslsii"):
        with pytest.raises(ConfigurationError, match="the port is no number") as caught:
            load_profile(target)
        shown = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
        assert "hush" not in "".join(shown.format())
        assert caught.value.__context__ is None


def test_a_mark_at_the_beginning_is_no_mistake(write: Write, places: Any) -> None:
    """Editors of Windows put it there, and end lines with two characters."""
    text = "\ufeff" + '[profiles.a]\r\nfrom = "bits"\r\n'
    write("").write_bytes(text.encode())
    (places.cwd / "iconfig.yml").write_text("\ufeffRUN_ENGINE: {MD_PATH: x.yml}", encoding="utf-8")
    assert load_profile("a").url.endswith("/x.db")


@pytest.mark.parametrize("name", ["kv_dict.toml", "iconfig.yml"])
@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("pipe", "it is no regular file"),
        ("endless", "it is no regular file"),
        ("large", "it is larger than 1,048,576 bytes"),
        ("deep", "it is nested too deeply"),
    ],
)
def test_a_file_that_never_ends(
    places: Any, write: Write, monkeypatch: pytest.MonkeyPatch, name: str, kind: str, says: str
) -> None:
    write('[profiles.a]\nfrom = "bits"')
    path = places.root / name
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "endless":
        path.symlink_to("/dev/zero")
    else:
        path.write_text(
            "#" * (2 << 20)
            if kind == "large"
            else f"x {'=' if name[0] == 'k' else ':'} " + "[" * 20_000
        )
    if name == "kv_dict.toml":
        monkeypatch.setenv("KV_DICT_CONFIG", str(path))
    else:
        (places.cwd / name).symlink_to(path)
        if kind in ("pipe", "endless"):
            write(f'[profiles.a]\nfrom = "bits"\nfile = "{path}"')
    assert says in refusal()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a: 2024-13-45", "it is no YAML that can be read"),
        ("RUN_ENGINE: {MD_PATH: ~nobody-of-that-name/x.yml}", "RUN_ENGINE MD_PATH: ~nobody"),
        ("RUN_ENGINE: {MD_PATH: /}", "RUN_ENGINE MD_PATH: '/': a path is expected"),
    ],
)
def test_in_an_iconfig(places: Any, text: str, says: str) -> None:
    (places.cwd / "iconfig.yml").write_text(text)
    assert says in refusal("bits")


def test_a_number_without_end(write: Write) -> None:
    write("[profiles.a]\ntimeout = " + "9" * 6000)
    assert "is no TOML" in refusal()


def test_a_home_of_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KV_DICT_CONFIG", "~nobody-of-that-name/x.toml")
    assert "environment KV_DICT_CONFIG: ~nobody-of-that-name/x.toml: " in refusal(None)


def test_a_working_directory_that_was_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert "is in the working directory; name it with file" in refusal("bits")
    assert "x.db is relative to a working directory that was removed" in refusal("sqlite:x.db")
    with open_mapping() as md:
        md["a"] = 1
