"""The one exception for what a user can put right: the command line prints it and exits with 2."""


class PinGraphError(ValueError):
    """Something given to pingraph is wrong; the message names it and says what was expected."""
