"""Where the program begins: it hears Ctrl-C before it imports what it is made of, which takes longer than many a
command. So nothing is imported here before that but what the interpreter has loaded itself."""

import os

SAID = "Interrupted."
CODE = 130


def main() -> None:
    """`fanwood`, as it is installed, and `python -m fanwood`."""
    try:
        import signal

        hears = signal.getsignal(signal.SIGINT) is signal.default_int_handler  # it is ignored below `nohup`, say
        if hears:
            signal.signal(signal.SIGINT, _leave)
        from fanwood.cli.main import main as commands

        if hears:
            signal.signal(
                signal.SIGINT, signal.default_int_handler
            )  # from here on there may be something to put in order
        commands()
    except KeyboardInterrupt:
        _leave()


def _leave(*_: object) -> None:
    """Nothing has begun, so nothing has to be put in order; and an import might take an exception for another one."""
    try:
        os.write(2, f"{SAID}\n".encode())
    finally:  # stderr may be closed
        os._exit(CODE)
