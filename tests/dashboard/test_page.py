"""The page in a real Chromium: from a program that writes to the pixels."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from kv_dict import RemoteKVMapping, open_mapping
from kv_dict.dashboard import Dashboard, Layout, Settings, Source
from kv_dict.testing.servers.nats import NatsServer
from kv_dict.testing.servers.process import free_port

pytestmark = [pytest.mark.browser, pytest.mark.timeout(120)]

TOKEN = "a-token-for-the-tests"
DEADLINE_MS = 20_000
NAMES = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """A browser: that of KV_DICT_TEST_CHROMIUM, or the one that is installed."""
    from playwright import sync_api

    path = os.environ.get("KV_DICT_TEST_CHROMIUM") or next(
        filter(None, map(shutil.which, NAMES)), ""
    )
    if not path:
        pytest.fail("no Chromium here: apt-get install chromium, or set KV_DICT_TEST_CHROMIUM")
    with sync_api.sync_playwright() as playwright:
        arguments = ["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"]
        browser = playwright.chromium.launch(executable_path=path, args=arguments)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def screenshots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where pictures are kept: in KV_DICT_TEST_ARTEFACTS, or with pytest's temporary files."""
    given = os.environ.get("KV_DICT_TEST_ARTEFACTS")
    folder = Path(given) if given else tmp_path_factory.mktemp("screenshots")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


class Pages:
    """Opens pages, and holds what their consoles complained of."""

    def __init__(self, browser: Any, folder: Path, name: str) -> None:
        self._browser = browser
        self._folder = folder
        self._name = re.sub(r"\W+", "-", name)
        self._contexts: list[Any] = []
        self.complaints: list[str] = []
        self.allowed = ["ERR_CONNECTION_REFUSED", "503"]  # a page may outlive its dashboard
        self.requested: list[str] = []

    def __call__(self, url: str, width: int = 1280, height: int = 800, **options: Any) -> Any:
        context = self._browser.new_context(
            viewport={"width": width, "height": height}, **{"color_scheme": "dark", **options}
        )
        context.set_default_timeout(DEADLINE_MS)
        self._contexts.append(context)
        page = context.new_page()
        page.on("console", lambda said: said.type == "error" and self.complaints.append(said.text))
        page.on("pageerror", lambda error: self.complaints.append(f"uncaught: {error}"))
        page.on("dialog", lambda dialog: self.complaints.append(f"dialog: {dialog.message}"))
        page.on("request", lambda request: self.requested.append(request.url))
        page.goto(url)
        return page

    def keep(self, page: Any, name: str) -> None:
        page.screenshot(path=self._folder / f"{self._name}-{name}.png")

    def close(self) -> None:
        for context in self._contexts:
            context.close()
        left = [c for c in self.complaints if not any(part in c for part in self.allowed)]
        assert left == []


@pytest.fixture
def pages(
    chromium: Any, screenshots: Path, serve: Any, request: pytest.FixtureRequest
) -> Iterator[Pages]:
    pages = Pages(chromium, screenshots, request.node.name)
    with closing(pages):
        yield pages


def text_of(page: Any, selector: str, wanted: str) -> None:
    """Wait until an element says so."""
    page.locator(selector).filter(has_text=wanted).first.wait_for()


def live(page: Any) -> None:
    text_of(page, "#link", "Live")


# -- the board ------------------------------------------------------------------------------------

SCAN = """
import sys
import bluesky.plans as bp
from bluesky import RunEngine
from ophyd.sim import det, motor
from kv_dict import open_mapping
from kv_dict.coordination import Presence
from kv_dict.integrations.bluesky import RunStatus

with open_mapping(sys.argv[1], entry_point="xas") as md, Presence(md, program="the scan"):
    RE = RunEngine(md)
    with RunStatus(RE, every=0.05) as status:
        def follow(name, doc):
            if name == "event" and doc["seq_num"] == 3:
                status.flush()
                print("half", flush=True)
                sys.stdin.readline()

        RE.subscribe(follow)
        md["sample"] = {"name": "Fe2O3"}
        RE(bp.scan([det], motor, -1, 1, 6))
        status.flush()
        print("done", flush=True)
        sys.stdin.readline()
"""


HALF_A_BAR = """() => {
    const [bar, track] = [".track .fill", ".track"].map(
        (name) => document.querySelector(name).getBoundingClientRect().width);
    return Math.abs(bar / track - 0.5) < 0.01;
}"""


@pytest.fixture
def store_url(request: pytest.FixtureRequest, tmp_path: Path, bucket: str) -> str:
    if request.param == "sqlite":
        return f"sqlite://{tmp_path / 'md.db'}"
    return f"{request.getfixturevalue('nats_url')}/?bucket={bucket}&create_bucket=true"


def source(url: str, entry_point: str = "xas", layout: Layout | None = None) -> Source:
    return Source(
        entry_point, lambda: open_mapping(url, entry_point=entry_point, reads="replica"), layout
    )


@pytest.mark.beamline
@pytest.mark.parametrize("store_url", ["sqlite", "nats"], indirect=True)
def test_from_a_scan_to_the_pixels(pages: Pages, store_url: str) -> None:
    with Dashboard([source(store_url)]).running() as url:
        page = pages(url)
        text_of(page, ".pill", "No RunEngine")
        with subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", SCAN, store_url],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as scan:
            assert scan.stdout is not None
            assert scan.stdin is not None
            assert scan.stdout.readline() == "half\n"
            text_of(page, ".pill", "Running")
            text_of(page, ".plan", "scan")
            text_of(page, ".scan", "#1")
            text_of(page, ".under", "3 of 6 points")
            text_of(page, ".tile", "Fe2O3")
            page.wait_for_function(HALF_A_BAR)
            text_of(page, ".sessions", "(the scan)")
            pages.keep(page, "running")
            scan.stdin.write("\n")
            scan.stdin.flush()
            assert scan.stdout.readline() == "done\n"
            text_of(page, ".pill", "Idle")
            text_of(page, ".note", "The last run succeeded")
            scan.stdin.write("\n")
            scan.stdin.flush()
            assert scan.wait(60) == 0
        text_of(page, ".pill", "Session ended")
        page.keyboard.press("k")
        text_of(page, ".line", "versions")


GOES_ON = """() => {
    const done = parseInt(document.querySelector(".under").textContent);
    window.least = Math.min(done || 41, window.least ?? 41);
    return done > window.least + 2;
}"""


@pytest.mark.beamline
@pytest.mark.parametrize(("backend", "end"), [("sqlite", signal.SIGINT), ("nats", signal.SIGTERM)])
def test_the_demonstration_is_one_command(pages: Pages, backend: str, end: signal.Signals) -> None:
    command = "from kv_dict.cli import main; main()"
    with subprocess.Popen(
        [sys.executable, "-c", command, "demo", "--dashboard", "--backend", backend],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as demo:
        try:
            assert demo.stdout is not None
            store, said = demo.stdout.readline(), demo.stdout.readline()
            assert f" {backend}://" in store
            page = pages(said.partition("Dashboard: ")[2].strip())
            text_of(page, ".pill", "Running")
            text_of(page, ".plan", "energy_scan")
            text_of(page, ".scan", "#")
            text_of(page, ".under", "of 41 points")
            page.wait_for_function(GOES_ON)
            text_of(page, ".tile", "Oxides at the edge")
            text_of(page, ".tile", "Beam current")
            text_of(page, ".sessions", "(kv-dict demo)")
            text_of(page, ".baton", "In control:")
            pages.keep(page, backend)
            demo.send_signal(end)
            text_of(page, "#link", "No connection")
            _, errors = demo.communicate(timeout=60)
            assert (demo.returncode, errors) == (0, "")
        finally:
            demo.kill()


NOTE_WHAT_IS_FRESH = """() => {
    window.wasFresh = [];
    new MutationObserver((changes) => {
        for (const { target } of changes)
            if (target.classList.contains("fresh")) window.wasFresh.push(target.textContent);
    }).observe(document.querySelector(".tiles"), { subtree: true, attributeFilter: ["class"] });
}"""


def test_a_change_is_seen_at_once_and_by_all(pages: Pages, serve: Any, md: RemoteKVMapping) -> None:
    md.update(sample="Fe2O3", beam_current_mA=250.0, shutter="closed")
    url = serve().until_live().url
    one, two = pages(url), pages(url)
    for page in (one, two):
        text_of(page, ".tile", "Fe2O3")
        assert page.locator(".tile.fresh").count() == 0
    one.evaluate(NOTE_WHAT_IS_FRESH)
    for number in range(5):
        md["beam_current_mA"] = 7.0 - number
        for page in (one, two):
            text_of(page, ".tile .value", f"{7 - number}.0")
    assert "Beam current" in one.evaluate("() => window.wasFresh.join()")
    for page in (one, two):
        tile = page.locator(".tile", has_text="Beam current")
        assert tile.get_attribute("data-state") == "warn"
        text_of(page, ".tile .badge", "low")
        assert len(tile.locator("polyline").get_attribute("points").split()) > 5
    del md["sample"]
    text_of(one, ".tile.unset", "Sample")
    md["shutter"] = True
    text_of(two, '.tile[data-state="ok"]', "open")
    one.keyboard.press("c")
    text_of(one, ".feed li", "deleted")


def test_several_sources_side_by_side(
    pages: Pages, serve: Any, opened: Callable[..., RemoteKVMapping]
) -> None:
    xas, xrd = opened("xas"), opened("xrd")
    xas["sample"], xrd["sample"] = "iron", "nickel"
    opened("xrd@presence")["x"] = {
        "session": {"user": "ada", "host": "ws1", "program": "ipython"},
        "every": 60.0,
    }
    opened("xrd@baton")["baton"] = {"holder": {"user": "ada", "host": "ws1"}, "since": time.time()}
    page = pages(serve(("xas", "xrd")).until_live().url)
    left, right = page.locator(".panel").nth(0), page.locator(".panel").nth(1)
    left.locator(".tile", has_text="iron").wait_for()
    right.locator(".tile", has_text="nickel").wait_for()
    right.get_by_text("In control: ada on ws1").wait_for()
    right.locator(".sessions", has_text="ada on ws1 (ipython)").wait_for()
    assert left.bounding_box()["y"] == right.bounding_box()["y"]
    pages.keep(page, "two")
    xrd["sample"] = "cobalt"
    right.locator(".tile", has_text="cobalt").wait_for()
    page.keyboard.press("k")
    text_of(page, ".line", "xrd")
    page.get_by_label("Source").select_option("xas")
    page.wait_for_function("() => !document.querySelector('.tree').textContent.includes('cobalt')")


def test_a_tile_that_should_change_and_does_not_looks_old(
    pages: Pages, serve: Any, md: RemoteKVMapping
) -> None:
    md["beam"] = 1.0
    layout = Layout.from_dict({"tiles": [{"key": "beam", "max_age": 0.5, "unit": "mA"}]})
    page = pages(serve(layout=layout).until_live().url)
    text_of(page, ".tile.old", "no news for")
    md["beam"] = 2.0
    page.locator(".tile:not(.old)", has_text="2").wait_for()


# -- the keys -------------------------------------------------------------------------------------


def test_many_keys_are_a_list_of_few_rows(pages: Pages, serve: Any, md: RemoteKVMapping) -> None:
    md.update({f"key{n:04}": {"n": n, "inside": [n, {"deeper": n}]} for n in range(5000)})
    page = pages(serve().until_live().url + "#/keys")
    text_of(page, ".count", "5000 keys")
    assert page.locator(".line").count() < 80
    pages.keep(page, "5000")
    page.keyboard.press("/")
    page.keyboard.type("key49")
    text_of(page, ".count", "100 of 5000")
    assert page.url.endswith("#/keys?q=key49")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowRight")
    text_of(page, '.line[aria-level="2"]', "4901")
    page.keyboard.press("End")
    text_of(page, ".line.active", "key4999")
    page.keyboard.press("Enter")
    text_of(page, ".key-name", "key4999")
    md["key4999"] = {"n": -1}
    text_of(page, "pre.json", '"n": -1')
    page.keyboard.press("Escape")
    text_of(page, ".count", "100 of 5000")
    md["key49xx"] = "new"
    text_of(page, ".count", "101 of 5001")
    page.goto(page.url.partition("#")[0] + "#/keys?q=4242")
    text_of(page, ".count", "1 of 5001")


def test_nested_values_unfold_to_any_depth(pages: Pages, serve: Any, md: RemoteKVMapping) -> None:
    deep: Any = "bottom"
    for level in range(40):
        deep = {f"level{level}": deep}
    md["deep"] = deep
    md["list"] = list(range(1000))
    page = pages(serve().until_live().url + "#/keys")
    text_of(page, ".count", "2 keys")
    page.locator(".tree").focus()
    for _ in range(80):
        page.keyboard.press("ArrowRight")
    text_of(page, ".line.active", "bottom")
    name = page.locator(".line.active .name").bounding_box()
    value = page.locator(".line.active .text").bounding_box()
    assert name["x"] + name["width"] <= value["x"] + 1
    assert page.locator(".line.active").get_attribute("aria-level") == "41"
    for _ in range(80):
        page.keyboard.press("ArrowLeft")
    text_of(page, ".line.active", "deep")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("End")
    text_of(page, ".line.active", "and 500 more")


def test_the_page_of_a_number_has_a_plot_and_that_of_text_a_timeline(
    pages: Pages, serve: Any, md: RemoteKVMapping
) -> None:
    client = serve(history=64).until_live()
    for energy in (7.1, 7.2, 7.3):
        md["energy"] = energy
        md["edge"] = f"Fe {energy}"
    page = pages(client.url + "#/key/xas/energy")
    page.locator(".plot canvas").wait_for()
    text_of(page, ".timeline", "7.1")
    md["energy"] = 8.0
    text_of(page, ".timeline li", "8")
    text_of(page, ".big-number", "8")
    pages.keep(page, "plot")
    page.goto(client.url + "#/key/xas/edge")
    text_of(page, ".timeline", "Fe 7.2")
    assert page.locator(".plot canvas").count() == 0
    del md["edge"]
    text_of(page, ".timeline li", "deleted")
    text_of(page, "pre.json", "There is no such key now")


def test_what_was_there_before_the_page_is_no_change(
    pages: Pages, serve: Any, md: RemoteKVMapping
) -> None:
    md["sample"] = "Fe2O3"
    md["note"] = "word " * 3000
    client = serve().until_live()
    page = pages(client.url + "#/key/xas/sample")
    text_of(page, ".timeline", "Fe2O3")
    live(page)
    assert page.locator(".timeline li").count() == 1
    assert not page.locator(".fresh").count()
    md["sample"] = "CoO"
    text_of(page, ".json.fresh", "CoO")
    page.wait_for_function("() => document.querySelectorAll('.timeline li').length === 2")
    page.goto(client.url + "#/key/xas/note")
    text_of(page, ".facts", "Size")
    page.locator("button", has_text="Load all of it").click()
    page.wait_for_function("() => document.querySelector('.json').textContent.length === 15000")


def test_big_integers_keep_their_digits(pages: Pages, serve: Any, md: RemoteKVMapping) -> None:
    md["big"] = 2**62 + 1
    page = pages(serve().until_live().url + "#/keys")
    text_of(page, ".line", str(2**62 + 1))


# -- what is hostile is harmless ------------------------------------------------------------------

HOSTILE = {
    "<script>document.title='pwned'</script>": "<img src=x onerror=alert(1)>",
    "<svg onload=alert(2)>": {"</script><script>alert(3)</script>": "javascript:alert(4)"},
    "\u202egnp.exe": "turned \u202e around \u2066 and \u0007 rung",
    "__proto__": {"__proto__": {"polluted": True}, "constructor": 1},
    "constructor": "x",
    "sample": "<b onmouseover=alert(5)>bold</b> " * 100,
    "user": "&lt;script&gt; ${alert(6)} {{7*7}}",
    "data_session": '"><script>alert(8)</script>',
    "shutter": {"toString": "x", "length": -1},
    "beam_current_mA": "not a number",
    "proposal": [["title"], {"pi_name": {"name": "<i>x</i>"}}],
    "large": "x" * 1_000_000,
    "long" * 300: "y",
    "a/b?c#d&e=f%20%2F..": "path",
    "": "the empty key",
}


def test_hostile_keys_and_values_are_shown_as_text(
    pages: Pages, serve: Any, opened: Callable[..., RemoteKVMapping], md: RemoteKVMapping
) -> None:
    md.update(HOSTILE)
    status = {"state": "<b>run</b>", "plan_name": ["<x>"], "plan_args": {"<y>": 1}, "scan_id": {}}
    opened("xas@status").update({"run": status, "other": {"state": 3}, "text": "x"})
    opened("xas@presence").update({"x": {"session": {"user": "<u>", "host": None}}, "y": []})
    opened("xas@baton").update({"b": {"holder": "<h>"}, "c": 3})
    client = serve().until_live()
    page = pages(client.url)
    text_of(page, ".tile", "<b onmouseover=alert(5)>bold</b>")
    text_of(page, ".pill", "<b>run</b>")
    pages.keep(page, "board")
    page.goto(client.url + "#/keys")
    text_of(page, ".line", "<img src=x onerror=alert(1)>")
    text_of(page, ".line", "⟨U+202E⟩gnp.exe")
    page.locator(".tree").focus()
    page.keyboard.press("End")
    pages.keep(page, "keys")
    for key in ("a/b?c#d&e=f%20%2F..", "__proto__", "large"):
        page.goto(client.url + "#/keys")
        page.locator(".line .name", has_text=key).first.click()
        text_of(page, ".key-name", key)
    page.get_by_text("Load all of it").click()
    page.wait_for_function("() => document.querySelector('pre.json').textContent.length > 100000")
    page.goto(client.url + "#/changes")
    md["<script>document.title='pwned'</script>"] = "<img src=y onerror=alert(9)>"
    text_of(page, ".feed li", "<img src=y onerror=alert(9)>")
    assert "pwned" not in page.title()
    assert page.evaluate("() => ({}).polluted") is None
    assert page.locator("main img, main script, main iframe").count() == 0


def test_nothing_comes_from_elsewhere(pages: Pages, serve: Any, md: RemoteKVMapping) -> None:
    md.update({"n": 1})
    client = serve().until_live()
    page = pages(client.url)
    md["n"] = 2
    for view in ("#/keys", "#/key/xas/n", "#/changes", "#/wall"):
        page.goto(client.url + view)
        page.wait_for_function("() => document.querySelector('main').childElementCount > 0")
    page.goto(client.url + "#/key/xas/n")
    page.locator(".plot canvas").wait_for()
    assert all(address.startswith(client.url) for address in pages.requested)


# -- outages --------------------------------------------------------------------------------------


def test_the_server_is_killed_and_comes_back(pages: Pages, tmp_path: Path, bucket: str) -> None:
    with NatsServer(tmp_path / "nats") as server:
        store = f"{server.url}/?bucket={bucket}&create_bucket=true"
        with open_mapping(store, entry_point="xas") as md:
            md.update(sample="before", gone="soon")
            with Dashboard([source(store)]).running() as url:
                page = pages(url)
                text_of(page, ".tile", "before")
                live(page)
                server.kill()
                text_of(page, ".banner", "The store cannot be reached since")
                text_of(page, "#link", "Store away")
                page.locator(".panel.stale .tile", has_text="before").wait_for()
                pages.keep(page, "away")
                page.goto(url + "#/keys")
                page.locator(".keys.stale .line", has_text="before").wait_for()
                page.goto(url + "#/key/xas/sample")
                page.locator(".key.stale").wait_for()
                page.goto(url + "#/wall")
                page.locator(".wall .panel.stale").wait_for()
                pages.keep(page, "wall")
                server.start()
                page.locator(".panel:not(.stale)").wait_for()
                page.locator(".banner").wait_for(state="hidden")
                md["sample"] = "after"
                text_of(page, ".tile", "after")


def test_the_dashboard_is_restarted(pages: Pages, md: RemoteKVMapping, store_path: Path) -> None:
    pages.allowed += ["ERR_"]
    md.update(sample="before", other="here")
    port = free_port()
    store = f"sqlite://{store_path}"
    settings = Settings(port=port)
    with Dashboard([source(store)], settings).running() as url:
        page, keys = pages(url), pages(url + "#/keys")
        text_of(page, ".tile", "before")
        text_of(keys, ".line", "other")
    text_of(page, ".banner", "No connection to the dashboard since")
    page.locator(".panel.stale").wait_for()
    keys.locator(".keys.stale").wait_for()
    pages.keep(page, "lost")
    md["sample"] = "meanwhile"
    del md["other"]
    with Dashboard([source(store)], settings).running():
        text_of(page, ".tile", "meanwhile")
        page.locator(".banner").wait_for(state="hidden")
        live(page)
        live(keys)
        text_of(keys, ".count", "1 key")
        md["sample"] = "after"
        text_of(page, ".tile", "after")


def test_a_frozen_dashboard_is_noticed(pages: Pages, md: RemoteKVMapping, store_path: Path) -> None:
    pages.allowed += ["ERR_"]
    md["sample"] = "before"
    command = [sys.executable, "-c", "from kv_dict.cli import main; main()", "dashboard"]
    arguments = ["--port", "0", "--url", f"sqlite://{store_path}", "--entry-point", "xas"]
    with subprocess.Popen([*command, *arguments], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        page = pages(process.stdout.readline().rpartition(" ")[2].strip())
        text_of(page, ".tile", "before")
        process.send_signal(signal.SIGSTOP)
        text_of(page, ".banner", "No connection to the dashboard since")
        process.send_signal(signal.SIGCONT)
        md["sample"] = "after"
        text_of(page, ".tile", "after")
        page.locator(".banner").wait_for(state="hidden")
        process.terminate()


# -- editing --------------------------------------------------------------------------------------


def test_reading_only_offers_no_editing(pages: Pages, serve: Any, md: RemoteKVMapping) -> None:
    md["a"] = 1
    page = pages(serve().until_live().url + "#/key/xas/a")
    text_of(page, ".big-number", "1")
    assert not page.get_by_role("button", name="Edit").is_visible()


def log_in(page: Any, token: str = TOKEN) -> None:
    page.locator("#token").fill(token)
    page.locator("#login-go").click()


def test_the_token_lets_one_in(pages: Pages, serve: Any, md: RemoteKVMapping) -> None:
    pages.allowed += ["401"]
    md["sample"] = "secret"
    url = serve(token=TOKEN).url
    page = pages(url)
    page.locator("#login[open]").wait_for()
    assert "secret" not in page.content()
    log_in(page, "not the right token")
    text_of(page, "#login-reason", "That is not the token")
    log_in(page)
    text_of(page, ".tile", "secret")
    page.reload()
    text_of(page, ".tile", "secret")
    linked = pages(f"{url}#token={TOKEN}")
    text_of(linked, ".tile", "secret")
    assert TOKEN not in linked.url
    assert TOKEN not in linked.evaluate("() => document.cookie")


def test_what_is_hidden_is_on_no_page_and_keeps_its_value_from_being_edited(
    pages: Pages, serve: Any, md: RemoteKVMapping
) -> None:
    md["proposal"] = {"title": "Iron oxides", "pi_email": "ada@lab.org"}
    layout = Layout.from_dict(
        {"hide": ["*email"], "tiles": [{"key": "proposal", "path": "pi_email"}, "proposal"]}
    )
    url = serve(layout=layout, token=TOKEN, writable=True).until_live().url
    page = pages(f"{url}#token={TOKEN}")
    for view in ("#/", "#/keys", "#/wall", "#/changes", "#/key/xas/proposal"):
        page.goto(url + view)
        if view != "#/changes":
            text_of(page, "main", "Iron oxides")
        md["proposal"]["pi_email"] = f"bob@{len(view)}"
        assert not re.search("ada@|bob@|pi_email", page.content())
    page.get_by_role("button", name="Edit").click()
    text_of(page, ".editor .message", "Parts of it are hidden here")
    assert page.locator(".editor .primary").is_disabled()
    assert page.locator(".editor textarea").is_disabled()


def test_editing_shows_the_difference_and_conflicts(
    pages: Pages, serve: Any, md: RemoteKVMapping
) -> None:
    pages.allowed += ["404", "412"]
    md["sample"] = {"name": "Fe2O3", "layers": [12.5, 8.0]}
    page = pages(serve(token=TOKEN, writable=True).until_live().url + "#/key/xas/sample")
    text_of(page, "pre.json", "Fe2O3")
    edit = page.get_by_role("button", name="Edit")
    edit.click()
    log_in(page)
    page.locator("#login").wait_for(state="hidden")
    page.locator(".toast.shown").wait_for()
    edit.click()
    area, write = page.locator(".editor textarea"), page.locator(".editor .primary")
    page.wait_for_function("() => document.querySelector('.editor textarea').value.length > 10")
    assert write.is_disabled()
    assert "8.0" in area.input_value()
    area.fill('{"name": ')
    text_of(page, ".editor .message", "Not JSON yet")
    assert write.is_disabled()
    area.fill('{"name": "Fe3O4", "layers": [12.5, 8.0]}')
    text_of(page, ".diff .removed", '"name": "Fe2O3"')
    text_of(page, ".diff .added", "Fe3O4")
    md["sample"]["layers"].append(1.0)
    write.click()
    text_of(page, ".editor .message", "was changed by somebody else meanwhile")
    text_of(page, ".diff .removed", "1.0")
    pages.keep(page, "conflict")
    assert md["sample"]["name"] == "Fe2O3"
    page.get_by_text("Take theirs").click()
    area.fill(area.input_value().replace("Fe2O3", "Fe3O4"))
    write.click()
    page.locator(".editor").wait_for(state="detached")
    assert md["sample"] == {"name": "Fe3O4", "layers": [12.5, 8.0, 1.0]}
    text_of(page, "pre.json", "Fe3O4")
    edit.click()
    delete = page.locator(".editor .danger")
    delete.click()
    text_of(page, ".editor .danger", "Really delete it")
    delete.click()
    page.locator(".editor").wait_for(state="detached")
    assert "sample" not in md
    page.get_by_role("button", name="Create").click()
    area.fill('"again"')
    write.click()
    page.locator(".editor").wait_for(state="detached")
    assert md["sample"] == "again"


# -- for everybody --------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["dark", "light"])
def test_it_is_accessible(
    pages: Pages,
    serve: Any,
    md: RemoteKVMapping,
    opened: Callable[..., RemoteKVMapping],
    scheme: str,
) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    md.update(sample={"name": "Fe2O3", "layers": [1]}, beam_current_mA=7.0, shutter="open")
    md.update(proposal={"title": "Iron", "pi_name": "Ada"}, text="words", flag=True, nothing=None)
    opened("xas@status")["run"] = {"state": "paused", "plan_name": "scan", "points_expected": 9}
    opened("xas@baton")["baton"] = {"holder": {"user": "ada", "host": "ws1"}}
    client = serve().until_live()
    page = pages(client.url, color_scheme=scheme)
    text_of(page, ".tile", "Fe2O3")
    md["beam_current_mA"] = 60.0
    text_of(page, ".feed li", "60")
    for view, there in (
        ("#/", ".tile"),
        ("#/keys", ".line"),
        ("#/key/xas/beam_current_mA", ".big-number"),
        ("#/key/xas/sample", "pre.json"),
        ("#/changes", ".feed li"),
        ("#/wall", ".wall .tile"),
    ):
        page.goto(client.url + view)
        page.locator(there).first.wait_for()
        page.wait_for_function("() => !document.querySelector('.fresh')")
        found = axe.run(page).response["violations"]
        told = [(one["id"], node["html"][:200]) for one in found for node in one["nodes"]]
        assert told == [], view
        pages.keep(page, re.sub(r"\W", "", view) or "board")


NOTHING_IS_CUT_OFF = """() => [...document.querySelectorAll(".tile")].flatMap((tile) => {
    const { bottom } = tile.getBoundingClientRect();
    return [...tile.querySelectorAll(".spark, .detail, .value")]
        .filter((part) => part.getBoundingClientRect().bottom > bottom)
        .map((part) => part.outerHTML);
})"""


def test_it_is_legible_from_afar_and_on_a_phone(
    pages: Pages, serve: Any, md: RemoteKVMapping, opened: Callable[..., RemoteKVMapping]
) -> None:
    md.update(sample="Fe2O3", beam_current_mA=249.7, shutter="open", user="Rosalind Franklin")
    md.update(data_session="pass-318421", proposal={"title": "Iron oxides", "pi_name": "Ada"})
    opened("xas@status")["run"] = {"state": "running", "plan_name": "scan", "scan_id": 10421}
    client = serve().until_live()
    size = "(e) => parseFloat(getComputedStyle(e).fontSize)"
    wall = pages(client.url + "#/wall", 1920, 1080)
    text_of(wall, ".tile .value", "249.7")
    assert wall.locator(".pill").evaluate(size) > 1080 * 0.06
    assert wall.locator(".tile .value", has_text="249.7").evaluate(size) > 1080 * 0.06
    for value in wall.locator(".tile:visible .value").all():
        assert value.evaluate(size) > 1080 * 0.03
        assert value.evaluate("(e) => e.scrollHeight <= e.clientHeight + 2"), value.inner_text()
    assert wall.evaluate("() => document.documentElement.scrollHeight <= innerHeight")
    assert wall.evaluate(NOTHING_IS_CUT_OFF) == []
    pages.keep(wall, "wall")
    phone = pages(client.url, 360, 740)
    for view in ("#/", "#/keys", "#/key/xas/user", "#/changes"):
        phone.goto(client.url + view)
        phone.wait_for_function("() => document.querySelector('main').innerText.length > 20")
        assert phone.evaluate("() => document.documentElement.scrollWidth <= innerWidth"), view
        pages.keep(phone, "phone" + re.sub(r"\W", "", view))


def test_a_full_wall_cuts_nothing_off(pages: Pages, serve: Any, md: RemoteKVMapping) -> None:
    keys = [f"number{n}" for n in range(10)]
    tiles = [{"key": key, "unit": "mm", "detail": "note"} for key in keys] + ["long", "nowhere"]
    md.update(dict.fromkeys(keys, 1.25), note="a note", long="many words " * 20)
    client = serve(layout=Layout.from_dict({"tiles": tiles})).until_live()
    wall = pages(client.url + "#/wall", 1920, 1080)
    text_of(wall, ".tile", "not set")
    md.update(dict.fromkeys(keys, 2.5))
    wall.wait_for_function("() => document.querySelectorAll('.spark:not([hidden])').length === 10")
    assert wall.evaluate(NOTHING_IS_CUT_OFF) == []
    assert wall.evaluate("() => document.documentElement.scrollHeight <= innerHeight")
    pages.keep(wall, "wall")


def test_motion_is_reduced_where_that_is_wanted(pages: Pages, serve: Any) -> None:
    url = serve().until_live().url
    duration = "(e) => getComputedStyle(e).transitionDuration"
    fill = pages(url, reduced_motion="reduce").locator(".track .fill")
    assert fill.evaluate(duration) == "0s"
    fill = pages(url, reduced_motion="no-preference").locator(".track .fill")
    assert fill.evaluate(duration) != "0s"


def test_dark_and_light_are_chosen_and_kept(pages: Pages, serve: Any) -> None:
    page = pages(serve().until_live().url, color_scheme="light")
    theme = "() => document.documentElement.dataset.theme"
    assert page.evaluate(theme) == "light"
    live(page)
    page.keyboard.press("t")
    assert page.evaluate(theme) == "dark"
    page.reload()
    assert page.evaluate(theme) == "dark"


def test_a_storm_of_changes_leaves_the_page_usable(
    pages: Pages, serve: Any, md: RemoteKVMapping
) -> None:
    md.update({f"key{n}": 0 for n in range(200)})
    page = pages(serve().until_live().url + "#/keys")
    text_of(page, ".count", "200 keys")
    end = threading.Event()

    def write() -> None:
        number = 0
        while not end.is_set():
            number += 1
            md.update({f"key{(number * 7 + k) % 200}": number for k in range(10)})
            end.wait(0.02)

    writing = threading.Thread(target=write)
    writing.start()
    try:
        page.keyboard.press("/")
        page.keyboard.type("key19")
        text_of(page, ".count", "11 of 200")
        page.keyboard.press("ArrowDown")
        page.keyboard.press("Enter")
        page.locator(".plot canvas").wait_for()
        page.keyboard.press("c")
        page.wait_for_function("() => document.querySelectorAll('.feed li').length >= 50")
        assert page.locator(".feed li").count() <= 200
    finally:
        end.set()
        writing.join()
    md["key0"] = "the end"
    text_of(page, ".feed li", "the end")
