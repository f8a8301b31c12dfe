"""Apple's GPUs, which dtorch does not use."""


def is_available() -> bool:
    return False


def is_built() -> bool:
    return False
