"""record: a script's main function, whose failure the launcher is to know of."""

from __future__ import annotations

import functools
import json
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from dtorch.core import env

P = ParamSpec("P")
T = TypeVar("T")


def record(fn: Callable[P, T], error_handler: Any = None) -> Callable[P, T | None]:
    """Decorates a main function: what it raises is written to TORCHELASTIC_ERROR_FILE, and raised.

    The file, if a launcher asks for one, is in JSON, as torchrun reads it.  SystemExit is no failure
    to tell of, and with code 0 a return, as in torch; error_handler, torch's, is not used.
    """

    @functools.wraps(fn)
    def recorded(*args: P.args, **kwargs: P.kwargs) -> T | None:
        try:
            return fn(*args, **kwargs)
        except SystemExit as end:
            if end.code == 0:
                return None
            raise
        except Exception as error:
            _write(error)
            raise

    return recorded


def _write(error: BaseException) -> None:
    path = env.ERROR_FILE.get()
    if not path:
        return
    text = "".join(traceback.format_exception(type(error), error, error.__traceback__))
    extra = {"py_callstack": text, "timestamp": str(int(time.time()))}
    message = {"message": f"{type(error).__name__}: {error}", "extraInfo": extra}
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(json.dumps({"message": message}), "utf-8")
