"""Neural networks: modules, their functions, initial values and utilities, under torch's names."""

from . import functional, init, utils  # noqa: F401
from .modules import *  # noqa: F403
from .parameter import Buffer, Parameter  # noqa: F401
