"""The site builds offline, without a warning."""

import os
import subprocess
import sys
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"


def test_the_site_builds_without_a_warning(tmp_path: Path):
    environment = {k: v for k, v in os.environ.items() if k != "KV_DICT_DOCS_INTERSPHINX"}
    build = subprocess.run(
        [
            *(sys.executable, "-m", "sphinx", "-W", "--keep-going", "-n", "-q"),
            *("-d", str(tmp_path / "doctrees"), str(DOCS), str(tmp_path / "html")),
        ],
        env=environment,
        capture_output=True,
        text=True,
        timeout=110,
    )
    assert build.returncode == 0, build.stderr
    assert (tmp_path / "html" / "index.html").is_file()
    api = (tmp_path / "html" / "reference" / "api.html").read_text()
    assert 'id="kv_dict.RemoteKVMapping.increment"' in api
