"""Complex tensors: their parts as views, making them from parts, conjugates.

The gradient of a complex tensor is torch's: what is stepped against to make a real loss smaller,
dL/d(real) + i dL/d(imag).  So parts and pairs of parts hand it on as it is, and only conj changes it.
"""

# mypy: disallow-untyped-defs=False
from __future__ import annotations

from ..dtype import complex64, complex128, float32, float64
from ..op import op
from ..tensor import Tensor
from .shape import broadcast_shapes

_COMPLEX = {float32.np: complex64.np, float64.np: complex128.np}


def is_complex(x):
    """Whether a tensor, or an array, is complex."""
    return (x._a.dtype if isinstance(x, Tensor) else x.dtype).kind == "c"


# ---- conjugates ------------------------------------------------------------------------------


@op(promote="keep", holomorphic=False)
def _conj(xp, x):
    return xp.conjugate(x)


_conj.vjp(lambda g, y, x: conj_any(g))


def conj_any(input):
    """The complex conjugate, computed at once (torch's shares memory); a real tensor itself."""
    return _conj(input) if is_complex(input) else input


def resolve(input):
    """The tensor itself: conjugates and negatives are never lazy here."""
    return input


def is_lazy(input):
    """Whether the tensor is a conjugate, or a negative, yet to be computed: never."""
    return False


# ---- parts -----------------------------------------------------------------------------------


def pairs(xp, x):
    """The view (*, 2) of a complex array (*): real and imaginary parts."""
    x = xp.asarray(x)  # in a rule NumPy may have made a scalar of it
    return xp.as_strided(x.real, (*x.shape, 2), (*x.strides, x.itemsize // 2))


@op(view=True, holomorphic=False)
def _view_as_real(xp, x):
    return pairs(xp, x)


@op(view=True, holomorphic=False)
def _view_as_complex(xp, x):
    return x.view(_COMPLEX[x.dtype])[..., 0]


@op(half="keep", promote="result", holomorphic=False)
def _complex(xp, real, imag):
    out = xp.empty(broadcast_shapes(real.shape, imag.shape), _COMPLEX[real.dtype])
    out.real, out.imag = real, imag
    return out


_view_as_real.vjp(lambda g, y, x: _complex(g[..., 0], g[..., 1]))
_view_as_complex.vjp(lambda g, y, x: _view_as_real(g))
_complex.vjp(lambda g, y, a, b: real_of(g), lambda g, y, a, b: imag_of(g))


def real_of(x):
    """The real part, as a view; a real tensor itself."""
    return _view_as_real(x)[..., 0] if is_complex(x) else x


def imag_of(x):
    """The imaginary part, as a view, of a complex tensor."""
    return _view_as_real(x)[..., 1]


def imag(input):
    """The imaginary part of a complex tensor, as a view of its memory."""
    if not is_complex(input):
        raise RuntimeError("imag is not implemented for tensors with non-complex dtypes.")
    return imag_of(input)


def view_as_real(input):
    """The view (*, 2) of a complex tensor (*): its real and its imaginary parts."""
    if not is_complex(input):
        raise RuntimeError("view_as_real is only supported for complex tensors")
    return _view_as_real(input)


def view_as_complex(input):
    """The complex view (*) of a float32 or float64 tensor (*, 2) of real and imaginary parts."""
    if input._a.dtype not in _COMPLEX:
        raise RuntimeError(
            "view_as_complex is only supported for float and double tensors, but got a tensor of "
            f"scalar type: {input.dtype}"
        )
    if not input.ndim:
        raise RuntimeError("Input tensor must have one or more dimensions")
    if input.shape[-1] != 2:
        raise RuntimeError("Tensor must have a last dimension of size 2")
    *steps, last = input.stride()
    if last != 1:
        raise RuntimeError("Tensor must have a last dimension with stride 1")
    if any(s % 2 for s in steps):
        raise RuntimeError("Tensor must have a stride divisible by 2 for all but last dimension")
    if input.storage_offset() % 2:
        raise RuntimeError("Tensor must have a storage_offset divisible by 2")
    return _view_as_complex(input)


def _set_real(self, value):
    real_of(self)[...] = value


def _set_imag(self, value):
    imag(self)[...] = value


# ---- from parts ------------------------------------------------------------------------------


def _check_parts(name, first, a, second, b):
    """Refuse what are no two tensors of one of the dtypes that complex ones can be made of."""
    for word, x in ((first, a), (second, b)):
        if not isinstance(x, Tensor):
            raise TypeError(f"{name}(): argument '{word}' must be Tensor, not {type(x).__name__}")
    if a._a.dtype not in _COMPLEX or b._a.dtype not in _COMPLEX:
        raise RuntimeError(
            f"Expected both inputs to be Half, Float or Double tensors but got {a.dtype} and "
            f"{b.dtype}; dtorch has no complex numbers of halves, convert with .float()"
        )
    if a.dtype is not b.dtype:
        raise RuntimeError(
            f"Expected object of scalar type {a.dtype} but got scalar type {b.dtype} for second "
            "argument"
        )


def complex(real, imag):
    """real + i imag: two tensors of one dtype, float32 or float64, that broadcast."""
    _check_parts("complex", "real", real, "imag", imag)
    return _complex(real, imag)


def polar(abs, angle):
    """abs * (cos(angle) + i sin(angle)): two tensors of one dtype, float32 or float64."""
    from .pointwise import cos, sin

    _check_parts("polar", "abs", abs, "angle", angle)
    return _complex(abs * cos(angle), abs * sin(angle))


def chalf(self, memory_format=None):
    """There is no complex32: RuntimeError."""
    raise RuntimeError("chalf(): dtorch has no complex32; use cfloat() for complex64")


IN_PLACE = {"conj_physical": conj_any}
FUNCTIONS = {
    "conj": conj_any, "conj_physical": conj_any, "resolve_conj": resolve, "resolve_neg": resolve,
    "is_conj": is_lazy, "is_neg": is_lazy, "real": real_of, "imag": imag,
    "view_as_real": view_as_real, "view_as_complex": view_as_complex, "complex": complex,
    "polar": polar,
}  # fmt: skip
METHODS = {
    "conj": conj_any, "conj_physical": conj_any, "resolve_conj": resolve, "resolve_neg": resolve,
    "is_conj": is_lazy, "is_neg": is_lazy, "chalf": chalf,
    "real": property(real_of, _set_real), "imag": property(imag, _set_imag),
}  # fmt: skip
