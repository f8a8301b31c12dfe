"""Intel's MKL. NumPy may use it for products, but dtorch does not call it."""


def is_available() -> bool:
    return False
