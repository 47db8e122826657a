"""`imported(module)`: a module with all that it imports, and no search for garbage meanwhile.

Importing torch, transformers and diffusers makes thousands of modules that stay. The garbage collector goes through all
of them again and again as they come, and finds next to nothing: up to a fifth of the time that it takes.
"""

import gc
import importlib
from types import ModuleType


def imported(module: str) -> ModuleType:
    """`importlib.import_module`; the garbage collector is afterwards as it was before."""
    collects = gc.isenabled()
    gc.disable()
    try:
        return importlib.import_module(module)
    finally:
        if collects:
            gc.enable()
