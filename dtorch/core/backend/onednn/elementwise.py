"""Chains of elementwise operations with two operands, in one pass over the memory."""

from __future__ import annotations

from ctypes import byref

from .library import P
from .primitive import DST, SRC, Description, Primitive, described, kept, library

ADD, MUL, MAX, GT = 0x1FFF0, 0x1FFF1, 0x1FFF2, 0x1FFF7  # dnnl_binary_*; GT gives 1 or 0
_OPERAND, _POST_OPERATION = 2, 32768  # DNNL_ARG_SRC_1, DNNL_ARG_ATTR_POST_OP


@kept
def chain(n: int, *steps: tuple[int, bool]) -> Primitive:
    """(x, *operands, y): y = x, changed by each step with its operand.  Of n elements.

    steps: the operation, and whether its operand has n elements, or 1.  y may be x or an operand.
    """
    x, one = described((n,)), described((1,))
    (first, _), *rest = steps
    operands = [x if full else one for _, full in steps]
    attributes, after = P(), P()
    lib = library()
    lib.call("primitive_attr_create", byref(attributes))
    lib.call("post_ops_create", byref(after))
    try:
        for (what, _), operand in zip(rest, operands[1:]):
            lib.call("post_ops_append_binary", after, what, operand)
        lib.call("primitive_attr_set_post_ops", attributes, after)
        made = Description("binary", first, x, operands[0], x, attributes)
    finally:
        lib.call("post_ops_destroy", after)
        lib.call("primitive_attr_destroy", attributes)
    later = [(_POST_OPERATION * (i + 1) | _OPERAND, m) for i, m in enumerate(operands[1:])]
    return Primitive(made, (SRC, x), (_OPERAND, operands[0]), *later, (DST, x))
