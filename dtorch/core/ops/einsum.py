"""einsum: sums of products by Einstein's convention."""

# mypy: disallow-untyped-defs=False
from __future__ import annotations

from ..op import op
from .layout import diagonal
from .reduce import sum_to
from .shape import expand, reshape


@op(saves="x")
def _einsum(xp, *operands, equation):
    return xp.einsum(equation, *operands, optimize=len(operands) > 1)


def _einsum_vjp(needs, g, y, *operands, equation):
    left, out = equation.split("->")
    names = left.split(",")
    grads = []
    for i, (need, mine) in enumerate(zip(needs, names)):
        if not need:
            grads.append(None)
            continue
        others = [x for j, x in enumerate(operands) if j != i]
        known = set(out).union(*(n for j, n in enumerate(names) if j != i))
        kept = "".join(c for c in mine if c in known)
        terms = ",".join([out, *(n for j, n in enumerate(names) if j != i)])
        ge = _einsum(g, *others, equation=f"{terms}->{kept}")
        # A label of this operand alone was summed over: its gradient is the same everywhere.
        shape = operands[i].shape
        wide = [k if c in known else 1 for c, k in zip(mine, _sizes(kept, ge, mine))]
        ge = reshape(ge, wide)
        grads.append(expand(sum_to(ge, [min(a, b) for a, b in zip(wide, shape)]), shape))
    return grads


def _sizes(kept, g, mine):
    sizes = dict(zip(kept, g.shape))
    return [sizes.get(c, 1) for c in mine]


_einsum.vjp_joint(_einsum_vjp)

_LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"


def einsum(equation, *operands):
    """Sums of products by Einstein's convention: einsum("bij,bjk->bik", a, b).

    Also einsum(a, [0, 1], b, [1, 2], [0, 2]).  "..." stands for dimensions that broadcast.
    """
    if not isinstance(equation, str):
        equation, operands = _from_lists((equation, *operands))
    elif len(operands) == 1 and isinstance(operands[0], (list, tuple)):
        operands = tuple(operands[0])
    left, arrow, out = equation.replace(" ", "").partition("->")
    names = left.split(",")
    if len(names) != len(operands):
        raise RuntimeError(
            f"einsum(): more operands were provided than specified in the equation: "
            f"{len(operands)} for {len(names)}"
            if len(operands) > len(names) else
            f"einsum(): fewer operands were provided than specified in the equation: "
            f"{len(operands)} for {len(names)}"
        )  # fmt: skip
    for i, c in enumerate(equation):
        if c not in _LETTERS and c not in " ,.->":
            raise RuntimeError(
                f"einsum(): invalid subscript {c!r} given at index {i} in the equation string, "
                "subscripts must be in [a-zA-Z]"
            )
    if not arrow:
        letters = left.replace(",", "").replace(".", "")
        out = "..." * ("..." in left) + "".join(
            sorted(c for c in set(letters) if letters.count(c) == 1)
        )
    names, operands, out = _without_ellipsis(names, operands, out)
    for n, x in zip(names, operands):
        if len(n) != x.ndim:
            raise RuntimeError(
                f"einsum(): the number of subscripts in the equation ({len(n)}) does not match the "
                f"number of dimensions ({x.ndim}) for an operand"
            )
    for c in out:
        if out.count(c) > 1:
            raise RuntimeError(
                f"einsum(): output subscript {c} appears more than once in the output"
            )
        if not any(c in n for n in names):
            raise RuntimeError(
                f"einsum(): output subscript {c} does not appear in the equation for any input "
                "operand"
            )
    names, operands = zip(*map(_diagonals, names, operands))
    sizes = {}
    for n, x in zip(names, operands):
        for c, k in zip(n, x.shape):
            if k != 1 and sizes.setdefault(c, k) != k:
                raise RuntimeError(
                    f"einsum(): operands do not broadcast with remapped shapes: subscript {c} has "
                    f"sizes {sizes[c]} and {k}"
                )
    if any(_is_summed(i, names, out) and x.dtype.category < 2 for i, x in enumerate(operands)):
        operands = [x.long() for x in operands]  # as sum() does
    return _einsum(*operands, equation=",".join(names) + "->" + out)


def _is_summed(i, names, out):
    """Whether the operand i has a letter of its own, which is summed over before any product."""
    others = out + "".join(names[:i] + names[i + 1 :])
    return any(c not in others for c in names[i])


def _from_lists(args):
    names = ["".join("..." if i is Ellipsis else _LETTERS[i] for i in dims) for dims in args[1::2]]
    out = "" if len(args) % 2 == 0 else "->" + "".join(
        "..." if i is Ellipsis else _LETTERS[i] for i in args[-1]
    )  # fmt: skip
    operands = args[: len(args) // 2 * 2 : 2]
    return ",".join(names) + out, operands


def _without_ellipsis(names, operands, out):
    """Letters in place of each "...", aligned from the right."""
    used = set("".join(names))
    free = [c for c in _LETTERS if c not in used]
    most = max((x.ndim - len(n) + 3 for n, x in zip(names, operands) if "..." in n), default=0)
    letters = "".join(free[: max(most, 0)])

    def filled(n, ndim):
        k = ndim - len(n) + 3
        if k < 0:
            raise RuntimeError(
                f"einsum(): the number of subscripts in the equation ({len(n) - 3}) is more than "
                "the "
                f"number of dimensions ({ndim}) for an operand"
            )
        return n.replace("...", letters[len(letters) - k :])

    names = [filled(n, x.ndim) if "..." in n else n for n, x in zip(names, operands)]
    return names, operands, out.replace("...", letters)


def _diagonals(name, x):
    """An operand with each letter once: where it comes twice the diagonal is meant."""
    for c in dict.fromkeys(name):
        while name.count(c) > 1:
            i = name.index(c)
            j = name.index(c, i + 1)
            if x.shape[i] != x.shape[j]:
                raise RuntimeError(
                    f"einsum(): subscript {c} is repeated for an operand but the sizes don't "
                    "match, "
                    f"{x.shape[j]} != {x.shape[i]}"
                )
            x = diagonal(x, 0, i, j)
            name = name[:i] + name[i + 1 : j] + name[j + 1 :] + c
    return name, x


FUNCTIONS = {"einsum": einsum}
