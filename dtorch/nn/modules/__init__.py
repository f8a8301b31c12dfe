from .module import Module
from .container import Sequential, ModuleList, ModuleDict, ParameterList, ParameterDict
