"""How many of PyTorch's public names dtorch has, namespace by namespace.

    python -m tests.conformance.names            # prints the table
    python -m tests.conformance.names --write    # puts it into docs/coming-from-pytorch.md

The names come from the installed torch: of each namespace what its __all__ lists, or else what it
holds that is torch's own and has a docstring, less the families of LEFT_OUT.  Only the presence of a
name is looked at: what it does is for `python -m tests.conformance`.
"""

from __future__ import annotations

import argparse
import importlib
import re
import types
import warnings
from pathlib import Path
from typing import Any

import torch

DOCS = Path(__file__).parents[2] / "docs"
PAGE = DOCS / "coming-from-pytorch.md"
BEGIN, END = "<!-- generated: python -m tests.conformance.names --write -->", "<!-- end -->"

# Modules, and classes, whose methods and properties count one by one.
NAMESPACES = [
    "torch",
    "torch.Tensor",
    "torch.nn",
    "torch.nn.Module",
    "torch.nn.functional",
    "torch.nn.init",
    "torch.nn.parallel",
    "torch.nn.parallel.DistributedDataParallel",
    "torch.nn.utils",
    "torch.nn.utils.rnn",
    "torch.nn.utils.parametrizations",
    "torch.nn.utils.parametrize",
    "torch.optim",
    "torch.optim.Optimizer",
    "torch.optim.lr_scheduler",
    "torch.optim.swa_utils",
    "torch.utils.data",
    "torch.utils.checkpoint",
    "torch.autograd",
    "torch.autograd.functional",
    "torch.autograd.graph",
    "torch.autograd.forward_ad",
    "torch.distributed",
    "torch.cuda",
    "torch.linalg",
    "torch.fft",
    "torch.special",
    "torch.signal.windows",
    "torch.masked",
    "torch.random",
    "torch.amp",
    "torch.profiler",
    "torch.distributions",
    "torch.distributions.constraints",
    "torch.distributions.transforms",
    "torch.sparse",
    "torch.func",
    "torch.testing",
    "torch.hub",
    "torch.serialization",
]

# Families of names that are no part of a tensor library for training: patterns of the whole name,
# with or without its namespace.
LEFT_OUT = {
    "quantization": r".*quantize.*|q_.*|qscheme|int_repr|qu?int\d.*|per_(tensor|channel)_.*",
    "sub-byte and 8-bit float dtypes": r"[su]?bits.*|float[48]_.*|u?int[1-7]|uint4x2",
    "symbolic shapes": r"Sym(Int|Float|Bool)|sym_.*",
    "storages and shared memory": r".*Storage.*|storage|storage_type|share_memory_?|is_shared",
    "compiling": r"compile|compiled_.*|export|torch\.cond|while_loop|.*[Ss]cript.*|jit.*",
    "other devices": r"(is_|to_)?(mkldnn|vulkan|xpu|mps|mtia|maia|ipu|xla|hpu|hip|meta)|"
    r"(cudnn|miopen|mkldnn|fbgemm)_.*|.*_(xpu|ipu|xla|mps|hip)_.*",
    "named tensors": r"refine_names|rename_?|align_(to|as|tensors)|names|has_names",
    "what torch has removed": r"torch(\.Tensor)?\.(eig|lstsq|solve|symeig|matrix_rank|"
    r"volatile|reinforce)",
    "CUDA's memory pools": r"cudart|ipc_collect|MemPool|use_mem_pool|GreenContext|.*_as_nested_dict",
    "torch's internals": r"AVG|SUM|AggregationType|.*type_comment|parse_(ir|schema)|import_ir.*|"
    r"unify_type_list|fork|wait|DispatchKey|Tag|PRIVATE_OPS|TYPE_CHECKING|USE_.*|init_num_threads|"
    r"thread_safe_.*|bit|jagged|legacy_.*|BroadcastingList.*|assert_int.*|classproperty|"
    r"boolean_dispatch|.*_notes|DType|GRID_SAMPLE.*|ScalingType|SwizzleType|"
    r"ha(s|ndle)_torch_function.*|factory_kwargs|T_destination|dump_patches|call_super_init|"
    r"QueueEmptyError|__(abstractmethods|slots|long|nonzero|[ir]?div)__",
    "other libraries' names": r".*(ucc|xccl|gloo|torchelastic|[sS]emi_?[sS]tructured).*",
    "copies of view functions": r"(?!index)[^.]*_copy",
}


def find(name: str) -> Any:
    """A module, or a class in one; None where there is none."""
    try:
        return importlib.import_module(name)
    except ImportError:
        parent, _, last = name.rpartition(".")
        return getattr(find(parent), last, None) if parent else None


def documented(value: object) -> bool:
    doc = getattr(value, "__doc__", None)
    return isinstance(doc, str) and bool(doc.strip())


def public_names(namespace: str) -> list[str]:
    home = find(namespace)
    listed = set(getattr(home, "__all__", ()))
    names = listed | (set(dir(home)) if not listed or home is torch else set())
    known = _of_class if isinstance(home, type) else _of_module
    return sorted(
        name
        for name in names
        if known(home, name, listed) and not left_out(name) and not left_out(f"{namespace}.{name}")
    )


def left_out(name: str) -> bool:
    return any(re.fullmatch(pattern, name) for pattern in LEFT_OUT.values())


def _of_class(home: type, name: str, listed: set[str]) -> bool:
    bases = {b for b in (object, torch.nn.Module) if b in home.__mro__[1:]}
    inherited = any(hasattr(base, name) for base in bases)
    operator = re.fullmatch(r"__(?!torch|module|dict|weakref|annot|dlpack_c|slotnames).*__", name)
    return not inherited and bool(operator or name[0] != "_" and documented(getattr(home, name)))


def _of_module(home: types.ModuleType, name: str, listed: set[str]) -> bool:
    value = getattr(home, name, None)
    module = getattr(value, "__module__", None) or type(value).__module__
    own = name[0] != "_" and (name in listed or module.startswith(("torch", "builtins")))
    constant = isinstance(value, (torch.dtype, torch.layout, torch.memory_format))
    return own and not isinstance(value, types.ModuleType) and (constant or documented(value))


def compare() -> dict[str, tuple[int, list[str]]]:
    """{namespace: (how many public names torch has there, those that dtorch lacks)}"""
    result = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some of torch's names warn when they are looked at
        for namespace in NAMESPACES:
            names, ours = public_names(namespace), find("d" + namespace)
            result[namespace] = len(names), [n for n in names if not hasattr(ours, n)]
    return result


def table() -> str:
    compared = compare()
    rows = ["| namespace | has | lacks |", "|---|---|---|"]
    for namespace, (total, missing) in compared.items():
        lacks = ", ".join(f"`{name}`" for name in missing)
        rows.append(f"| `{namespace}` | {total - len(missing)} of {total} | {lacks} |")
    total, lack = sum(n for n, _ in compared.values()), sum(len(m) for _, m in compared.values())
    rows.append(f"| **all** | **{total - lack} of {total}** | |")
    return "\n".join([*rows, "", f"Not counted: {', '.join(LEFT_OUT)}.", "", _conformance()])


def _conformance() -> str:
    """What docs/conformance.md has recorded, in a sentence."""
    text = (DOCS / "conformance.md").read_text()
    columns = re.findall(r"[\w.]+", re.search(r"^\| ops in \|(.*)$", text, re.M)[1])  # type: ignore[index]
    counts = dict(zip(columns, re.findall(r"\d+/\d+", re.search(r"^\| \*\*all.*$", text, re.M)[0])))  # type: ignore[index]
    modules, schedulers, optimizers = re.findall(r"^- \w+\.done: (.*)$", text, re.M)
    ops, samples = (counts[name].replace("/", " of ") for name in ("done", "samples"))
    return (
        f"By PyTorch's own test databases {ops} ops are done, with their gradients and second "
        f"gradients; {samples} sample inputs give its values. So are {modules} modules, "
        f"{optimizers} configurations of optimizers and {schedulers} schedules."
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--write", action="store_true", help=f"into docs/{PAGE.name}")
    made = table()
    if parser.parse_args().write:
        head, tail = PAGE.read_text().split(BEGIN)[0], PAGE.read_text().split(END)[1]
        PAGE.write_text(f"{head}{BEGIN}\n\n{made}\n\n{END}{tail}")
    else:
        print(made)


if __name__ == "__main__":
    main()
