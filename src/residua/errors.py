"""The error that is shown to users."""


class UserError(Exception):
    """A mistake that the user can fix.

    The command line prints the message, which is one line, and exits with status 2.
    """
