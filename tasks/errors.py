"""What a step raises for its caller, each with the exit status that it ends with."""


class RefusedError(Exception):
    """A step cannot go on until the user changes something."""

    status = 2


class TemporaryError(Exception):
    """A step failed for a reason that may pass by itself."""

    status = 75
