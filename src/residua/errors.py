"""What residua says when a user, not residua, has to change something."""


class UserError(Exception):
    """A mistake the user can mend, told in one clear line; the command line exits 2 with it."""
