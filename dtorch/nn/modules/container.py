"""Modules that hold modules or parameters: lists, dicts, and one after another."""

# mypy: disallow-untyped-defs=False
from __future__ import annotations

import operator
from collections import OrderedDict
from collections.abc import Mapping

from ...core.tensor import Tensor
from ..parameter import Parameter
from .module import Module


def _position(i, n):
    """`i` as an index into n items; IndexError if there is none such."""
    i = operator.index(i)
    if not -n <= i < n:
        raise IndexError(f"index {i} is out of range")
    return i % n


class _Indexed(Module):
    """Children under the names "0", "1", ..."""

    def _set_children(self, modules):
        self._modules.clear()
        for i, module in enumerate(modules):
            self.add_module(str(i), module)

    def _key(self, i):
        return list(self._modules)[_position(i, len(self))]

    def __getitem__(self, i):
        if isinstance(i, slice):
            return self._some(list(self._modules.items())[i])
        return self._modules[self._key(i)]

    def __setitem__(self, i, module):
        setattr(self, self._key(i), module)

    def __delitem__(self, i):
        keys = list(self._modules)[i] if isinstance(i, slice) else [self._key(i)]
        left = [(k, m) for k, m in self._modules.items() if k not in keys]
        if all(k.isdigit() for k, _ in left):
            left = [(str(n), m) for n, (_, m) in enumerate(left)]
        self._modules.clear()
        self._modules.update(left)

    def __len__(self):
        return len(self._modules)

    def __iter__(self):
        return iter(self._modules.values())

    def __dir__(self):
        return [k for k in super().__dir__() if not k.isdigit()]

    def append(self, module):
        """Add a module at the end."""
        self.add_module(str(len(self)), module)
        return self

    def extend(self, modules):
        """Add the modules at the end."""
        for module in list(modules):
            self.append(module)
        return self

    def insert(self, index, module):
        """Put a module before position `index`."""
        if not isinstance(module, Module):
            raise AssertionError(f"module should be of type: {Module}")
        modules = list(self)
        if not -len(modules) <= index <= len(modules):
            raise IndexError(f"Index out of range: {index}")
        modules.insert(index + len(modules) if index < 0 else index, module)
        self._set_children(modules)
        return self

    def pop(self, key):
        """Take a module out and return it."""
        module = self[key]
        del self[key]
        return module


class Sequential(_Indexed):
    """Calls its modules one after another, each with what the one before returned.

    Sequential(a, b), or Sequential(OrderedDict(name=a, other=b)) to name them
    """

    def __init__(self, *args):
        super().__init__()
        if len(args) == 1 and isinstance(args[0], OrderedDict):
            for name, module in args[0].items():
                self.add_module(name, module)
        else:
            self._set_children(args)

    def _some(self, items):
        return type(self)(OrderedDict(items))

    def __add__(self, other):
        if not isinstance(other, Sequential):
            raise ValueError(
                f"add operator supports only objects of Sequential class, but {type(other)} is "
                "given."
            )
        return Sequential(*self, *other)

    def __iadd__(self, other):
        return self.extend(other)

    def __mul__(self, other):
        if not isinstance(other, int) or other <= 0:
            raise TypeError(f"Sequential can be multiplied by a positive int only, not {other!r}")
        return Sequential(*list(self) * other)

    __rmul__ = __mul__

    def __imul__(self, other):
        self._set_children((self * other)._modules.values())
        return self

    def forward(self, input):
        for module in self._modules.values():
            input = module(input)
        return input


class ModuleList(_Indexed):
    """A list of modules."""

    def __init__(self, modules=None):
        super().__init__()
        self._set_children(modules or ())

    def _some(self, items):
        return type(self)([m for _, m in items])

    def __iadd__(self, modules):
        return self.extend(modules)

    def __add__(self, other):
        return ModuleList([*self, *other])

    def __repr__(self):
        """Equal modules in a row are shown once, with their number."""
        groups = []  # [first, last, text]
        for i, text in enumerate(map(repr, self)):
            if groups and groups[-1][2] == text:
                groups[-1][1] = i
            else:
                groups.append([i, i, text])
        if not groups:
            return f"{self._get_name()}()"
        lines = [
            f"({a}): {text}" if a == b else f"({a}-{b}): {b - a + 1} x {text}"
            for a, b, text in groups
        ]
        inner = "\n".join(lines).replace("\n", "\n  ")
        return f"{self._get_name()}(\n  {inner}\n)"


class ModuleDict(Module):
    """A dict of modules, in order of insertion."""

    def __init__(self, modules=None):
        super().__init__()
        if modules is not None:
            self.update(modules)

    def __getitem__(self, key):
        return self._modules[key]

    def __setitem__(self, key, module):
        self.add_module(key, module)

    def __delitem__(self, key):
        del self._modules[key]

    def __len__(self):
        return len(self._modules)

    def __iter__(self):
        return iter(self._modules)

    def __contains__(self, key):
        return key in self._modules

    def clear(self):
        self._modules.clear()

    def pop(self, key):
        """Take a module out and return it."""
        return self._modules.pop(key)

    def keys(self):
        return self._modules.keys()

    def items(self):
        return self._modules.items()

    def values(self):
        return self._modules.values()

    def update(self, modules):
        """Add the modules of a mapping, or of an iterable of (name, module)."""
        for key, module in _pairs(modules, "ModuleDict.update"):
            self[key] = module


def _pairs(given, where):
    if isinstance(given, (Mapping, ModuleDict, ParameterDict)):
        return list(given.items())
    if not hasattr(given, "__iter__"):
        raise TypeError(
            f"{where} should be called with an iterable of key/value pairs, but got "
            f"{type(given).__name__}"
        )
    pairs = list(given)
    for i, pair in enumerate(pairs):
        if len(pair) != 2:
            raise ValueError(f"{where}: element #{i} has length {len(pair)}; 2 is required")
    return pairs


def _as_parameter(x):
    """A tensor becomes a Parameter; anything else is kept as it is."""
    return Parameter(x) if isinstance(x, Tensor) and not isinstance(x, Parameter) else x


def _describe(key, value, kind_of):
    if not isinstance(value, Tensor):
        return f"  ({key}): Object of type: {type(value).__name__}"
    kind = "Parameter" if isinstance(value, Parameter) else "Tensor"
    where = "" if value.device.type == "cpu" else f" ({value.device})"
    size = "x".join(map(str, value.shape))
    # torch's text to the letter, its name included: printed models are compared.
    type_name = "torch." + str(kind_of(value)).rpartition(".")[2]
    return f"  ({key}): {kind} containing: [{type_name} of size {size}{where}]"


class ParameterList(Module):
    """A list of Parameters; tensors become Parameters, other values are kept."""

    def __init__(self, values=None):
        super().__init__()
        self._size = 0
        if values is not None:
            self.extend(values)

    def __getitem__(self, i):
        if isinstance(i, slice):
            return type(self)([self[k] for k in range(len(self))[i]])
        return getattr(self, str(_position(i, len(self))))

    def __setitem__(self, i, value):
        setattr(self, str(_position(i, len(self))), _as_parameter(value))

    def __len__(self):
        return self._size

    def __iter__(self):
        return (self[i] for i in range(len(self)))

    def __iadd__(self, values):
        return self.extend(values)

    def append(self, value):
        """Add a value at the end."""
        self._size += 1
        self[self._size - 1] = value
        return self

    def extend(self, values):
        """Add the values at the end."""
        if isinstance(values, Tensor) or not hasattr(values, "__iter__"):
            raise TypeError(
                "ParameterList.extend should be called with an iterable, but got "
                f"{type(values).__name__}"
            )
        for value in list(values):
            self.append(value)
        return self

    def extra_repr(self):
        return "\n".join(_describe(i, v, lambda x: x.dtype) for i, v in enumerate(self))


class ParameterDict(Module):
    """A dict of Parameters, in order of insertion; tensors become Parameters."""

    def __init__(self, parameters=None):
        super().__init__()
        self._keys = {}
        if parameters is not None:
            self.update(parameters)

    def __getitem__(self, key):
        return getattr(self, self._named(key))

    def __setitem__(self, key, value):
        self._keys[key] = None
        setattr(self, self._named(key), _as_parameter(value))

    def __delitem__(self, key):
        del self._keys[key]
        delattr(self, self._named(key))

    @staticmethod
    def _named(key):
        if not isinstance(key, str):
            raise TypeError(
                "Index given to ParameterDict cannot be used as a key as it is not a string "
                f"(type is '{type(key).__name__}')"
            )
        return key

    def __len__(self):
        return len(self._keys)

    def __iter__(self):
        return iter(self._keys)

    def __reversed__(self):
        return reversed(self._keys)

    def __contains__(self, key):
        return key in self._keys

    def __or__(self, other):
        return type(self)(self.copy() | other)

    def __ior__(self, other):
        self.update(other)
        return self

    def copy(self):
        return type(self)(dict(self.items()))

    def keys(self):
        return self._keys.keys()

    def values(self):
        return (self[k] for k in self._keys)

    def items(self):
        return ((k, self[k]) for k in self._keys)

    def get(self, key, default=None):
        return self[key] if key in self else default  # noqa: SIM401

    def setdefault(self, key, default=None):
        """The value of `key`, which is set to `default` first if there is none."""
        if key not in self:
            self[key] = default
        return self[key]

    def pop(self, key):
        """Take a value out and return it."""
        value = self[key]
        del self[key]
        return value

    def popitem(self):
        key = next(reversed(self._keys))
        return key, self.pop(key)

    def fromkeys(self, keys, default=None):
        return type(self)(dict.fromkeys(keys, default))

    def clear(self):
        for key in list(self._keys):
            del self[key]

    def update(self, parameters):
        """Add the values of a mapping, or of an iterable of (name, value)."""
        for key, value in _pairs(parameters, "ParameterDict.update"):
            self[key] = value

    def extra_repr(self):
        return "\n".join(_describe(k, v, Tensor.type) for k, v in self.items())
