"""Which function computes the Kullback-Leibler divergence of which two families."""

# mypy: disallow-untyped-defs=False
from __future__ import annotations

import warnings

from ..distribution import Distribution

_KL_REGISTRY: dict[tuple[type, type], object] = {}
_KL_MEMOIZE: dict[tuple[type, type], object] = {}


def register_kl(type_p, type_q):
    """Decorator: function(p, q) is the divergence of these classes, and of subclasses of theirs.

        @register_kl(Normal, Normal)
        def kl_normal_normal(p, q): ...

    Of several that match, the one of the most specific classes is taken.  TypeError if one of the
    arguments is no class of distributions.
    """
    for name, cls in (("type_p", type_p), ("type_q", type_q)):
        if not (isinstance(cls, type) and issubclass(cls, Distribution)):
            raise TypeError(f"Expected {name} to be a Distribution subclass but got {cls}")

    def decorator(fun):
        _KL_REGISTRY[type_p, type_q] = fun
        _KL_MEMOIZE.clear()
        return fun

    return decorator


def _dispatch(type_p, type_q):
    """The function of the registered classes that are nearest to these; None if there is none."""
    matches = [
        (type_p.__mro__.index(p), type_q.__mro__.index(q), p, q)
        for p, q in _KL_REGISTRY
        if issubclass(type_p, p) and issubclass(type_q, q)
    ]
    if not matches:
        return None
    by_p = min(matches, key=lambda m: m[:2])[2:]
    by_q = min(matches, key=lambda m: (m[1], m[0]))[2:]
    if _KL_REGISTRY[by_p] is not _KL_REGISTRY[by_q]:
        warnings.warn(
            f"Ambiguous kl_divergence({type_p.__name__}, {type_q.__name__}). "
            f"Please register_kl({by_p[0].__name__}, {by_q[1].__name__})",
            RuntimeWarning,
            stacklevel=3,
        )
    return _KL_REGISTRY[by_p]


def kl_divergence(p, q):
    """KL(p || q) = E_p log(p(x) / q(x)), of each distribution of the batch: batch_shape.

    NotImplementedError for families of which no function is registered by `register_kl`.
    """
    types = type(p), type(q)
    if types not in _KL_MEMOIZE:
        _KL_MEMOIZE[types] = _dispatch(*types)
    fun = _KL_MEMOIZE[types]
    if fun is None:
        raise NotImplementedError(
            "No KL(p || q) is implemented for p type "
            f"{p.__class__.__name__} and q type {q.__class__.__name__}"
        )
    return fun(p, q)
