"""Special functions: SciPy's kernels, our gradients.

The derivatives are those of Abramowitz and Stegun, Handbook of Mathematical Functions, and of the
NIST Digital Library of Mathematical Functions (dlmf.nist.gov).
"""

# mypy: disallow-untyped-defs=False
from __future__ import annotations

import math
from numbers import Integral

from ..backend import cpu
from ..op import op
from .activation import log_softmax, softmax
from .arithmetic import add
from .norms import logsumexp
from .pointwise import cos, erf, exp, exp2, expm1, log, log1p, round, sgn, sigmoid, where
from .shape import number

SQRT_2, SQRT_PI, SQRT_2PI = math.sqrt(2), math.sqrt(math.pi), math.sqrt(2 * math.pi)


# ---- one operand ---------------------------------------------------------------------------------


def _function(name, vjp, *, saves="x", scipy=None):
    """An op that is one function of scipy.special, of real numbers."""
    function = scipy or name

    @op(saves=saves, promote="float", kinds="f", name=name)
    def kernel(xp, x):
        return xp.special(function)(x)

    return kernel.vjp(vjp)


def _over(y, x, at_zero):
    """y / x, and its limit where x is 0."""
    zero = x == 0
    return where(zero, at_zero, y / where(zero, 1, x))


erfc = _function("erfc", lambda g, y, x: g * exp(-x * x) * (-2 / SQRT_PI))
erfcx = _function("erfcx", lambda g, y, x: g * (2 * x * y - 2 / SQRT_PI), saves="xy")
erfinv = _function("erfinv", lambda g, y, x: g * exp(y * y) * (SQRT_PI / 2), saves="y")
ndtr = _function("ndtr", lambda g, y, x: g * exp(-0.5 * x * x) / SQRT_2PI)
ndtri = _function("ndtri", lambda g, y, x: g * exp(0.5 * y * y) * SQRT_2PI, saves="y")
log_ndtr = _function("log_ndtr", lambda g, y, x: g * (2 / SQRT_2PI) / erfcx(x * (-1 / SQRT_2)))
entr = _function("entr", lambda g, y, x: g * (-log(x) - 1))
digamma = _function("digamma", lambda g, y, x: g * _polygamma(x, n=1))

bessel_j0 = _function("bessel_j0", lambda g, y, x: -g * bessel_j1(x), scipy="j0")
bessel_j1 = _function("bessel_j1", lambda g, y, x: g * (bessel_j0(x) - _over(y, x, 0.5)),
                      scipy="j1", saves="xy")  # fmt: skip
bessel_y0 = _function("bessel_y0", lambda g, y, x: -g * bessel_y1(x), scipy="y0")
bessel_y1 = _function("bessel_y1", lambda g, y, x: g * (bessel_y0(x) - y / x),
                      scipy="y1", saves="xy")  # fmt: skip
i0 = _function("i0", lambda g, y, x: g * i1(x))
i1 = _function("i1", lambda g, y, x: g * (i0(x) - _over(y, x, 0.5)), saves="xy")
i0e = _function("i0e", lambda g, y, x: g * (i1e(x) - sgn(x) * y), saves="xy")
i1e = _function("i1e", lambda g, y, x: g * (i0e(x) - sgn(x) * y - _over(y, x, 0.5)), saves="xy")
k0 = _function("modified_bessel_k0", lambda g, y, x: -g * k1(x), scipy="k0")
k1 = _function("modified_bessel_k1", lambda g, y, x: -g * (k0(x) + y / x), scipy="k1", saves="xy")
k0e = _function("scaled_modified_bessel_k0", lambda g, y, x: g * (y - k1e(x)),
                scipy="k0e", saves="xy")  # fmt: skip
k1e = _function("scaled_modified_bessel_k1", lambda g, y, x: g * (y - k0e(x) - y / x),
                scipy="k1e", saves="xy")  # fmt: skip


@op(saves="x", promote="float", kinds="f")
def lgamma(xp, x):
    """The logarithm of the absolute value of the gamma function."""
    return xp.where(x == -xp.inf, xp.inf, xp.special("gammaln")(x)).astype(x.dtype, copy=False)


lgamma.vjp(lambda g, y, x: g * digamma(x))


@op(saves="xy", promote="float")
def sinc(xp, x):
    """sin(pi x) / (pi x), and 1 at 0."""
    return xp.sinc(x)


sinc.vjp(lambda g, y, x: g * _over(cos(x * math.pi) - y, x, 0))


@op(saves="xy", promote="float", kinds="f")
def spherical_bessel_j0(xp, x):
    """sin(x) / x, and 1 at 0."""
    return xp.where(xp.isinf(x), xp.zeros_like(x), xp.sinc(x / math.pi))


spherical_bessel_j0.vjp(lambda g, y, x: g * _over(cos(x) - y, x, 0))


@op(saves="x", promote="float", kinds="f")
def _airy(xp, x, *, order):
    """Ai(x), or its derivative Ai'(x) for the order 1."""
    return xp.special("airy")(xp.minimum(x, 200))[order]  # 0 from 104 on; SciPy's ends in NaN


_airy.vjp(lambda g, y, x, order: g * (_airy(x, order=1) if order == 0 else x * _airy(x, order=0)))


def airy_ai(input):
    """The Airy function Ai."""
    return _airy(input, order=0)


@op(saves="x", promote="float", kinds="f")
def _polygamma(xp, x, *, n):
    factorial = math.gamma(n + 1) if n < 171 else math.inf
    return (-1) ** (n + 1) * factorial * xp.special("zeta")(float(n + 1), x)


_polygamma.vjp(lambda g, y, x, n: g * _polygamma(x, n=n + 1))


def polygamma(n, input):
    """The n-th derivative of digamma.  TypeError unless n is an int, RuntimeError if it is < 0."""
    if not isinstance(n, Integral):
        raise TypeError(
            f"polygamma(): argument 'n' (position 1) must be int, not {type(n).__name__}"
        )
    if n < 0:
        raise RuntimeError(f"polygamma(n, x) does not support negative n, got {n}")
    return digamma.fn(input) if n == 0 else _polygamma.fn(input, n=int(n))


def _of_order(input, n):
    return polygamma(n, input)


_of_order.__name__ = "polygamma"


def mvlgamma(input, p):
    """The logarithm of the multivariate gamma function of dimension p.

    Wikipedia, "Multivariate gamma function".  RuntimeError if p < 1.
    """
    if p < 1:
        raise RuntimeError(f"p has to be greater than or equal to 1, got {p}")
    total = p * (p - 1) / 4 * math.log(math.pi)
    for j in range(p):
        total = add(lgamma.fn(add(input, -0.5 * j)), total)
    return total


@op(saves="x", promote="float", kinds="f")
def _logit(xp, x, *, eps):
    return xp.special("logit")(x if eps is None else xp.clip(x, eps, 1 - eps))


def _logit_vjp(g, y, x, eps):
    low, high, outside = (0, 1, math.nan) if eps is None else (eps, 1 - eps, 0)
    inside = (x >= low) & (x <= high)
    x = where(inside, x, 0.5)
    return where(inside, g / (x * (1 - x)), outside)


_logit.vjp(_logit_vjp)


def logit(input, eps=None):
    """log(x / (1 - x)); of the input clamped to [eps, 1 - eps], if eps is given."""
    return _logit(input, eps=number(eps))


# ---- two operands --------------------------------------------------------------------------------


def _function2(name, *vjp, scipy=None, promote="float2", numbers=True):
    """An op that is one function of scipy.special, of two real numbers."""
    function = scipy or name

    @op(saves="x", promote=promote, numbers=numbers, kinds="f", name=name)
    def kernel(xp, a, b):
        d = xp.result_type(a, b)
        return xp.special(function)(xp.asarray(a, dtype=d), xp.asarray(b, dtype=d))

    return kernel.vjp(*vjp)


def _no_derivative(what):
    """The rule of an argument in which the derivative has no closed form."""

    def rule(g, y, a, b):
        raise NotImplementedError(f"the derivative for '{what}' is not implemented.")

    return rule


def _x_log(name, log, start):
    """a * log(b), and 0 where a is 0; the logarithm is -inf at b = start."""

    def log_of(b):
        return log(b) if hasattr(b, "dtype") else float(getattr(cpu, log.name)(b))

    return _function2(
        name,
        lambda g, y, a, b: where((a == 0) & (b <= start), 0, g * log_of(b)),
        lambda g, y, a, b: g * (a / (b - start)),
    )


xlogy = _x_log("xlogy", log, 0)
xlog1py = _x_log("xlog1py", log1p, -1)
zeta = _function2(  # sum over k of (k + b) ** -a
    "zeta", _no_derivative("zeta"), lambda g, y, a, b: -g * a * zeta(a + 1, b)
)
igamma = _function2(  # regularized: lower and upper add up to 1
    "igamma",
    _no_derivative("igamma: input"),
    lambda g, y, a, b: g * _gamma_density(a, b),
    scipy="gammainc",
    promote="result",
    numbers=False,
)
igammac = _function2(
    "igammac",
    _no_derivative("igammac: input"),
    lambda g, y, a, b: -g * _gamma_density(a, b),
    scipy="gammaincc",
    promote="result",
    numbers=False,
)


def _gamma_density(a, x):
    """x^(a-1) exp(-x) / gamma(a)"""
    return exp(xlogy(a - 1, x) - x - lgamma(a))


# ---- names ---------------------------------------------------------------------------------------

IN_PLACE = {
    **{o.name: o.fn for o in (
        erfc, erfinv, lgamma, digamma, i0, sinc, xlogy, igamma, igammac,
    )},
    "logit": logit, "mvlgamma": mvlgamma, "polygamma": _of_order,
}  # fmt: skip
METHODS = IN_PLACE
FUNCTIONS = METHODS | {"polygamma": polygamma}
SPECIAL = {
    **{o.name: o.fn for o in (
        bessel_j0, bessel_j1, bessel_y0, bessel_y1, digamma, entr, erf, erfc, erfcx, erfinv, exp2,
        expm1, i0, i0e, i1, i1e, k0, k0e, k1, k1e, log1p, log_ndtr, ndtr, ndtri, sinc,
        spherical_bessel_j0, xlog1py, xlogy, zeta,
    )},
    "airy_ai": airy_ai, "expit": sigmoid.fn, "gammainc": igamma.fn, "gammaincc": igammac.fn,
    "gammaln": lgamma.fn, "log_softmax": log_softmax, "logit": logit, "logsumexp": logsumexp,
    "modified_bessel_i0": i0.fn, "modified_bessel_i1": i1.fn, "multigammaln": mvlgamma,
    "polygamma": polygamma, "psi": digamma.fn, "round": round, "softmax": softmax,
}  # fmt: skip
