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
        app(args=arguments, prog_name="bertsmith")
    except UserError as error:
        if traceback:
            raise
        print(f"bertsmith: {error}", file=sys.stderr)
        sys.exit(2)
    except PermissionError as error:  # already of a look whether something is there, in a folder that is closed
        if traceback:
            raise
        print(f"bertsmith: {error.filename}: {error.strerror}", file=sys.stderr)
        sys.exit(2)
    except BrokenPipeError:
        sys.exit(1)


if __name__ == "__main__":
    main()
