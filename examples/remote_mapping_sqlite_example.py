"""A mapping in a SQLite file, shared with a second process that changes it.

Run it with ``uv run examples/remote_mapping_sqlite_example.py [URL]``; without a URL it uses a
temporary file.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

from kv_dict import open_mapping

OTHER_PROCESS = """
import sys
from kv_dict import open_mapping
with open_mapping(sys.argv[1], entry_point="ep1") as md:
    md["sample"]["temperature_K"] = 80.0
    md.increment("visits")
"""


def main(url: str) -> None:
    with open_mapping(url, entry_point="ep1") as md:
        md["sample"] = {"name": "Fe2O3", "temperature_K": 300.0}
        md.increment("visits")

        sample = md["sample"]  # as it is now
        subprocess.run([sys.executable, "-c", OTHER_PROCESS, url], check=True)
        sample["mounted"] = True  # applied to what is stored now, not to what was read before
        print("both changes:", md["sample"])
        print("visits:      ", md["visits"])


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(sys.argv[1])
    else:
        with tempfile.TemporaryDirectory() as folder:
            main(f"sqlite://{Path(folder)}/example.db")
