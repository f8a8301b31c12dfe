"""Optimizer: parameter groups, state, hooks, and the step that each optimizer fills in."""

from __future__ import annotations

import copy
import functools
import warnings
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterable
from itertools import chain
from math import prod
from typing import Any

from ..core import backend
from ..core import dtype as dtypes
from ..core.graph import Handle, writes
from ..core.modes import enable_grad, no_grad
from ..core.tensor import Tensor, wrap

_HALF = {dtypes.float16.np, dtypes.bfloat16.np}
_NAMES = {"lr": "learning rate", "eps": "epsilon value"}
_TENSORS = "params argument given to the optimizer should be an iterable of Tensors or dicts"


class _Required:
    def __repr__(self) -> str:
        return "<required parameter>"


required = _Required()


def check_options(betas: tuple[Any, Any] | None = None, **not_negative: Any) -> None:
    """ValueError with torch's text for a negative option or a beta outside [0, 1)."""
    for name, value in not_negative.items():
        if not float(value) >= 0.0:
            raise ValueError(f"Invalid {_NAMES.get(name, name + ' value')}: {value}")
    for i, beta in enumerate(betas or ()):
        if not 0.0 <= float(beta) < 1.0:
            raise ValueError(f"Invalid beta parameter at index {i}: {beta}")


def counter() -> Tensor:
    """A step count as torch keeps it: a 0-d float32 tensor on the CPU."""
    return wrap(backend.cpu.zeros((), dtypes.float32.np))


def zeros_like(p: Tensor, value: complex = 0.0) -> Tensor:
    """A tensor of the parameter's shape, layout, dtype and device."""
    return wrap(backend.of(p._a).full_like(p._a, value))


def _with_hooks(step: Callable[..., Any]) -> Callable[..., Any]:
    """An optimizer's step between its hooks."""

    @functools.wraps(step)
    def wrapper(self: Optimizer, *args: Any, **kwargs: Any) -> Any:
        for hook in list(self._step_pre_hooks.values()):
            got = hook(self, args, kwargs)
            if got is not None:
                if not (isinstance(got, tuple) and len(got) == 2):
                    raise RuntimeError(
                        f"{step} must return None or a tuple of (new_args, new_kwargs), but got "
                        f"{got}."
                    )
                args, kwargs = got
        out = step(self, *args, **kwargs)
        self._opt_called = True  # for LRScheduler, which is to be stepped after it
        for hook in list(self._step_post_hooks.values()):
            hook(self, args, kwargs)
        return out

    return wrapper


class Optimizer:
    """Base class of all optimizers, with torch's parameter groups and format of state.

    params: Tensors, (name, Tensor) pairs, or dicts with "params" and options of their own
    defaults: the options of a group that does not set them

    A subclass defines `update`, and `init_state` if it keeps any.  Options of torch's that choose
    between its implementations (foreach, fused, capturable) are kept in the groups, so that its
    checkpoints load, and change nothing: there is one implementation.  differentiable=True raises.
    """

    # State that is one number: float32 on the CPU, whatever the parameter is.
    scalars: tuple[str, ...] = ("step",)

    def __init__(self, params: Iterable[Any], defaults: dict[str, Any]) -> None:
        if isinstance(params, Tensor):
            raise TypeError(f"{_TENSORS}, but got {type(params).__name__}")
        if defaults.get("differentiable"):
            raise NotImplementedError(
                "differentiable=True: steps are not recorded; write the update with tensor "
                "operations to differentiate through it"
            )
        self.defaults = defaults
        self.state: dict[Any, dict[str, Any]] = defaultdict(dict)
        self.param_groups: list[dict[str, Any]] = []
        self._init_hidden()
        groups = list(params)
        if not groups:
            raise ValueError("optimizer got an empty parameter list")
        if not isinstance(groups[0], dict):
            groups = [{"params": groups}]
        for group in groups:
            self.add_param_group(group)

    def _init_hidden(self) -> None:
        self._step_pre_hooks: OrderedDict[int, Any] = OrderedDict()
        self._step_post_hooks: OrderedDict[int, Any] = OrderedDict()
        self._state_dict_pre_hooks: OrderedDict[int, Any] = OrderedDict()
        self._state_dict_post_hooks: OrderedDict[int, Any] = OrderedDict()
        self._load_state_dict_pre_hooks: OrderedDict[int, Any] = OrderedDict()
        self._load_state_dict_post_hooks: OrderedDict[int, Any] = OrderedDict()
        self._scratch: dict[Any, Any] = {}
        self._opt_called = False

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "step" in cls.__dict__:
            cls.step = _with_hooks(cls.step)  # type: ignore[method-assign]

    def __getstate__(self) -> dict[str, Any]:
        return {k: self.__dict__[k] for k in ("defaults", "state", "param_groups")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        if "_scratch" not in self.__dict__:
            self._init_hidden()
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
        given = param_group["params"]
        if isinstance(given, set):
            raise TypeError(
                "optimizer parameters need to be organized in ordered collections, but the "
                "ordering "
                "of tensors in sets will change between runs. Please use a list instead."
            )
        given = [given] if isinstance(given, Tensor) else list(given)
        names = [p[0] for p in given if isinstance(p, tuple)]
        params = [p[1] if isinstance(p, tuple) else p for p in given]
        if names and len(names) != len(params):
            raise ValueError(
                "all optimizer params should be with/without names. Some param names are missing"
            )
        for p in params:
            if not isinstance(p, Tensor):
                raise TypeError(
                    "optimizer can only optimize Tensors, but one of the params is "
                    f"{type(p).__name__}"
                )
            if not (p.is_leaf or p.retains_grad):
                raise ValueError("can't optimize a non-leaf Tensor")
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
            raise ValueError("all optimizer param groups should be with/without names.")
        if not set(chain.from_iterable(g["params"] for g in self.param_groups)).isdisjoint(params):
            raise ValueError("some parameters appear in more than one parameter group")
        self.param_groups.append(group)

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients of all parameters, or set them to zeros."""
        for p in chain.from_iterable(g["params"] for g in self.param_groups):
            if p.grad is not None:
                if set_to_none:
                    p.grad = None
                else:
                    p.grad = p.grad.detach().zero_()

    # ---- the step --------------------------------------------------------------------------------

    def init_state(self, p: Tensor, group: dict[str, Any]) -> dict[str, Any]:
        """The state of a parameter before its first step."""
        return {}

    def update(
        self, xp: Any, p: Any, g: Any, state: dict[str, Any], group: dict[str, Any], temp: Any
    ) -> None:
        """Change one parameter, in place.

        p, g: the parameter and its gradient, arrays of the backend `xp`
        state: what init_state made with arrays for tensors, to be changed in place; "step", where
            there is one, is the number of this step, counted from 1; "fresh" says that it is the
            parameter's first
        temp(i): a scratch array of p's shape for i = 1, 2, ...
        """
        raise NotImplementedError

    @_with_hooks
    @no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Change all parameters that have a gradient.  closure() recomputes the loss first."""
        loss = None
        if closure is not None:
            with enable_grad():
                loss = closure()
        for group in self.param_groups:
            for p in group["params"]:
                if p._grad is not None:
                    self._step_one(p, group)
        return loss

    def _step_one(self, p: Tensor, group: dict[str, Any]) -> None:
        state = self.state.get(p, {})
        fresh = not state
        if fresh:
            state = self.init_state(p, group)
            if state:
                self.state[p] = state
        a, g = p._a, p._grad._a  # type: ignore[union-attr]
        xp = backend.of(a)
        arrays = {k: v._a if isinstance(v, Tensor) else v for k, v in state.items()}
        arrays["fresh"] = fresh
        if "step" in state:
            state["step"]._a += 1
            arrays["step"] = int(state["step"]._a)
        if a.dtype in _HALF:  # computed in float32 and rounded once
            exact = {k: _widened(v) for k, v in arrays.items()}
            p32 = a.astype(dtypes.float32.np)
            self._update(xp, p32, g.astype(p32.dtype), exact, group)
            a[...] = p32
            for k, v in arrays.items():
                if getattr(v, "dtype", None) in _HALF:
                    v[...] = exact[k]
        elif a.dtype.kind == "c":  # the real and imaginary parts are parameters of their own
            self._update(xp, _as_real(a), _as_real(g), {k: _as_real(v) for k, v in arrays.items()},
                         group)  # fmt: skip
        else:
            self._update(xp, a, g, arrays, group)
        writes.stamp(a)

    def _update(self, xp: Any, p: Any, g: Any, arrays: Any, group: dict[str, Any]) -> None:
        def temp(i: int) -> Any:
            return self._temporary(xp, p, i)

        if group.get("maximize"):
            g = xp.negative(g, out=temp(0))
        decay = float(group.get("weight_decay", 0))
        if decay:
            if group.get("decoupled_weight_decay"):
                p *= 1 - float(group["lr"]) * decay
            else:
                decayed = g if group.get("maximize") else temp(0)
                g = xp.add(g, xp.multiply(p, decay, out=temp(1)), out=decayed)
        self.update(xp, p, g, arrays, group, temp)

    def _temporary(self, xp: Any, like: Any, i: int) -> Any:
        """Scratch memory number i in the shape of `like`; it is kept between steps."""
        key = xp.name, like.dtype, i
        flat = self._scratch.get(key)
        if flat is None or flat.size < like.size:
            flat = self._scratch[key] = xp.empty(like.size, like.dtype)
        return flat[: prod(like.shape)].reshape(like.shape)

    # ---- state -----------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """The state by number of the parameter, and the groups with numbers for parameters."""
        for hook in list(self._state_dict_pre_hooks.values()):
            hook(self)
        params = list(chain.from_iterable(g["params"] for g in self.param_groups))
        numbers: dict[Any, int] = {}
        for p in params:
            numbers.setdefault(p, len(numbers))
        result = {
            "state": {numbers.get(p, p): s for p, s in self.state.items()},
            "param_groups": [
                {**g, "params": [numbers[p] for p in g["params"]]} for g in self.param_groups
            ],
        }
        for hook in list(self._state_dict_post_hooks.values()):
            got = hook(self, result)
            if got is not None:
                result = got
        return result

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up a copy of what state_dict returned; ValueError if its groups do not match."""
        state_dict = dict(state_dict)
        for hook in list(self._load_state_dict_pre_hooks.values()):
            got = hook(self, state_dict)
            if got is not None:
                state_dict = got
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
            number: p
            for ours, theirs in zip(self.param_groups, saved)
            for number, p in zip(theirs["params"], ours["params"])
        }
        state: dict[Any, Any] = defaultdict(dict)
        for number, entry in state_dict["state"].items():
            p = params.get(number)
            state[number if p is None else p] = entry if p is None else self._fitted(entry, p)
        for ours, theirs in zip(self.param_groups, saved):
            theirs["params"] = ours["params"]
            if "param_names" in ours:
                theirs.setdefault("param_names", ours["param_names"])
        self.__setstate__({"state": state, "param_groups": saved})
        for hook in list(self._load_state_dict_post_hooks.values()):
            hook(self)

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

    # ---- hooks -----------------------------------------------------------------------------------

    def register_step_pre_hook(self, hook: Callable[..., Any]) -> Handle:
        """Call hook(optimizer, args, kwargs) before step; it may return other (args, kwargs)."""
        return _add(self._step_pre_hooks, hook)

    def register_step_post_hook(self, hook: Callable[..., Any]) -> Handle:
        """Call hook(optimizer, args, kwargs) after step."""
        return _add(self._step_post_hooks, hook)

    def register_state_dict_pre_hook(
        self, hook: Callable[..., Any], prepend: bool = False
    ) -> Handle:
        """Call hook(optimizer) before state_dict."""
        return _add(self._state_dict_pre_hooks, hook, prepend)

    def register_state_dict_post_hook(
        self, hook: Callable[..., Any], prepend: bool = False
    ) -> Handle:
        """Call hook(optimizer, state_dict), whose result replaces it."""
        return _add(self._state_dict_post_hooks, hook, prepend)

    def register_load_state_dict_pre_hook(
        self, hook: Callable[..., Any], prepend: bool = False
    ) -> Handle:
        """Call hook(optimizer, state_dict), whose result is loaded instead."""
        return _add(self._load_state_dict_pre_hooks, hook, prepend)

    def register_load_state_dict_post_hook(
        self, hook: Callable[..., Any], prepend: bool = False
    ) -> Handle:
        """Call hook(optimizer) after load_state_dict."""
        return _add(self._load_state_dict_post_hooks, hook, prepend)


def _add(hooks: OrderedDict[int, Any], hook: Any, prepend: bool = False) -> Handle:
    handle = Handle(hooks)
    hooks[handle.id] = hook
    if prepend:
        hooks.move_to_end(handle.id, last=False)
    return handle


def _widened(v: Any) -> Any:
    return v.astype(dtypes.float32.np) if getattr(v, "dtype", None) in _HALF else v


def _as_real(v: Any) -> Any:
    """A complex array as the real one of its parts.  (*) -> (*, 2)"""
    if getattr(v, "dtype", dtypes.float32.np).kind != "c":
        return v
    return v.reshape(*v.shape, 1).view(v.real.dtype)
