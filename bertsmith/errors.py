"""What a user may meet: a mistake that can be mended, and a run that was asked to stop."""

import signal


class UserError(Exception):
    """A mistake in what we were given: a path, a setting, a file's content.

    The message names the thing, its value and the remedy, in one or two lines. The command line prints it without a
    traceback and exits with status 2; library users catch it like any other exception.
    """


class Interrupted(Exception):
    """A job was asked to stop by a signal, and stopped where it can be continued.

    Attributes:
        number: the signal's.
    """

    def __init__(self, number: int):
        super().__init__(f"stopped by {signal.Signals(number).name}")
        self.number = number
