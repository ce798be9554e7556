"""papermill's command line, ended together with its kernel as soon as whoever started it has ended or wants it to end.

    python -m co3course.headless NOTEBOOK EXECUTED [papermill's options]

Its standard input is the read end of a pipe of which the starter keeps the other end: that one is closed however the
starter ends, by SIGKILL too, which it could not answer itself.
"""

from __future__ import annotations

import os
import signal
import sys
import threading


def _end_with_starter() -> None:
    import psutil

    while os.read(0, 4096):
        pass
    for process in psutil.Process().children(recursive=True):  # the kernel has a session of its own
        process.kill()
    os.kill(os.getpid(), getattr(signal, "SIGKILL", signal.SIGTERM))


def spare_grammar() -> None:
    """Keep jsonschema, which reads notebooks' format, from building a grammar of web addresses when it is imported: that takes
    seconds, and is for fields of a kind that notebooks do not have. For commands, whose process is theirs alone."""
    sys.modules.setdefault("rfc3987_syntax", None)


def main() -> None:
    """Run papermill with this process's arguments."""
    threading.Thread(target=_end_with_starter, daemon=True).start()
    spare_grammar()
    from papermill.__main__ import papermill

    sys.exit(papermill(prog_name="papermill"))


if __name__ == "__main__":
    main()
