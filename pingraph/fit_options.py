"""Checks options of `pingraph fit` by its own parser, and makes or trains nothing."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import jsonargparse

from pingraph.errors import PinGraphError
from pingraph.fit import PinCLI, quiet
from pingraph.mistakes import dropped_option, explain, own_error


def check_options(args: Sequence[str]) -> jsonargparse.Namespace:
    """Check that `pingraph fit` knows options, and that their values are of the right types.

    What a constructor asks of a value, such as to be above 0, is not looked at.

    Args:
        args: as of `pingraph fit`; `--data.folder` may be left out.

    Returns:
        All options, with the defaults.

    Raises:
        PinGraphError: an option is unknown, its value of a wrong type, or it stands before a class
            that lacks it.
    """
    parser = _parser()
    try:
        config = parser.parse_args(["--data.folder=icons", *args])
    except jsonargparse.ArgumentError as error:
        reason = own_error(error) or "; ".join(explain(str(error), parser))
        raise PinGraphError(str(reason)) from error
    if dropped := dropped_option(args, config):
        raise PinGraphError(dropped)
    return config


@functools.cache
def _parser() -> jsonargparse.ArgumentParser:
    quiet()
    parser = _ParserAlone(["--data.folder=icons"])._parser("fit")
    parser.exit_on_error = False
    return parser


class _ParserAlone(PinCLI):
    """The command line up to its parser: nothing is seeded, made or trained."""

    def _set_seed(self) -> None: ...
    def before_instantiate_classes(self) -> None: ...
    def instantiate_classes(self) -> None: ...
    def _run_subcommand(self, subcommand: str) -> None: ...
