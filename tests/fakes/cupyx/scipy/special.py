"""scipy.special, with the names that CuPy has."""

import cupy
import scipy.special


def __getattr__(name):
    if name not in cupy._API["special"]:
        raise AttributeError(f"module 'cupyx.scipy.special' has no attribute {name!r}")
    function = getattr(scipy.special, name)
    return lambda *args, **kwargs: cupy._wrap(function(*cupy._unwrap(args), **cupy._unwrap(kwargs)))
