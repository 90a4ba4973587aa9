"""The program `bertsmith`, also as `python -m bertsmith`."""

import sys


def main() -> None:
    """Run the command line; a user's mistake becomes one or two lines on standard error and exit status 2."""
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
    except BrokenPipeError:
        sys.exit(1)


if __name__ == "__main__":
    main()
