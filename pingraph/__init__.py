"""pingraph: pin embeddings learned from images, text and the boards that people save pins to.

The table of contents. A name is imported when it is first used, so `import pingraph` costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pingraph.datasets import PinBoardDataset, open_dataset
    from pingraph.errors import PinGraphError
    from pingraph.graph import PinBoardGraph
    from pingraph.interfaces import Neighbors, Sampler

    __version__: str

__all__ = [
    "Neighbors",
    "PinBoardDataset",
    "PinBoardGraph",
    "PinGraphError",
    "Sampler",
    "__version__",
    "open_dataset",
]

_HOMES = {
    "Neighbors": "pingraph.interfaces",
    "PinBoardDataset": "pingraph.datasets",
    "PinBoardGraph": "pingraph.graph",
    "PinGraphError": "pingraph.errors",
    "Sampler": "pingraph.interfaces",
    "open_dataset": "pingraph.datasets",
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        value: Any = import_module("importlib.metadata").version("pingraph")
    elif name in _HOMES:
        value = getattr(import_module(_HOMES[name]), name)
    else:
        raise AttributeError(f"module 'pingraph' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(__all__))
