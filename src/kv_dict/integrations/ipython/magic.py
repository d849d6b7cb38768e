"""The magic ``%md``."""

from __future__ import annotations

import inspect
import shutil
from typing import Any

from IPython.core.error import UsageError
from IPython.core.magic import Magics, line_magic, magics_class, no_var_expand

from kv_dict.errors import KVDictError
from kv_dict.integrations.ipython.arguments import Request, parse
from kv_dict.integrations.ipython.places import assign, delete
from kv_dict.integrations.ipython.prompt import hide_segment, show_segment
from kv_dict.integrations.ipython.target import Target, target
from kv_dict.integrations.ipython.tree import everything
from kv_dict.integrations.ipython.watching import watch
from kv_dict.mapping.paths import PathError, look

__all__ = ["MetadataMagics"]


@magics_class
class MetadataMagics(Magics):
    """Metadata at the prompt."""

    @no_var_expand  # braces are JSON here
    @line_magic
    def md(self, line: str) -> Any:
        """Show, set and follow the metadata of the session.

        It is that of the RunEngine called RE, or else the mapping called md, or else what the
        profile in force opens.

        %md                         all of it
        %md sample                  one item, which is then in _ too
        %md sample/layers/0         what is inside: keys of dicts, indexes of lists
        %md energy 7.112            set it; a value is JSON or a Python literal,
        %md sample {"name": "Fe"}   and anything else is a string
        %md sample/name Fe2O3       set a part of it
        %md sample/layers/- 8.0     append to a list
        %md -d sample/name          delete it (--delete)
        %md -w [sample]             follow changes by anybody, until Ctrl-C (--watch)
        %md --prompt, --no-prompt   data session and scan id in front of the prompt, or not
        %md --help                  this

        A key with spaces is written in quotes. In a path ~1 is a / and ~0 a ~ in a key.
        """
        request = parse(line)
        if request.action == "help":
            print(inspect.getdoc(MetadataMagics.md))
            return None
        shell: Any = self.shell
        if request.action in ("prompt", "no-prompt"):
            (show_segment if request.action == "prompt" else hide_segment)(shell)
            return None
        try:
            return _answer(request, target(shell.user_ns))
        except PathError as error:
            raise UsageError(str(error)) from None
        except KVDictError as error:
            raise UsageError(f"{type(error).__name__}: {error}") from None


def _answer(request: Request, to: Target) -> Any:
    width = shutil.get_terminal_size().columns
    path = request.path
    if request.action == "show":
        return look(to.mapping, path)
    if request.action == "tree":
        print("\n".join(everything(to, width)))
    elif request.action == "set":
        print(assign(to, path, request.value))
    elif request.action == "delete":
        print(delete(to, path))
    else:
        watch(to, path[0] if path else None, width)
    return None
