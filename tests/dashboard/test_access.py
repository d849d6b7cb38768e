"""Who is answered, who may write, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from http.cookies import SimpleCookie
from typing import Any

import pytest

from kv_dict import ConfigurationError, RemoteKVMapping
from kv_dict.dashboard import Dashboard, Layout, Settings, Source
from kv_dict.dashboard.access import Access, hosts_of
from kv_dict.dashboard.encoding import fingerprint, value_json

TOKEN = "a-token-for-the-tests"


def log_in(client: Any) -> tuple[str, str]:
    """Return the cookie of a login, and the CSRF token."""
    answer = client.ask("/api/login", "POST", json.dumps({"token": TOKEN}))
    assert answer.status == 200, answer
    (morsel,) = SimpleCookie(answer.headers["set-cookie"]).values()
    cookie = f"{morsel.key}={morsel.value}"
    return cookie, client.json("/api/session", Cookie=cookie).get("csrf", "")


@pytest.mark.parametrize(
    "host", ["localhost", "localhost:9999", "127.0.0.1", "127.0.0.1:80", "[::1]:8", "LOCALHOST."]
)
def test_it_answers_by_its_own_names(anybody: Any, host: str) -> None:
    assert anybody.ask("/api/sources", Host=host).status == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8765", "", "127.0.0.1.evil.example"]
)
def test_a_name_that_is_not_its_own_is_refused(anybody: Any, host: str) -> None:
    for path in ("/", "/api/keys", "/static/app.js", "/healthz"):
        answer = anybody.ask(path, Host=host)
        assert answer.status in (400, 421)


def test_further_names(serve: Any) -> None:
    client = serve(allowed_hosts=("Status.Beamline.Org",))
    assert client.ask("/api/keys", Host="status.beamline.org").status == 200


def test_pages_of_other_sites_get_nothing(anybody: Any) -> None:
    client = anybody
    assert client.ask("/api/keys", Sec_Fetch_Site="cross-site").status == 403
    assert client.ask("/api/events", Sec_Fetch_Site="cross-site").status == 403
    assert client.ask("/", Sec_Fetch_Site="cross-site").status == 200  # a link to it
    assert "access-control-allow-origin" not in client.ask("/api/keys", Origin="http://x").headers


def test_every_answer_says_what_a_browser_may_do_with_it(anybody: Any) -> None:
    client = anybody
    for path in ("/", "/static/app.js", "/api/keys", "/nothing", "/api/value"):
        headers = client.ask(path).headers
        policy = headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; script-src 'self';")
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert headers["x-content-type-options"] == "nosniff"
    assert client.ask("/api/keys").headers["cache-control"] == "no-store"
    assert client.ask("/static/app.js").headers["cache-control"] == "no-cache"


# -- reading with a token -------------------------------------------------------------------------


def test_reading_needs_the_token_where_one_is_set(guarded: Any) -> None:
    client = guarded
    for path in ("/api/keys", "/api/events", "/api/sources", "/api/feed", "/metrics"):
        answer = client.ask(path)
        assert answer.status == 401
        assert "token" in answer.json()["error"]
    for path in ("/", "/static/app.js", "/healthz", "/readyz"):
        assert client.ask(path).status in (200, 503)
    assert client.json("/api/session") == {
        "may_read": False,
        "may_write": False,
        "writable": False,
        "version": client.json("/api/session")["version"],
    }
    cookie, _ = log_in(client)
    assert client.ask("/api/keys", Cookie=cookie).status == 200
    assert client.ask("/metrics", Authorization=f"Bearer {TOKEN}").status == 200


@pytest.mark.parametrize("given", ["", TOKEN[:-1], TOKEN + "x", TOKEN.upper(), "é" * 20, None, 3])
def test_a_wrong_token_is_none(guarded: Any, given: Any) -> None:
    answer = guarded.ask("/api/login", "POST", json.dumps({"token": given}))
    assert answer.status == 401
    assert "set-cookie" not in answer.headers
    assert TOKEN.encode() not in answer.body


@pytest.mark.parametrize("body", ["", "{", "[]", '"x"', "{}", "\x00", "[" * 5000])
def test_a_strange_login_gets_an_answer(guarded: Any, body: str) -> None:
    assert guarded.ask("/api/login", "POST", body).status == 400


def test_cookies_are_for_this_site_and_not_for_scripts(serve: Any) -> None:
    answer = serve(token=TOKEN).ask("/api/login", "POST", json.dumps({"token": TOKEN}))
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert "path=/" in cookie
    assert "secure" not in cookie
    assert TOKEN not in cookie
    secure = serve(token=TOKEN, public_url="https://localhost/xas")
    cookie = secure.ask("/api/login", "POST", json.dumps({"token": TOKEN})).headers["set-cookie"]
    assert "secure" in cookie.lower()
    assert "Path=/xas" in cookie


def test_a_cookie_survives_a_restart_and_not_another_token(serve: Any) -> None:
    cookie, _ = log_in(serve(token=TOKEN))
    assert serve(token=TOKEN).ask("/api/keys", Cookie=cookie).status == 200
    assert serve(token="another-token-of-others").ask("/api/keys", Cookie=cookie).status == 401


def test_two_dashboards_of_one_host_keep_their_logins(serve: Any) -> None:
    one, other = serve(token=TOKEN), serve(token="another-token-of-others")
    answer = other.ask("/api/login", "POST", json.dumps({"token": "another-token-of-others"}))
    jar = SimpleCookie(f"{log_in(one)[0]}; {answer.headers['set-cookie']}")
    sent = "; ".join(f"{cookie.key}={cookie.value}" for cookie in jar.values())
    assert [c.ask("/api/keys", Cookie=sent).status for c in (one, other)] == [200, 200]


def test_forged_and_old_cookies_are_refused() -> None:
    access = Access(hosts_of(["localhost"]), TOKEN, readers_need_token=True)
    good = access.new_session()
    assert access.is_session(good)
    until, nonce, signature = good.split(".")
    later = f"{int(until) + 1}.{nonce}.{signature}"
    old = f"1.{nonce}"
    old = f"{old}.{access._signed('session', old)}"
    csrf = access.csrf_token(good)
    for forged in (
        "",
        ".",
        "..",
        later,
        old,
        good[:-1],
        good + "0",
        f"{until}.{nonce}.{csrf}",
        "é.é",
    ):
        assert not access.is_session(forged), forged


# -- writing --------------------------------------------------------------------------------------


def test_it_only_shows_by_default(anybody: Any, guarded: Any) -> None:
    for client in (anybody, guarded):
        for method in ("PUT", "DELETE", "POST", "PATCH"):
            answer = client.ask(
                "/api/value?key=a", method, "2", Authorization=f"Bearer {TOKEN}", If_None_Match="*"
            )
            assert answer.status == 403
            assert "--writable" in answer.json()["error"]
        assert client.ask("/api/value?key=a", Authorization=f"Bearer {TOKEN}").status == 404


@pytest.fixture
def writable(serve: Any, md: RemoteKVMapping) -> Any:
    md["a"] = {"b": 1}
    return serve(token=TOKEN, writable=True, layout=Layout(hide=("secret",))).until_live()


def tag(client: Any, key: str = "a") -> str:
    return client.ask(f"/api/value?key={key}").headers["etag"]


def test_writing_with_the_token(writable: Any, md: RemoteKVMapping) -> None:
    bearer = {"Authorization": f"Bearer {TOKEN}"}
    answer = writable.ask("/api/value?key=a", "PUT", '{"b": 2}', If_Match=tag(writable), **bearer)
    assert answer.status == 200, answer
    assert md["a"] == {"b": 2}
    assert answer.headers["etag"] == tag(writable)
    new = writable.ask("/api/value?key=new", "PUT", '"x"', If_None_Match="*", **bearer)
    assert new.status == 200
    assert md["new"] == "x"
    tagged = '{"$kv:datetime": "2026-11-23T00:00:00"}'
    assert (
        writable.ask("/api/value?key=d", "PUT", tagged, If_None_Match="*", **bearer).status == 200
    )
    assert md["d"].year == 2026
    gone = writable.ask("/api/value?key=new", "DELETE", If_Match=tag(writable, "new"), **bearer)
    assert gone.status == 204
    assert "new" not in md


def test_a_conflict_is_told_and_nothing_is_written(writable: Any, md: RemoteKVMapping) -> None:
    bearer = {"Authorization": f"Bearer {TOKEN}"}
    seen = tag(writable)
    md["a"]["b"] = 7
    for method, body in (("PUT", '{"b": 2}'), ("DELETE", None)):
        answer = writable.ask("/api/value?key=a", method, body, If_Match=seen, **bearer)
        assert answer.status == 412
        assert json.loads(answer.json()["present"]) == {"b": 7}
        assert "changed by somebody else" in answer.json()["error"]
    exists = writable.ask("/api/value?key=a", "PUT", "1", If_None_Match="*", **bearer)
    assert exists.status == 412
    assert md["a"] == {"b": 7}
    again = answer.json()["tag"]
    assert (
        writable.ask("/api/value?key=a", "PUT", '{"b": 2}', If_Match=again, **bearer).status == 200
    )
    seen = tag(writable)
    del md["a"]
    for method, body in (("PUT", '{"b": 2}'), ("DELETE", None)):
        answer = writable.ask("/api/value?key=a", method, body, If_Match=seen, **bearer)
        assert answer.status == 412
        assert answer.json()["present"] is None
    assert "a" not in md


def test_writing_from_the_page_needs_cookie_and_csrf_token(
    writable: Any, md: RemoteKVMapping
) -> None:
    cookie, csrf = log_in(writable)
    good = {"Cookie": cookie, "X-CSRF-Token": csrf, "If-Match": tag(writable)}

    def put(**changed: str) -> int:
        sent = {k: v for k, v in (good | changed).items() if v}
        return writable.ask("/api/value?key=a", "PUT", "5", **sent).status

    assert put(Cookie="") == 401
    assert put(Cookie=f"{cookie.partition('=')[0]}=forged") == 401
    assert put(**{"X-CSRF-Token": ""}) == 403
    assert put(**{"X-CSRF-Token": csrf[:-1] + "x"}) == 403
    assert put(Origin="http://evil.example") == 403
    assert put(Origin="null") == 403
    assert put(Host="evil.example") == 421
    assert put(**{"Sec-Fetch-Site": "cross-site"}) == 403
    assert put(**{"If-Match": ""}) == 428
    assert put(**{"If-Match": '"wrong"'}) == 412
    other, _ = log_in(writable)
    assert put(Cookie=other) == 403
    assert md["a"] == {"b": 1}
    assert put(Origin="http://127.0.0.1:1") == 200
    assert md["a"] == 5


def test_what_cannot_be_stored_is_refused(writable: Any, md: RemoteKVMapping) -> None:
    seen = tag(writable)
    for body, status in (
        ("{", 422),
        ("", 422),
        ('"\\ud800"', 422),
        ("[" * 10_000 + "]" * 10_000, 422),
        ('{"$kv:nonsense": 1}', 422),
        ('{"$kv:datetime": "x"}', 422),
        ("x" * (4 * 1024 * 1024 + 1), 413),
    ):
        answer = writable.ask(
            "/api/value?key=a", "PUT", body, If_Match=seen, Authorization=f"Bearer {TOKEN}"
        )
        assert answer.status == status, answer
        assert len(answer.json()["error"]) < 1000
    assert md["a"] == {"b": 1}


def test_hidden_keys_cannot_be_written(writable: Any, md: RemoteKVMapping) -> None:
    answer = writable.ask(
        "/api/value?key=secret",
        "PUT",
        "1",
        If_None_Match="*",
        Authorization=f"Bearer {TOKEN}",
    )
    assert answer.status == 404
    assert "secret" not in md


def test_what_is_hidden_in_part_is_not_written_from_afar(serve: Any, md: RemoteKVMapping) -> None:
    md["proposal"] = {"title": "Iron", "pi_email": "ada@lab.org"}
    layout = Layout(hide=("proposal/pi_email",))
    client = serve(layout=layout, token=TOKEN, writable=True).until_live()
    bearer = {"Authorization": f"Bearer {TOKEN}"}
    assert "etag" not in client.ask("/api/value?key=proposal").headers
    whole = fingerprint(value_json(md["proposal"], "proposal"))
    part = fingerprint(client.ask("/api/value?key=proposal").body)
    for headers in (
        {"If-Match": "x"},
        {"If-Match": whole},
        {"If-Match": part},
        {"If-None-Match": "*"},
    ):
        for method in ("PUT", "DELETE"):
            answer = client.ask("/api/value?key=proposal", method, "{}", **headers, **bearer)
            if (method, "If-None-Match") == ("DELETE", next(iter(headers))):
                assert answer.status == 428
                continue
            assert answer.status == 403, answer
            assert "hidden" in answer.json()["error"]
            assert b"ada" not in answer.body
    assert md["proposal"] == {"title": "Iron", "pi_email": "ada@lab.org"}
    answer = client.ask(
        "/api/value?key=a", "PUT", '{"pi_email": 1, "b": 2}', If_None_Match="*", **bearer
    )
    assert answer.status == 200


def test_readers_behind_a_proxy_are_anybody(serve: Any) -> None:
    options = {"token": TOKEN, "writable": True}
    assert serve(**options).ask("/api/keys").status == 200
    assert serve(**options, public_url="https://localhost/xas").ask("/api/keys").status == 401


def test_a_stream_is_asked_for_with_get(serve: Any) -> None:
    client = serve(token=TOKEN, writable=True)
    answer = client.ask("/api/events", "HEAD")
    assert (answer.status, answer.headers["content-type"]) == (
        200,
        "text/event-stream; charset=utf-8",
    )
    assert client.ask("/api/events", "POST", Authorization=f"Bearer {TOKEN}").status == 405


# -- settings -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"host": "0.0.0.0"}, "--token-file"),
        ({"host": "192.0.2.1"}, "--token-file"),
        ({"host": "127.0.0.1.example.org"}, "--token-file"),
        ({"writable": True}, "a token is needed"),
        ({"token": "short"}, "at least 16"),
        ({"public_url": "status.org"}, "public_url"),
        ({"tls_certificate": "x"}, "both"),
    ],
)
def test_what_would_not_be_safe_is_refused(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        Settings(**settings).access()


def test_sources_need_names_of_their_own() -> None:
    one = Source("xas", lambda: pytest.fail("it was opened"))
    for sources in ([one, one], []):
        with pytest.raises(ConfigurationError, match="names of their own"):
            Dashboard(sources)


def test_the_token_is_shown_nowhere() -> None:
    settings = Settings(token=TOKEN)
    assert TOKEN not in repr(settings)
    assert TOKEN not in repr(settings.access())


def test_behind_a_proxy_with_a_path(serve: Any, md: RemoteKVMapping) -> None:
    md["a"] = 1
    client = serve(public_url="https://status.example/xas/")
    assert client.url.endswith("/xas/")
    client.until_live()
    assert client.ask("/", Host="status.example").status == 200
    assert client.json("/api/value?key=a") == 1
    stripped = type(client)(client.url.removesuffix("/xas/"))
    assert stripped.json("/api/value?key=a") == 1


def test_over_tls(serve: Callable[..., Any], certificates: Any, md: RemoteKVMapping) -> None:
    import ssl
    import urllib.request

    client = serve(tls_certificate=certificates / "server.pem", tls_key=certificates / "server.key")
    url = client.url.replace("http://127.0.0.1", "https://localhost")
    context = ssl.create_default_context(cafile=str(certificates / "ca.pem"))
    with urllib.request.urlopen(url + "healthz", context=context, timeout=10) as answer:
        assert answer.status == 200


def test_a_bad_certificate_is_named(serve: Any, tmp_path: Any) -> None:
    (tmp_path / "x.pem").write_text("nonsense")
    with pytest.raises(ConfigurationError, match=r"x\.pem"):
        serve(tls_certificate=tmp_path / "x.pem", tls_key=tmp_path / "x.pem")
