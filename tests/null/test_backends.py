"""The CUDA backend offers what the CPU backend offers: read from the source, with no GPU needed."""

import ast
from pathlib import Path

import dtorch.core.backend


def _functions(name: str) -> dict[str, list[str]]:
    """The public functions of a backend, each with the names of its arguments."""
    source = Path(dtorch.core.backend.__file__).with_name(f"{name}.py").read_text()
    return {
        node.name: [a.arg for a in node.args.args]
        for node in ast.parse(source).body
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_")
    }


def test_both_backends_have_the_same_functions():
    cpu, cuda = _functions("cpu"), _functions("cuda")
    del cuda["why_not"], cpu["finfo_of"]  # only CUDA can be missing; finfo is of dtypes, not arrays
    assert cuda == cpu
