"""What the constructors of encoders refuse, in one line that names the argument."""

from pingraph.errors import PinGraphError


def check_sizes(least: int = 1, /, **sizes: int) -> None:
    """Raise PinGraphError for a size below `least`."""
    for name, size in sizes.items():
        if size < least:
            raise PinGraphError(f"{name} is {size}: expected {least} or more")


def check_heads(dim: int, heads: int, multiple: int = 1) -> None:
    """Raise PinGraphError where `dim` channels are not a multiple of `heads` and of `multiple`."""
    if dim % heads or dim % multiple:
        also = f"{multiple} and of " if multiple > 1 else ""
        raise PinGraphError(f"dim is {dim}: expected a multiple of {also}heads ({heads})")


def check_dropout(**shares: float) -> None:
    """Raise PinGraphError for a share outside 0 up to below 1."""
    for name, share in shares.items():
        if not 0 <= share < 1:
            raise PinGraphError(f"{name} is {share}: expected 0 up to below 1")
