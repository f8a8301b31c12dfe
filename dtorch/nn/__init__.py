"""Neural networks: modules, their functions, initial values and utilities, under torch's names."""

from . import init, utils
from .modules import *  # noqa: F403
from .parameter import Buffer, Parameter
