# ruff: noqa: T201
"""bluesky's own test suite, once with a plain dict as ``RE.md`` and once with a mapping.

::

    python tests/beamline/bluesky_suite.py [--backend sqlite|memory|portal] [-k EXPRESSION]
        [--together] [--show] [module ...]

runs both in processes of their own and prints how many tests passed, failed, ... in each, and every
test whose outcome differs. Exit status 1 if any does.

The same file is the pytest plugin of those processes. In the second it patches ``RunEngine`` so
that each gets a `RemoteKVMapping` on a store of its own, with the items of the dict it was given.
"""

from __future__ import annotations

import argparse
import functools
import importlib.machinery
import importlib.util
import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
import types
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, ClassVar

import pytest

BACKENDS = ("sqlite", "memory", "portal")
PER_TEST_TIMEOUT = 60

_KIND = "KV_DICT_SUITE_MD"
_FOLDER = "KV_DICT_SUITE_FOLDER"

STAND_INS = ("matplotlib", "matplotlib.pyplot", "pandas")
"""Imported by modules and a fixture of which only a few tests use them: those are skipped."""

LEFT_OUT = {
    "test_bec.py": "needs matplotlib",
    "test_buffering.py": "no RunEngine; its tests disturb each other's threads",
    "test_cli.py": "runs the command-line programs; no RunEngine",
    "test_consolidators.py": "needs tiled",
    "test_scientific.py": "needs scipy and lmfit",
    "test_simple_api.py": "needs matplotlib",
    "test_tiled_writer.py": "needs tiled and tifffile",
    "test_zmq.py": "needs pyzmq, and opens ports",
    "test_zmq_proxy_cli.py": "needs pyzmq",
}
"""Test modules that are not run, the same ones with a dict and with a mapping; and why."""

INTERRUPTING = "os.kill on windows"
"""How the reason begins that bluesky gives for skipping tests which send SIGINT to themselves."""

TIMED = (
    "test_set_failed_before_watch_raises_immediately",
    "test_wait_returns_based_on_watch_raises",
    "test_wait_when_one_status_returns_raises",
    "test_watch_finished_before_set_return_when_set_finishes",
)
"""Tests that compare a duration with a figure: a busy machine fails them, with a dict too."""

ORDER = ("passed", "failed", "error", "skipped", "xfailed", "xpassed")


# -- the plugin ------------------------------------------------------------------------------------


class Suite:
    """Collects outcomes and gives every RunEngine its mapping."""

    def __init__(self, kind: str, folder: Path) -> None:
        self.kind = kind
        self.folder = folder
        self.outcomes: dict[str, str] = {}
        self.reasons: dict[str, str] = {}
        self.engines = 0
        self._open: list[Any] = []
        self._names = itertools.count()

    def mapping(self, items: dict[str, Any]) -> Any:
        """Return a new mapping in a store of its own, with `items`."""
        from kv_dict import InMemoryAsyncBackend, RemoteKVMapping, SQLiteBackend

        if self.kind == "sqlite":
            backend = SQLiteBackend(self.folder / f"{next(self._names)}.db")
        elif self.kind == "memory":
            backend = InMemoryAsyncBackend()
        else:
            backend = _async_only(InMemoryAsyncBackend())
        mapping = RemoteKVMapping(backend, "suite")
        self._open.append(mapping)
        mapping.update(items)
        return mapping

    def patch(self) -> None:
        """Give each RunEngine made from now on a mapping in place of its dict."""
        from bluesky import RunEngine

        original = RunEngine.__init__

        @functools.wraps(original)
        def __init__(engine: Any, md: Any = None, *args: Any, **kwargs: Any) -> None:
            if md is None or type(md) is dict:
                md = self.mapping(md or {})
                self.engines += 1
            original(engine, md, *args, **kwargs)

        RunEngine.__init__ = __init__

    # -- hooks -----------------------------------------------------------------------------------

    @pytest.hookimpl
    def pytest_ignore_collect(self, collection_path: Path) -> bool | None:
        return True if collection_path.name in LEFT_OUT else None

    @pytest.hookimpl
    def pytest_collection_modifyitems(self, items: list[Any]) -> None:
        items[:] = [
            item for item in items if not (item.originalname in TIMED or self._interrupts(item))
        ]

    def _interrupts(self, item: Any) -> bool:
        """Return whether a test may end pytest itself, when a signal comes late."""
        return item.path.name == "test_run_engine.py" and any(
            mark.kwargs.get("reason", "").startswith(INTERRUPTING)
            for mark in item.iter_markers("skipif")
        )

    @pytest.hookimpl
    def pytest_runtest_logreport(self, report: Any) -> None:
        before = self.outcomes.get(report.nodeid)
        outcome = report.outcome
        if hasattr(report, "wasxfail"):
            outcome = "xfailed" if report.skipped else "xpassed"
        elif report.when != "call" and report.failed:
            outcome = "error"
        if before is None or (outcome != "passed" and before == "passed"):
            self.outcomes[report.nodeid] = outcome
            if outcome not in ("passed", "xfailed"):
                self.reasons[report.nodeid] = report.longreprtext[-1500:]

    @pytest.hookimpl
    def pytest_collectreport(self, report: Any) -> None:
        if report.failed or report.skipped:
            self.outcomes[report.nodeid] = "error" if report.failed else "skipped"
            self.reasons[report.nodeid] = report.longreprtext[-1500:]

    @pytest.hookimpl
    def pytest_collection_finish(self) -> None:
        self._open.clear()  # RunEngines made by importing a module serve all of its tests

    @pytest.hookimpl
    def pytest_runtest_logfinish(self) -> None:
        while self._open:
            self._open.pop().close()

    @pytest.hookimpl
    def pytest_sessionfinish(self) -> None:
        result = {"outcomes": self.outcomes, "reasons": self.reasons, "engines": self.engines}
        (self.folder / "result.json").write_text(json.dumps(result))


def _async_only(inner: Any) -> Any:
    """Return a backend without a synchronous face: each call crosses into the portal's thread."""
    from kv_dict import Backend

    class AsyncOnly(Backend):
        url = capabilities = None

        async def read(self, key: str, *, timeout: float) -> Any:
            return await inner.read(key, timeout=timeout)

        async def snapshot(self, prefix: str, *, timeout: float) -> Any:
            return await inner.snapshot(prefix, timeout=timeout)

        async def commit(self, operations: Any, *, timeout: float) -> Any:
            return await inner.commit(operations, timeout=timeout)

        def watch(self, prefix: str) -> Any:
            return inner.watch(prefix)

        async def ping(self, *, timeout: float) -> None:
            await inner.ping(timeout=timeout)

        async def close(self) -> None:
            await inner.close()

    backend = AsyncOnly()
    backend.url, backend.capabilities = inner.url, inner.capabilities
    return backend


class _StandIn(types.ModuleType):
    """A module that is not installed: importing it works, using it skips the test."""

    __path__: ClassVar[list[str]] = []

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        pytest.skip(f"needs {self.__name__}", allow_module_level=True)


def _stand_in() -> None:
    missing = {name for name in STAND_INS if importlib.util.find_spec(name.split(".")[0]) is None}
    for name in STAND_INS:
        if name in missing:
            sys.modules[name] = _StandIn(name)
            sys.modules[name].__spec__ = importlib.machinery.ModuleSpec(name, None)
    pyplot = sys.modules.get("matplotlib.pyplot")
    if isinstance(pyplot, _StandIn):
        sys.modules["matplotlib"].pyplot = pyplot
        sys.modules["matplotlib"].get_backend = lambda: "agg"  # asked by every run
        pyplot.close = lambda which: None  # a fixture of every test


def pytest_configure(config: pytest.Config) -> None:
    """Begin, in a process that `run` started."""
    kind = os.environ.get(_KIND)
    if kind is None:
        return
    import packaging.version  # noqa: F401 - bluesky's conftest relies on somebody having done so

    _stand_in()
    suite = Suite(kind, Path(os.environ[_FOLDER]))
    config.pluginmanager.register(suite, "kv_dict bluesky suite")
    if kind != "dict":
        suite.patch()


# -- the program -----------------------------------------------------------------------------------


def run(
    kind: str, modules: list[str], expression: str | None, timeout: float, quiet: bool = True
) -> dict[str, Any]:
    """Run bluesky's suite with ``RE.md`` of that kind; return outcomes, reasons, seconds."""
    with tempfile.TemporaryDirectory(prefix="bluesky-suite-") as folder:
        (Path(folder) / "pytest.ini").write_text("[pytest]\n")
        names = [f"bluesky.tests.{name}" for name in modules] or ["bluesky.tests"]
        command = [
            *(sys.executable, "-m", "pytest", "-c", f"{folder}/pytest.ini"),
            *("--rootdir", _site_packages()),  # test names are relative to it
            *("-p", Path(__file__).stem, "-p", "no:cacheprovider", "-q", "--tb=short"),
            *(f"--timeout={PER_TEST_TIMEOUT}", f"--basetemp={folder}/tmp"),
            *(["-k", expression] if expression else []),
            *("--pyargs", *names),
        ]
        environment = os.environ | {
            _KIND: kind,
            _FOLDER: folder,
            "PYTHONPATH": os.pathsep.join(
                [str(Path(__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])]
            ),
            "MPLBACKEND": "agg",
        }
        began = time.monotonic()
        done = subprocess.run(
            command,
            env=environment,
            cwd=folder,
            timeout=timeout,
            check=False,
            stdout=subprocess.PIPE if quiet else None,
            stderr=subprocess.STDOUT if quiet else None,
            text=True,
        )
        result = Path(folder) / "result.json"
        if done.returncode not in (0, 1) or not result.exists():
            raise RuntimeError(f"with {kind} pytest ended with {done.returncode}:\n{done.stdout}")
        return json.loads(result.read_text()) | {"seconds": time.monotonic() - began}


def _site_packages() -> str:
    spec = importlib.util.find_spec("bluesky")
    if spec is None or spec.origin is None:
        raise RuntimeError("bluesky is not installed")
    return str(Path(spec.origin).parents[1])


def differences(one: dict[str, Any], other: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Return test, outcome in `one`, outcome in `other`, of those that are not the same."""
    before, after = one["outcomes"], other["outcomes"]
    return [
        (test, before.get(test, "not run"), after.get(test, "not run"))
        for test in sorted(before.keys() | after.keys())
        if before.get(test) != after.get(test)
    ]


def _table(results: dict[str, dict[str, Any]]) -> str:
    lines = ["| RE.md | " + " | ".join(ORDER) + " | seconds |", "|---" * (len(ORDER) + 2) + "|"]
    for name, result in results.items():
        count = Counter(result["outcomes"].values())
        cells = [str(count[outcome]) for outcome in ORDER]
        lines.append(f"| {name} | " + " | ".join(cells) + f" | {result['seconds']:.0f} |")
    return "\n".join(lines)


def main() -> int:
    """Run the program; return its exit status."""
    parser = argparse.ArgumentParser(description="bluesky's own tests, with a dict and a mapping")
    parser.add_argument("--backend", choices=BACKENDS, default="sqlite")
    parser.add_argument("-k", dest="expression", help="as pytest's -k")
    parser.add_argument("--timeout", type=float, default=600, help="seconds, for each of the runs")
    parser.add_argument("--together", action="store_true", help="both at once: most tests wait")
    parser.add_argument("--show", action="store_true", help="show pytest's own output too")
    parser.add_argument(
        "modules", nargs="*", help="test_metadata, ...; all of them if none is named"
    )
    options = parser.parse_args()
    kinds = ("dict", options.backend)

    def outcome(kind: str) -> dict[str, Any]:
        return run(kind, options.modules, options.expression, options.timeout, not options.show)

    with ThreadPoolExecutor(2 if options.together else 1) as pool:
        results = dict(zip(kinds, pool.map(outcome, kinds), strict=True))
    plain, mapped = results.values()
    print(_table(results))
    print(f"\n{mapped['engines']} RunEngines had a mapping.")
    print("\nNot run:", "; ".join(f"{name} ({why})" for name, why in LEFT_OUT.items()))
    print("Nor the tests of test_run_engine.py that send SIGINT, which may end pytest.")
    print("Nor those that compare a duration with a figure:", ", ".join(TIMED))
    print("\nNot passed with a dict either:")
    for test, outcome in plain["outcomes"].items():
        if outcome in ("failed", "error"):
            print(f"  {outcome}: {test}: {plain['reasons'].get(test, '').splitlines()[-1:]}")
    changed = differences(plain, mapped)
    print(f"\nDifferent outcomes: {len(changed)}")
    for test, before, after in changed:
        print(f"\n{test}: {before} with a dict, {after} with {options.backend}")
        print(mapped["reasons"].get(test, plain["reasons"].get(test, "")))
    return 1 if changed else 0


if __name__ == "__main__":
    sys.exit(main())
