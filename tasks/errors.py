"""Errors that a step raises, with their exit statuses."""


class RefusedError(Exception):
    """An error that the user must fix."""

    status = 2


class TemporaryError(Exception):
    """An error that a retry may not meet again."""

    status = 75
