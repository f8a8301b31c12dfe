"""Orthogonal polynomials, and their derivatives of any order, by three-term recurrences.

    P[0] = 1,  P[1] = a x + b,  P[k+1] = (a[k] x + b[k]) P[k] - c[k] P[k-1]

The m-th derivatives follow from the m-th and the one before:

    P(m)[k+1] = (a[k] x + b[k]) P(m)[k] + m a[k] P(m-1)[k] - c[k] P(m)[k-1]

The coefficients are those of Abramowitz and Stegun, Handbook of Mathematical Functions, 22.7; the
shifted polynomials are those of 2 x - 1.
"""

# mypy: disallow-untyped-defs=False
from __future__ import annotations

from ..op import op

# name: (a, b) of P[1], and a[k], b[k], c[k] as a function of k
RECURRENCES = {
    "chebyshev_polynomial_t": ((1, 0), lambda k: (2, 0, 1)),
    "chebyshev_polynomial_u": ((2, 0), lambda k: (2, 0, 1)),
    "chebyshev_polynomial_v": ((2, -1), lambda k: (2, 0, 1)),
    "chebyshev_polynomial_w": ((2, 1), lambda k: (2, 0, 1)),
    "shifted_chebyshev_polynomial_t": ((2, -1), lambda k: (4, -2, 1)),
    "shifted_chebyshev_polynomial_u": ((4, -2), lambda k: (4, -2, 1)),
    "shifted_chebyshev_polynomial_v": ((4, -3), lambda k: (4, -2, 1)),
    "shifted_chebyshev_polynomial_w": ((4, -1), lambda k: (4, -2, 1)),
    "hermite_polynomial_h": ((2, 0), lambda k: (2, 0, 2 * k)),
    "hermite_polynomial_he": ((1, 0), lambda k: (1, 0, k)),
    "laguerre_polynomial_l": (
        (-1, 1),
        lambda k: (-1 / (k + 1), (2 * k + 1) / (k + 1), k / (k + 1)),
    ),
    "legendre_polynomial_p": ((1, 0), lambda k: ((2 * k + 1) / (k + 1), 0, k / (k + 1))),
}


@op(saves="x", promote="float2", kinds="f")
def _polynomial(xp, x, n, *, name, order):
    """The derivative of this order of P[n] at x; 0 where n is negative.  x and n broadcast."""
    d = xp.result_type(x, n)
    n = xp.asarray(n, dtype=d)
    n = xp.where(xp.isfinite(n), xp.trunc(n), -1)
    x, n = xp.broadcast_arrays(xp.asarray(x, dtype=d), n)
    (a, b), coefficients = RECURRENCES[name]
    one, zero = xp.ones_like(x), xp.zeros_like(x)
    now = [one] + [zero] * order  # the derivatives of P[k]: of order 0, 1, ...
    after = [a * x + b, a * one, *[zero] * order][: order + 1]  # and those of P[k+1]
    result = zero
    for k in range(int(n.max()) + 1 if n.size else 0):
        result = xp.where(n == k, now[order], result)
        a, b, c = coefficients(k + 1)
        below = [zero, *after]
        now, after = after, [
            (a * x + b) * after[m] + m * a * below[m] - c * now[m] for m in range(order + 1)
        ]  # fmt: skip
    return result


_polynomial.vjp(
    lambda g, y, x, n, name, order: g * _polynomial(x, n, name=name, order=order + 1), None
)


def _family(name):
    def polynomial(input, n):
        return _polynomial.fn(input, n, name=name, order=0)

    polynomial.__name__ = polynomial.__qualname__ = name
    polynomial.__doc__ = f"The {name.replace('_', ' ')} of degree n, where n < 0 gives 0."
    return polynomial


POLYNOMIALS = {name: _family(name) for name in RECURRENCES}
