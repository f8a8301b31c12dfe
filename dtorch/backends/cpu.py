"""The CPU."""


def get_cpu_capability() -> str:
    """ "DEFAULT": which instructions are used is NumPy's own choice."""
    return "DEFAULT"
