"""OpenMP, which dtorch does not use itself; dtorch.set_num_threads is for the library below NumPy."""


def is_available() -> bool:
    return False
