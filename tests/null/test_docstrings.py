"""Every public name in the namespaces that users read has a docstring, and so has every method."""

import importlib
import inspect

import pytest

NAMESPACES = [
    "dtorch.nn",
    "dtorch.nn.functional",
    "dtorch.nn.init",
    "dtorch.nn.utils",
    "dtorch.optim",
    "dtorch.optim.lr_scheduler",
    "dtorch.utils.data",
    "dtorch.parallel",
    "dtorch.distributed",
]
# Modules say in their own docstring what forward does; the others are dict's, with dict's meaning.
PLAIN = {"forward", "extra_repr", *(name for name in dir(dict) if name[0] != "_")}


def public(namespace: str) -> dict[str, object]:
    """What a namespace holds that is dtorch's own, by name."""
    module = importlib.import_module(namespace)
    names = getattr(module, "__all__", None) or [n for n in dir(module) if n[0] != "_"]
    values = {name: getattr(module, name) for name in names}
    own = (getattr(value, "__module__", None) or "" for value in values.values())
    return {
        name: value
        for (name, value), home in zip(values.items(), own)
        if callable(value) and home.startswith("dtorch")
    }


def undocumented(name: str, value: object) -> list[str]:
    missing = [] if inspect.getdoc(value) else [name]
    if inspect.isclass(value) and not value.__module__.startswith("dtorch.core"):
        for attribute, raw in vars(value).items():
            function = getattr(raw, "__func__", getattr(raw, "fget", raw))
            if attribute[0] == "_" or attribute in PLAIN or not inspect.isfunction(function):
                continue
            if not inspect.getdoc(getattr(value, attribute)):
                missing.append(f"{name}.{attribute}")
    return missing


@pytest.mark.parametrize("namespace", NAMESPACES)
def test_every_public_name_says_what_it_is(namespace):
    found = public(namespace)
    assert len(found) >= 3
    assert [x for name, value in found.items() for x in undocumented(name, value)] == []
