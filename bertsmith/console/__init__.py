"""Lines and progress bars in, a terminal's text out; signals in, a request to stop out.

Read in this order:
    terminal   lines for people, JSON for programs; escape sequences never reach a terminal, a closed stream is no error
    progress   a bar on a terminal, plain lines elsewhere
    shell      commands for a person to copy
    signals    the signals that stop a command
"""
