"""The program `bertsmith`, also as `python -m bertsmith`."""

import os
import sys


def main() -> None:
    """Run the command line; a user's mistake becomes one or two lines on standard error and exit status 2."""
    # Threads that spin while they wait for each other starve when anything else runs: beside two busy processes on two
    # cores a small model's step took 2 to 3 times as long. Read when torch is first imported.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from bertsmith.cli import app
    from bertsmith.errors import UserError

    traceback = "--traceback" in sys.argv
    arguments = [argument for argument in sys.argv[1:] if argument != "--traceback"]
    try:
        try:
            app(args=arguments, prog_name="bertsmith")
        finally:
            sys.stdout.flush()  # what is wrong with it is said here, and not as the interpreter ends
    except UserError as error:
        if traceback:
            raise
        print(f"bertsmith: {error}", file=sys.stderr)
        sys.exit(2)
    except BrokenPipeError:  # as of `bertsmith show … | head`
        _leave_standard_output()
        sys.exit(1)
    except OSError as error:  # a closed folder, a name that is too long, a disk that standard output has filled
        if traceback:
            raise
        if error.filename is None:
            _leave_standard_output()
        print(f"bertsmith: {error.filename or 'standard output'}: {error.strerror or error}", file=sys.stderr)
        sys.exit(2)


def _leave_standard_output() -> None:
    """What is still to be written there goes nowhere, lest the interpreter tries once more."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    main()
