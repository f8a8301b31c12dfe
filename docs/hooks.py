"""Fills the pages of functions of the site: what can be called, its arguments, its first line.

Most functions are made of ops when dtorch is imported, so that no reader of source finds them.
"""

import importlib
import inspect
import re
import warnings
from typing import Any

PAGES = {"api/dtorch.md": "dtorch", "api/functional.md": "dtorch.nn.functional"}


def on_page_markdown(markdown: str, page: Any, **others: Any) -> str:
    namespace = PAGES.get(page.file.src_uri)
    return markdown if namespace is None else f"{markdown}\n\n{table(namespace)}"


def table(namespace: str) -> str:
    module = importlib.import_module(namespace)
    rows = ["| function | |", "|---|---|"]
    for name in sorted(dir(module)):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # names that are there for old scripts
            value = getattr(module, name)
        own = (getattr(value, "__module__", None) or "").startswith("dtorch")
        if name[0] != "_" and own and callable(value) and not inspect.isclass(value):
            rows.append(f"| `{name}{_arguments(value)}` | {_first_line(value)} |")
    return "\n".join(rows)


def _first_line(function: Any) -> str:
    """Of its docstring, as Markdown: what is not between backticks is plain text."""
    pieces = (inspect.getdoc(function) or "").split("\n")[0].split("`")
    pieces[::2] = [re.sub(r"[\\*_<>\[\]]", r"\\\g<0>", piece) for piece in pieces[::2]]
    return "`".join(pieces).replace("|", r"\|")


def _arguments(function: Any) -> str:
    try:
        signature = inspect.signature(function)
    except ValueError:
        return "(...)"
    bare = [
        p.replace(annotation=inspect.Parameter.empty)
        for p in signature.parameters.values()
        if p.name[0] != "_"
    ]
    return f"({', '.join(map(str, bare))})".replace("|", r"\|")
