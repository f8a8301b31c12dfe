"""The fast path of attention in evaluation, which dtorch has none of.  The flag changes nothing."""

_fastpath = True


def get_fastpath_enabled() -> bool:
    return _fastpath


def set_fastpath_enabled(value: bool) -> None:
    global _fastpath
    _fastpath = bool(value)
