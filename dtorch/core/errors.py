"""The errors that have a class of their own; all others are Python's, as in torch."""


class AcceleratorError(RuntimeError):
    """A device reports an error."""


class OutOfMemoryError(RuntimeError, MemoryError):
    """A device has no room for an allocation."""


class LinAlgError(RuntimeError):
    """A matrix that has no inverse, or no factorisation of the kind asked for."""


def second_backward() -> RuntimeError:
    """What a backward through an already freed graph raises: torch's text."""
    return RuntimeError(
        "Trying to backward through the graph a second time (or directly access saved tensors after "
        "they have already been freed). Saved intermediate values of the graph are freed when you "
        "call .backward() or autograd.grad(). Specify retain_graph=True if you need to backward "
        "through the graph a second time or if you need to access saved tensors after calling "
        "backward."
    )


def modified_in_place(op: str, shape: tuple[int, ...], kind: str) -> RuntimeError:
    """What backward raises where an in-place write has destroyed a value it needs."""
    return RuntimeError(
        "one of the variables needed for gradient computation has been modified by an inplace "
        f"operation: [{kind} {list(shape)}], which {op} saved for its backward, was written to after "
        "that. Hint: use the out-of-place form of that operation (x = x + 1 instead of x += 1), or "
        "clone() the tensor before it is changed."
    )


def not_a_tensor(what: str, x: object) -> TypeError:
    """What a function raises that is given something else for a tensor; `what`: which argument."""
    kind = type(x)
    if kind.__name__ == "ndarray":
        return TypeError(
            f"{what} must be Tensor, got {kind.__module__}.ndarray; wrap it with dtorch.from_numpy"
        )
    return TypeError(f"{what} must be Tensor, not {kind.__name__}")
