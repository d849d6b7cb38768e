"""`%load_ext kv_dict`: the ``%md`` magic, key completion, and a prompt that shows the session."""

from __future__ import annotations

from kv_dict.integrations.ipython.extension import (
    load_ipython_extension,
    unload_ipython_extension,
)
from kv_dict.integrations.ipython.prompt import MetadataPrompts

__all__ = ["MetadataPrompts", "load_ipython_extension", "unload_ipython_extension"]
