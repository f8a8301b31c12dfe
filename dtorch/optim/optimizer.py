"""Optimizer: parameter groups, state, hooks, and the step that each optimizer fills in."""

from __future__ import annotations

import copy
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterable
from itertools import chain
from typing import Any, TypeAlias

from ..core import backend
from ..core import dtype as dtypes
from ..core.backend.sparse import SparseArray
from ..core.modes import enable_grad, no_grad
from ..core.tensor import Tensor, wrap
from ._apply import on_array, on_tensor
from ._hooks import (
    Hooked,
    register_optimizer_step_post_hook,
    register_optimizer_step_pre_hook,
    replaced,
)

__all__ = [
    "Optimizer", "ParamsT", "register_optimizer_step_post_hook", "register_optimizer_step_pre_hook",
]  # fmt: skip

_NAMES = {"lr": "learning rate", "eps": "epsilon value"}
_TENSORS = "params argument given to the optimizer should be an iterable of Tensors or dicts"


ParamsT: TypeAlias = Iterable[Tensor] | Iterable[dict[str, Any]] | Iterable[tuple[str, Tensor]]


class _Required:
    def __repr__(self) -> str:
        return "<required parameter>"


required = _Required()


def check_options(betas: tuple[Any, Any] | None = None, **not_negative: Any) -> None:
    """ValueError with torch's text for a negative option or a beta outside [0, 1)."""
    lr = not_negative.get("lr")
    if isinstance(lr, Tensor) and lr.numel() != 1:
        raise ValueError(f"Tensor lr must be 1-element, got shape {tuple(lr.shape)}")
    for name, value in not_negative.items():
        if not value >= 0.0:
            raise ValueError(f"Invalid {_NAMES.get(name, name + ' value')}: {value}")
    for i, beta in enumerate(betas or ()):
        if isinstance(beta, Tensor) and beta.numel() != 1:
            raise ValueError(f"Tensor betas[{i}] must be 1-element")
        if not 0.0 <= beta < 1.0:
            raise ValueError(f"Invalid beta parameter at index {i}: {beta}")


def counter() -> Tensor:
    """A step count as torch keeps it: a 0-d tensor on the CPU, float32 by default."""
    wide = dtypes.get_default_dtype() is dtypes.float64
    return wrap(backend.cpu.zeros((), (dtypes.float64 if wide else dtypes.float32).np))


def zeros_like(p: Tensor, value: complex = 0.0) -> Tensor:
    """A tensor of the parameter's shape, layout, dtype and device."""
    xp = backend.of(p._a)
    with xp.on(p._a):
        return wrap(xp.full_like(p._a, value))


class Optimizer(Hooked):
    """Base class of all optimizers, with torch's parameter groups and format of state.

    params: Tensors, (name, Tensor) pairs, or dicts with "params" and options of their own
    defaults: the options of a group that does not set them

    A subclass defines `update`, and `init_state` and `prepare` if it needs them.  With
    differentiable=True steps are recorded.  Options of torch's that choose between its
    implementations (foreach, fused, capturable) are kept in the groups, so that its checkpoints
    load, and change nothing: there is one implementation.
    """

    # State that is one number: on the CPU and in full precision, whatever the parameter is.
    scalars: tuple[str, ...] = ("step",)
    # Whether `update` may be given a part of the elements at a time.
    elementwise = True
    # Whether weight decay shrinks the parameter, in a group that doesn't say it.
    decoupled_weight_decay = False

    def __init__(self, params: ParamsT, defaults: dict[str, Any]) -> None:
        if isinstance(params, Tensor):
            raise TypeError(f"{_TENSORS}, but got {type(params).__name__}")
        for other in ("differentiable", "foreach"):
            if defaults.get("fused") and defaults.get(other):
                raise RuntimeError(
                    "`fused` does not support `differentiable`" if other == "differentiable"
                    else "`fused` and `foreach` cannot be `True` together."
                )  # fmt: skip
        self.defaults = defaults
        self.state: dict[Any, dict[str, Any]] = defaultdict(dict)
        self.param_groups: list[dict[str, Any]] = []
        self._init_hooks()
        groups: list[Any] = list(params)
        if not groups:
            raise ValueError("optimizer got an empty parameter list")
        if not isinstance(groups[0], dict):
            groups = [{"params": groups}]
        for group in groups:
            self.add_param_group(group)

    def __getstate__(self) -> dict[str, Any]:
        return {k: self.__dict__[k] for k in ("defaults", "state", "param_groups")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        if "_step_pre_hooks" not in self.__dict__:
            self._init_hooks()
        for group in self.param_groups:
            for name, default in self.defaults.items():
                group.setdefault(name, default)

    def __repr__(self) -> str:
        lines = []
        for i, group in enumerate(self.param_groups):
            lines.append(f"\nParameter Group {i}\n")
            lines += [f"    {k}: {group[k]}\n" for k in sorted(group) if k != "params"]
        return f"{type(self).__name__} ({''.join(lines)})"

    # ---- groups ----------------------------------------------------------------------------------

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a dict with "params" and the options of these parameters."""
        if not isinstance(param_group, dict):
            raise TypeError(f"param_group must be a dict, but got {type(param_group)}")
        params, names = _params_and_names(param_group["params"])
        for p in params:
            self._check_param(p)
        group = {**param_group, "params": params}
        if names:
            group["param_names"] = names
        for name, default in self.defaults.items():
            if default is required and name not in group:
                raise ValueError(
                    "parameter group didn't specify a value of required optimization parameter "
                    f"{name}"
                )
            group.setdefault(name, default)
        if len(params) != len(set(params)):
            warnings.warn(
                "optimizer contains a parameter group with duplicate parameters", stacklevel=3
            )
        if any(("param_names" in group) != ("param_names" in g) for g in self.param_groups):
            with_or_without = "with" if "param_names" in group else "without"
            raise ValueError(
                "all optimizer param groups should be with/without names. cannot add param group "
                f"{with_or_without} names to the optimizer"
            )
        if not set(self._params()).isdisjoint(params):
            raise ValueError("some parameters appear in more than one parameter group")
        param_group.update(group)  # the dict itself, which its owner may go on to change
        self.param_groups.append(param_group)

    def _check_param(self, p: Any) -> None:
        """Raise unless p can be optimized."""
        if not isinstance(p, Tensor):
            raise TypeError(
                f"optimizer can only optimize Tensors, but one of the params is {type(p).__name__}"
            )
        if not (p.is_leaf or p.retains_grad or self.defaults.get("differentiable")):
            raise ValueError("can't optimize a non-leaf Tensor")
        if self.defaults.get("fused") and not p.is_floating_point():
            raise RuntimeError(
                "`fused=True` requires all the params to be floating point Tensors, but got "
                f"{p.dtype}"
            )

    def _params(self) -> Iterable[Tensor]:
        return chain.from_iterable(g["params"] for g in self.param_groups)

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients of all parameters, or set them to zeros."""
        for p in self._params():
            if p.grad is not None:
                if set_to_none:
                    p.grad = None
                else:
                    p.grad = p.grad.detach().zero_()

    # ---- the step --------------------------------------------------------------------------------

    def init_state(self, p: Tensor, group: dict[str, Any]) -> dict[str, Any]:
        """The state of a parameter before its first step."""
        return {}

    def prepare(self, p: Tensor, state: dict[str, Any], group: dict[str, Any]) -> Any:
        """What `update` needs beside arrays, computed once a parameter and step.

        state: what init_state made, arrays for tensors; "step", where there is one, is the number
            of this step, counted from 1; "fresh" says that it is the parameter's first
        group: its options, numbers for tensors of one element
        """

    def update(
        self, xp: Any, p: Any, g: Any, state: dict[str, Any], group: dict[str, Any], now: Any
    ) -> None:
        """Change one parameter and its state, in place; the gradient stays as it is.

        p, g: the parameter and its gradient.  Arrays of the backend `xp`, and if `elementwise` a
            part of the elements, as is what state has in the parameter's shape.  Or Tensors, if
            steps are recorded; xp then has the functions that updates use.
        state, group: as in `prepare`; now: what that returned
        """
        raise NotImplementedError

    def regularize_and_update(
        self, xp: Any, p: Any, g: Any, state: dict[str, Any], group: dict[str, Any], now: Any
    ) -> None:
        """`update` after what most optimizers have in common: maximize and weight_decay."""
        if group.get("maximize"):
            g = -g
        decay = group.get("weight_decay")
        if decay:
            if group.get("decoupled_weight_decay", self.decoupled_weight_decay):
                p *= 1 - group["lr"] * decay
            else:
                g = g + decay * p
        self.update(xp, p, g, state, group, now)

    def sparse_gradient(self, g: SparseArray, group: dict[str, Any]) -> Any:
        """What update is to have for a sparse gradient.

        Itself, where only the rows that it names change: update then gets those, of everything.
        """
        raise RuntimeError(
            f"{type(self).__name__} does not support sparse gradients, please consider SparseAdam "
            "instead (or SGD or Adagrad)"
        )

    def gradient(self, p: Tensor, group: dict[str, Any]) -> Any:
        """The array of p's gradient as `update` takes it; raises if it takes none like that."""
        g = p._grad._a  # type: ignore[union-attr]
        return self.sparse_gradient(g, group) if isinstance(g, SparseArray) else g

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Change all parameters that have a gradient.  closure() recomputes the loss first."""
        loss = None
        if closure is not None:
            with enable_grad():
                loss = closure()
        if self.defaults.get("differentiable"):
            with enable_grad():
                for group in self.param_groups:
                    for p in group["params"]:
                        if p.grad is not None:
                            on_tensor(self, p, group)
            return loss
        # All gradients are looked at before anything changes.
        work = [
            (p, self.gradient(p, group), options)
            for group in self.param_groups
            for options in (_numbers(group),)
            for p in group["params"]
            if p._grad is not None
        ]
        with no_grad():
            for p, g, options in work:
                with backend.of(p._a).on(p._a):
                    on_array(self, p, g, options)
        return loss

    # ---- state -----------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """The state by number of the parameter, and the groups with numbers for parameters."""
        for hook in list(self._state_dict_pre_hooks.values()):
            hook(self)
        numbers: dict[Any, int] = {p: i for i, p in enumerate(self._params())}
        result = {
            "state": {numbers.get(p, p): s for p, s in self.state.items()},
            "param_groups": [
                {**g, "params": [numbers[p] for p in g["params"]]} for g in self.param_groups
            ],
        }
        return replaced(self._state_dict_post_hooks, self, result)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up a copy of what state_dict returned; ValueError if its groups do not match."""
        state_dict = replaced(self._load_state_dict_pre_hooks, self, dict(state_dict))
        saved = copy.deepcopy(state_dict["param_groups"])
        if len(saved) != len(self.param_groups):
            raise ValueError(
                "loaded state dict has a different number of parameter groups: "
                f"{len(saved)}, not {len(self.param_groups)}"
            )
        for ours, theirs in zip(self.param_groups, saved):
            if len(ours["params"]) != len(theirs["params"]):
                raise ValueError(
                    "loaded state dict contains a parameter group that doesn't match the size of "
                    f"optimizer's group: {len(theirs['params'])}, not {len(ours['params'])}"
                )
        params = {
            number: (p, theirs)
            for ours, theirs in zip(self.param_groups, saved)
            for number, p in zip(theirs["params"], ours["params"])
        }
        state: dict[Any, Any] = defaultdict(dict)
        for number, entry in state_dict["state"].items():
            if number in params:
                p, group = params[number]
                self._check_shapes(number, entry, p, {**self.defaults, **group})
                state[p] = self._fitted(entry, p)
            else:
                state[number] = entry
        for ours, theirs in zip(self.param_groups, saved):
            theirs["params"] = ours["params"]
            if "param_names" in ours:
                theirs.setdefault("param_names", ours["param_names"])
        self.__setstate__({"state": state, "param_groups": saved})
        for hook in list(self._load_state_dict_post_hooks.values()):
            hook(self)

    def _check_shapes(self, number: Any, entry: Any, p: Tensor, group: dict[str, Any]) -> None:
        """ValueError if saved state of a parameter can't be that of p: torch would fail in step()."""
        for key, own in self.init_state(p, group).items():
            got = entry.get(key)
            if key in self.scalars or not (isinstance(own, Tensor) and isinstance(got, Tensor)):
                continue
            if got.shape != own.shape:
                raise ValueError(
                    f"loaded state dict has {key} of shape {tuple(got.shape)} for parameter {number}, "
                    f"expected {tuple(own.shape)}: it was saved with another model"
                )

    def _fitted(self, value: Any, p: Tensor, key: str | None = None) -> Any:
        """A copy of saved state, its tensors in the dtype and on the device of the parameter."""
        if key in self.scalars:
            return counter() + float(value)  # a plain number in torch's older checkpoints
        if isinstance(value, Tensor):
            dtype = p.dtype if p.dtype.is_floating_point else None
            return value.detach().to(device=p.device, dtype=dtype, copy=True)
        if isinstance(value, dict):
            return {k: self._fitted(v, p, k) for k, v in value.items()}
        if isinstance(value, (list, tuple)):
            return type(value)(self._fitted(v, p) for v in value)
        return value


def _params_and_names(given: Any) -> tuple[list[Any], list[str]]:
    """A group's parameters, given as a Tensor, Tensors or (name, Tensor) pairs; their names."""
    if isinstance(given, set):
        raise TypeError(
            "optimizer parameters need to be organized in ordered collections, but the ordering of "
            "tensors in sets will change between runs. Please use a list instead."
        )
    given = [given] if isinstance(given, Tensor) else list(given)
    names = [p[0] for p in given if isinstance(p, tuple)]
    if names and len(names) != len(given):
        raise ValueError(
            "all optimizer params should be with/without names. Some param names are missing"
        )
    return [p[1] if isinstance(p, tuple) else p for p in given], names


def _numbers(group: dict[str, Any]) -> dict[str, Any]:
    """A group's options, with numbers for tensors of one element."""
    return {k: v if k == "params" else _number(v) for k, v in group.items()}


def _number(v: Any) -> Any:
    if isinstance(v, Tensor):
        return v.item()
    if type(v) is tuple:
        return tuple(map(_number, v))
    return v
