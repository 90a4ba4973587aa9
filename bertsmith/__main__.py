"""The program `bertsmith`, also as `python -m bertsmith`."""

import os
import sys
from typing import NoReturn


def main() -> None:
    """Run the command line; a user's mistake becomes one or two lines on standard error and exit status 2."""
    # Threads that spin while they wait for each other starve when anything else runs: beside two busy processes on two
    # cores a small model's step took 2 to 3 times as long. Read when torch is first imported.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if "WORLD_SIZE" in os.environ:  # of processes whose peer has ended torch would print a page each
        os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    from bertsmith.console.terminal import leave_standard_output, open_streams

    open_streams()
    arguments = [argument for argument in sys.argv[1:] if argument != "--traceback"]
    try:
        try:
            status = _run(arguments)
        finally:
            sys.stdout.flush()  # what is wrong with it is said here, and not as the interpreter ends
    except Exception as error:
        if isinstance(error, BrokenPipeError):  # as of `bertsmith show … | head`
            leave_standard_output()
            sys.exit(1)
        if "--traceback" in sys.argv or not (message := _message(error)):
            raise
        if isinstance(error, OSError) and error.filename is None:
            leave_standard_output()
        _end(message)
    except KeyboardInterrupt:
        sys.exit(130)
    except BaseException as error:  # a panic in a library that is written in Rust is no Exception
        if type(error).__name__ != "PanicException" or "--traceback" in sys.argv:
            raise
        from bertsmith.errors import one_line

        _end(f"a library failed ({one_line(error)}): a file that was given is probably damaged")
    sys.exit(status)


def _run(arguments: list[str]) -> int:
    """Return the exit status."""
    from typer.main import get_command

    from bertsmith.cli.app import app
    from bertsmith.cli.arguments import refuse_addresses
    from bertsmith.cli.usage import usage_message

    program = get_command(app)
    refuse_addresses(program)
    try:
        status = program(args=arguments, prog_name="bertsmith", standalone_mode=False)
        return status if isinstance(status, int) else 0
    except Exception as error:
        if type(error).__name__ == "Abort":  # what some versions of the parser make of Ctrl-C
            raise KeyboardInterrupt from None
        if (message := usage_message(error, arguments)) is None:
            raise
        _end(message)


def _message(error: Exception) -> str | None:
    """Return the message of an error that the user can correct; None of a fault in the program."""
    from bertsmith.errors import UserError
    from bertsmith.memory import out_of_memory

    if isinstance(error, UserError):
        return str(error)
    if message := out_of_memory(error):
        return message
    if isinstance(error, OverflowError):
        return f"a number is too large ({error}); look at the settings that were given"
    if isinstance(error, OSError):  # a closed folder, a name that is too long, a disk that standard output has filled
        return f"{error.filename or 'standard output'}: {error.strerror or error}"
    from bertsmith.config.plugins import fault_in_plugin

    return fault_in_plugin(error)


def _end(message: str) -> NoReturn:
    from bertsmith.console.terminal import say
    from bertsmith.errors import UserError

    is_to_say_why = True
    if "WORLD_SIZE" in os.environ:
        from bertsmith.training import joining

        is_to_say_why = joining.is_to_say_why()
    if is_to_say_why:
        say(f"bertsmith: {UserError(message)}", error=True)  # which bounds its length
    sys.exit(2)


if __name__ == "__main__":
    main()
