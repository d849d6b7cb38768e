"""Take the pictures of the dashboard: `uv run python docs/screenshots.py`, with a Chromium."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from playwright.sync_api import sync_playwright

FOLDER = Path(__file__).parent / "_static"
CHROMIUM = os.environ.get("KV_DICT_TEST_CHROMIUM") or shutil.which("chromium")
PICTURES = {
    "dashboard-board.png": ("#/", (1280, 810), "light"),
    "dashboard-wall.png": ("#/wall", (1600, 900), "dark"),
}


def main() -> None:
    if CHROMIUM is None:
        sys.exit("no Chromium here: apt-get install chromium, or set KV_DICT_TEST_CHROMIUM")
    command = "from kv_dict.cli import main; main()"
    with (
        subprocess.Popen(
            [sys.executable, "-c", command, "demo", "--dashboard"],
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"LOGNAME": "dorothy"},
        ) as demo,
        sync_playwright() as playwright,
    ):
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        try:
            assert demo.stdout is not None
            url = next(line for line in demo.stdout if line.startswith("Dashboard: ")).split()[1]
            for name, (view, (width, height), theme) in PICTURES.items():
                page = browser.new_page(
                    viewport={"width": width, "height": height}, color_scheme=theme
                )
                page.goto(url + view)
                page.wait_for_function(WELL_ON_ITS_WAY, timeout=60_000)
                take(page, FOLDER / name)
        finally:
            browser.close()
            demo.terminate()


WELL_ON_ITS_WAY = """() => {
    const done = parseInt(document.querySelector(".under")?.textContent);
    return done >= 17 && done <= 30 && document.querySelectorAll(".spark:not([hidden])").length > 1;
}"""


def take(page: Any, path: Path) -> None:
    page.screenshot(path=path)
    print(f"{path}: {path.stat().st_size // 1000} kB")
    page.close()


if __name__ == "__main__":
    main()
