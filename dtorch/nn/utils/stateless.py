"""A module called with other parameters and buffers than its own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ...core.tensor import Tensor
from ..modules.module import Module


def _own(module: Module) -> dict[str, Tensor]:
    """All parameters and buffers by name, tied ones under each of their names."""
    return {
        **dict(module.named_parameters(remove_duplicate=False)),
        **dict(module.named_buffers(remove_duplicate=False)),
    }


def _tied(own: dict[str, Tensor], given: dict[str, Tensor]) -> dict[str, Tensor]:
    """`given`, with what it says of a tensor said of all names that the tensor has."""
    names: dict[int, list[str]] = {}
    for name, t in own.items():
        names.setdefault(id(t), []).append(name)
    result = dict(given)
    for group in names.values():
        values = {id(given[n]) for n in group if n in given}
        if len(values) > 1:
            raise ValueError(
                f"functional_call got multiple values for keys {sorted(n for n in group if n in given)}"
                ", which are tied. Consider using tie_weights=False"
            )
        for n in group:
            if n not in given and values:
                result[n] = next(given[m] for m in group if m in given)
    return result


def _check_keys(module: Module, own: dict[str, Tensor], given: dict[str, Tensor]) -> None:
    wrong = [
        f"\n\t{what} key(s): {', '.join(map(repr, sorted(keys)))}."
        for what, keys in (("Unexpected", given.keys() - own), ("Missing", own.keys() - given))
        if keys
    ]
    if wrong:
        raise RuntimeError(
            f"Error(s) in reparametrizing for {type(module).__name__}:" + "".join(wrong)
        )


def _table(module: Module, name: str) -> tuple[dict[str, Any], str]:
    """The dictionary in which a parameter or buffer of a submodule is, and its key there."""
    path, _, last = name.rpartition(".")
    owner = module.get_submodule(path)
    for table in (owner._parameters, owner._buffers):
        if last in table:
            return table, last
    return owner._buffers, last


@contextmanager
def replaced(
    module: Module, tensors: dict[str, Tensor], tie_weights: bool, strict: bool
) -> Iterator[None]:
    """In here the module has these tensors as its parameters and buffers.

    Buffers that forward replaces (rather than writes to) are put into `tensors`.
    """
    own = _own(module)
    given = _tied(own, tensors) if tie_weights else dict(tensors)
    if strict:
        _check_keys(module, own, given)
    known = [(*_table(module, name), name) for name in given if name in own]
    before = [table[key] for table, key, _ in known]
    for table, key, name in known:
        table[key] = given[name]
    try:
        yield
    finally:
        for (table, key, name), t in zip(known, before):
            if name in tensors:
                tensors[name] = table[key]
            table[key] = t


def functional_call(
    module: Module,
    parameters_and_buffers: dict[str, Tensor],
    args: Any = None,
    kwargs: dict[str, Any] | None = None,
    *,
    tie_weights: bool = True,
    strict: bool = False,
) -> Any:
    """module(*args, **kwargs) with other tensors in place of its own.

    parameters_and_buffers: by name, as in state_dict; the module keeps its own where none is given
    args: a tuple, or the only argument
    tie_weights: a tensor that the module has under several names is replaced under all of them
    strict: RuntimeError unless all of the module's names, and no others, are given
    """
    if args is None:
        args = ()
    elif not isinstance(args, tuple):
        args = (args,)
    with replaced(module, parameters_and_buffers, tie_weights, strict):
        return module(*args, **(kwargs or {}))
