"""The one exception that means: the user can mend this."""


class UserError(Exception):
    """A mistake in what we were given: a path, a setting, a file's content.

    The message names the thing, its value and the remedy, in one or two lines. The command line prints it without a
    traceback and exits with status 2; library users catch it like any other exception.
    """
