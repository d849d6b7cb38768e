"""Sphinx configuration: `sphinx-build -W --keep-going -n docs docs/_build/html`, offline."""

from __future__ import annotations

import os
from importlib.metadata import version as distribution_version

project = "kv-dict"
author = "The kv-dict developers"
copyright = author  # noqa: A001 - the name Sphinx reads
release = distribution_version("kv-dict")
version = ".".join(release.split(".")[:2])

extensions = [
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.viewcode",
]
if os.environ.get("KV_DICT_DOCS_INTERSPHINX"):  # needs the network
    extensions.append("sphinx.ext.intersphinx")
    intersphinx_mapping = {
        "python": ("https://docs.python.org/3", None),
        "bluesky": ("https://blueskyproject.io/bluesky/main", None),
    }

exclude_patterns = ["_build", "Thumbs.db", ".DS_Store"]
source_suffix = {".md": "markdown", ".rst": "restructuredtext"}
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

# -- the API -----------------------------------------------------------------------------------

default_role = "py:obj"
autosummary_generate = False
autodoc_member_order = "bysource"
autodoc_typehints = "none"  # the numpydoc sections say the types
autodoc_preserve_defaults = True
numpydoc_show_class_members = False
numpydoc_xref_param_type = False

# Every reference into kv_dict has to lead somewhere. Python's own names do with intersphinx only,
# and single backticks in docstrings also mark parameters.
nitpicky = True
nitpick_ignore_regex = [(r"py:.*", r"(?!kv_dict\.).*")]

# -- the pages ---------------------------------------------------------------------------------

html_theme = "pydata_sphinx_theme"
html_title = f"kv-dict {release}"
html_static_path = ["_static"]
html_css_files = ["kv_dict.css"]
html_copy_source = False
html_show_sourcelink = False
html_theme_options = {
    "show_prev_next": False,
    "navigation_with_keys": False,
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": [],
    "navbar_align": "left",
    "show_toc_level": 2,
    "pygments_light_style": "tango",
    "pygments_dark_style": "monokai",
}
html_sidebars = {"index": []}
