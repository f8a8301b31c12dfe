"""A Module's state: state_dict and load_state_dict."""

from __future__ import annotations

import itertools
import warnings
import weakref
from collections import OrderedDict, namedtuple
from collections.abc import Callable, Mapping
from typing import Any

from ...core.graph import Handle
from ...core.modes import no_grad
from ...core.tensor import Tensor
from ..parameter import Parameter, is_lazy
from ._global_hooks import Hook, Table, add

EXTRA_STATE = "_extra_state"


class _IncompatibleKeys(namedtuple("IncompatibleKeys", ("missing_keys", "unexpected_keys"))):
    """What load_state_dict returns: the keys that only one side had, two lists."""

    __slots__ = ()

    def __repr__(self) -> str:
        if not self.missing_keys and not self.unexpected_keys:
            return "<All keys matched successfully>"
        return super().__repr__()


class _OfModule:
    """A hook that is given the module it is registered with, without keeping it alive."""

    def __init__(self, hook: Hook, module: Any) -> None:
        self.hook, self.module = hook, weakref.ref(module)

    def __call__(self, *args: Any) -> Any:
        return self.hook(self.module(), *args)

    def __reduce__(self) -> Any:  # also what copies are made by: a copied module's has the copy
        return _OfModule, (self.hook, self.module())


class State:
    """The part of Module that saves and loads parameters and buffers."""

    _version = 1
    _parameters: dict[str, Any]
    _buffers: dict[str, Any]
    _modules: dict[str, Any]
    _non_persistent_buffers_set: set[str]
    _state_dict_hooks: Table
    _state_dict_hooks_without_result: Table
    _state_dict_pre_hooks: Table
    _load_state_dict_pre_hooks: Table
    _load_state_dict_post_hooks: Table

    # ---- hooks -----------------------------------------------------------------------------------

    def register_state_dict_pre_hook(self, hook: Hook) -> Handle:
        """Call hook(module, prefix, keep_vars) before the module's state is gathered."""
        return add(self._state_dict_pre_hooks, hook)

    def register_state_dict_post_hook(self, hook: Hook) -> Handle:
        """Call hook(module, state_dict, prefix, local_metadata), which may change state_dict."""
        notes = ((True, self._state_dict_hooks_without_result),)
        return add(self._state_dict_hooks, hook, notes=notes)

    def _register_state_dict_hook(self, hook: Hook) -> Handle:
        """The older form: what the hook returns replaces state_dict."""
        return add(self._state_dict_hooks, hook)

    def register_load_state_dict_pre_hook(self, hook: Hook) -> Handle:
        """Call hook(module, state_dict, prefix, local_metadata, strict, missing_keys,
        unexpected_keys, error_msgs) before the module's state is loaded; it may change them."""
        return self._register_load_state_dict_pre_hook(hook, with_module=True)

    def _register_load_state_dict_pre_hook(self, hook: Hook, with_module: bool = False) -> Handle:
        return add(self._load_state_dict_pre_hooks, _OfModule(hook, self) if with_module else hook)

    def register_load_state_dict_post_hook(self, hook: Hook) -> Handle:
        """Call hook(module, incompatible_keys) after loading; it may take keys off the lists."""
        return add(self._load_state_dict_post_hooks, hook)

    # ---- saving ----------------------------------------------------------------------------------

    def get_extra_state(self) -> Any:
        """More state of a subclass, which goes into its state_dict; see set_extra_state."""
        raise RuntimeError(f"{type(self).__name__} has no get_extra_state()")

    def set_extra_state(self, state: Any) -> None:
        """Take up what get_extra_state returned."""
        raise RuntimeError(f"{type(self).__name__} has no set_extra_state()")

    def _has_extra_state(self, method: str) -> bool:
        return getattr(type(self), method) is not getattr(State, method)

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        for name, t in itertools.chain(self._parameters.items(), self._buffers.items()):
            if t is not None and name not in self._non_persistent_buffers_set:
                destination[prefix + name] = t if keep_vars or is_lazy(t) else t.detach()
        if self._has_extra_state("get_extra_state"):
            destination[prefix + EXTRA_STATE] = self.get_extra_state()

    def state_dict(
        self, *args: Any, destination: Any = None, prefix: str = "", keep_vars: bool = False
    ) -> Any:
        """The parameters and persistent buffers by their dotted names, sharing their memory.

        keep_vars: the parameters themselves instead of detached tensors
        """
        if args:  # torch's older order: destination, prefix, keep_vars
            warnings.warn(
                "Positional args are being deprecated, use kwargs instead.",
                FutureWarning,
                stacklevel=2,
            )
            given = dict(zip(("destination", "prefix", "keep_vars"), args))
            destination = given["destination"]
            prefix, keep_vars = given.get("prefix", prefix), given.get("keep_vars", keep_vars)
        if destination is None:
            destination = OrderedDict()
            destination._metadata = OrderedDict()
        local_metadata = {"version": self._version}
        if hasattr(destination, "_metadata"):
            destination._metadata[prefix[:-1]] = local_metadata
        for hook in list(self._state_dict_pre_hooks.values()):
            hook(self, prefix, keep_vars)
        self._save_to_state_dict(destination, prefix, keep_vars)
        for name, module in self._modules.items():
            if module is not None:
                module.state_dict(
                    destination=destination, prefix=f"{prefix}{name}.", keep_vars=keep_vars
                )
        for key, hook in list(self._state_dict_hooks.items()):
            got = hook(self, destination, prefix, local_metadata)
            if got is not None:
                if key in self._state_dict_hooks_without_result:
                    raise RuntimeError("state_dict post-hook must return None")
                destination = got
        return destination

    # ---- loading ---------------------------------------------------------------------------------

    def _load_from_state_dict(
        self,
        state_dict: dict[str, Any],
        prefix: str,
        local_metadata: dict[str, Any],
        strict: bool,
        missing_keys: list[str],
        unexpected_keys: list[str],
        error_msgs: list[str],
    ) -> None:
        """Check this module's own entries, without its children's.

        What is to be stored goes to local_metadata["pending"] as functions, called once everything
        is known to fit; without such a list it is stored at once.  Subclasses override this to read
        older versions of their state.
        """
        pending = local_metadata.get("pending", [])
        assign = local_metadata.get("assign_to_params_buffers", False)
        for hook in list(self._load_state_dict_pre_hooks.values()):
            hook(state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys,
                 error_msgs)  # fmt: skip
        own = {
            name: t
            for name, t in itertools.chain(self._parameters.items(), self._buffers.items())
            if t is not None and name not in self._non_persistent_buffers_set
        }
        for name, t in own.items():
            key = prefix + name
            if key not in state_dict:
                if strict:
                    missing_keys.append(key)
                continue
            given = state_dict[key]
            wrong = _misfit(key, t, given)
            if wrong:
                error_msgs.append(wrong)
            elif assign:
                pending.append(lambda name=name, t=t, given=given: self._assign(name, t, given))
            else:
                pending.append(lambda t=t, given=given: _copy(t, given))
        self._load_extra_state(state_dict, prefix, strict, missing_keys, unexpected_keys, pending)
        if strict:
            for key in state_dict:
                if key.startswith(prefix) and key != prefix + EXTRA_STATE:
                    first, _, rest = key[len(prefix) :].partition(".")
                    if first not in (self._modules if rest else own):
                        unexpected_keys.append(key)
        if "pending" not in local_metadata:
            _store(pending)

    def _load_extra_state(
        self,
        state_dict: Any,
        prefix: str,
        strict: bool,
        missing: Any,
        unexpected: Any,
        pending: Any,
    ) -> None:
        key = prefix + EXTRA_STATE
        if self._has_extra_state("set_extra_state"):
            if key in state_dict:
                pending.append(lambda: self.set_extra_state(state_dict[key]))
            elif strict:
                missing.append(key)
        elif strict and key in state_dict:
            unexpected.append(key)

    def _assign(self, name: str, t: Any, given: Any) -> None:
        if isinstance(given, Parameter):
            given.requires_grad_(t.requires_grad)
        elif isinstance(t, Parameter):
            given = Parameter(given, requires_grad=t.requires_grad)
        setattr(self, name, given)

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> _IncompatibleKeys:
        """Copy the values of `state_dict` into the parameters and buffers of the same names.

        strict: the keys must be exactly those of this module's state_dict
        assign: put the given tensors in place of the module's, instead of copying their values

        Returns the missing and unexpected keys.  Raises RuntimeError, naming all of them, for keys
        or shapes that do not fit; nothing has been changed then.
        """
        if not isinstance(state_dict, Mapping):
            raise TypeError(f"Expected state_dict to be dict-like, got {type(state_dict)}.")
        missing: list[str] = []
        unexpected: list[str] = []
        errors: list[str] = []
        pending: list[Callable[[], Any]] = []
        visited: list[State] = []
        metadata = getattr(state_dict, "_metadata", None)
        entries = OrderedDict(state_dict)

        def visit(module: State, entries: dict[str, Any], prefix: str) -> None:
            local = dict((metadata or {}).get(prefix[:-1], {}))
            local.update(assign_to_params_buffers=assign, pending=pending)
            module._load_from_state_dict(entries, prefix, local, True, missing, unexpected, errors)
            for name, child in module._modules.items():
                if child is not None:
                    below = f"{prefix}{name}."
                    visit(child, {k: v for k, v in entries.items() if k.startswith(below)}, below)
            visited.append(module)

        visit(self, entries, "")
        keys = _IncompatibleKeys(missing, unexpected)
        hooks = [(m, h) for m in visited for h in m._load_state_dict_post_hooks.values()]
        # Hooks may forgive a key, so with hooks the keys can be judged only after them.
        self._refuse(errors, keys, strict and not hooks)
        _store(pending)
        for module, hook in hooks:
            if hook(module, keys) is not None:
                raise AssertionError(
                    "Hooks registered with ``register_load_state_dict_post_hook`` are not expected "
                    "to return new values, if incompatible_keys need to be modified, it should be "
                    "done inplace."
                )
        self._refuse(errors, keys, strict)
        return keys

    def _refuse(self, errors: list[str], keys: _IncompatibleKeys, strict: bool) -> None:
        """RuntimeError with torch's text if anything does not fit."""
        lines = []
        if strict:
            for what, names in zip(("Missing", "Unexpected"), keys):
                if names:
                    listed = ", ".join(f'"{k}"' for k in names)
                    lines.append(f"{what} key(s) in state_dict: {listed}. ")
        lines += errors
        if lines:
            title = f"Error(s) in loading state_dict for {type(self).__name__}:"
            raise RuntimeError("\n\t".join([title, *lines]))


def _store(pending: list[Callable[[], Any]]) -> None:
    with no_grad():
        for store in pending:
            store()


def _misfit(key: str, t: Tensor, given: Any) -> str | None:
    """What is wrong with an entry of a state dict, or None."""
    if not isinstance(given, Tensor):
        return (
            f'While copying the parameter named "{key}", expected dtorch.Tensor or Tensor-like '
            f"object from checkpoint but received {type(given)}"
        )
    if is_lazy(t) or given.shape == t.shape or t.ndim == 0 and given.shape == (1,):
        return None
    return (
        f"size mismatch for {key}: copying a param with shape {given.shape} from checkpoint, "
        f"the shape in current model is {t.shape}."
    )


def _copy(t: Any, given: Any) -> None:
    """Copy an entry of a state dict; one without a shape yet gets it, or is left so by another."""
    if is_lazy(t):
        if is_lazy(given):
            return
        t.materialize(given.shape)
    t.copy_(given.reshape(t.shape))  # a scalar was once saved as (1,)
