"""NNPACK, which dtorch does not use."""


def is_available() -> bool:
    return False
