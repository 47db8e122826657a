"""The `mirage` command. This file reads what was typed, runs one subcommand and says what went wrong in one line.

Exit codes: 0 done; 1 the work failed; 2 the request was wrong; 130 stopped by Ctrl-C, 143 by SIGTERM (what was
finished is kept); 141 nobody reads what is printed. A fault of ours keeps its traceback, and exits with 1 too.
Nothing heavy is imported before a subcommand is known, so `mirage --help` is instant, and nothing at all before `main`
runs, so both are answered from then on. `arguments` holds all that can be typed; each subcommand's work is in the
module of its name, in one function `run`.
"""

import errno
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mirage.cli.arguments import Common

REFUSED = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM,
           errno.ENAMETOOLONG, errno.ELOOP, errno.ENOTDIR)  # fmt: skip
"""What a disk or its owner says no with: another place has to be asked for, so the request was wrong."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line (default: this process's) and return its exit code."""
    try:
        from mirage.cli.streams import steady

        with steady():
            return _main(sys.argv[1:] if argv is None else argv)
    except KeyboardInterrupt as stop:
        return _failed(str(stop) or "stopped", 143 if type(stop).__name__ == "Terminated" else 130)


def _main(argv: Sequence[str]) -> int:
    from mirage.cli.stopping import terminable
    from mirage.errors import InputError

    try:
        with terminable():
            code = _answered(argv)
        sys.stdout.flush()  # here, where what goes wrong is still said in one line
        return code
    except InputError as error:
        return _failed(str(error), 2)
    except BrokenPipeError:
        if not _unread("\n"):
            raise  # another pipe, so a fault
        return 141  # whoever read what we print has seen enough, as in `mirage --help | head`
    except OSError as error:
        if error.errno not in REFUSED:
            raise
        _unread()
        return _failed(str(InputError(f"{error.strerror}{f': {error.filename}' if error.filename else ''}")), 2)


def _answered(argv: Sequence[str]) -> int:
    """Do what was typed. The warnings of libraries are for their own users; `python -W` shows them."""
    import json
    import os
    import warnings

    from mirage.cli.arguments import COMMANDS
    from mirage.errors import InputError
    from mirage.importing import imported

    asked = _asked(argv)
    if isinstance(asked, int):
        return asked
    try:
        os.getcwd()
    except FileNotFoundError as error:
        raise InputError("the folder that this was typed in is gone; expected one that is there") from error
    with warnings.catch_warnings():
        if not sys.warnoptions:
            warnings.simplefilter("ignore")
        result = imported(f"mirage.cli.{COMMANDS[type(asked)]}").run(asked)
    if asked.json:
        print(json.dumps(result.summary, allow_nan=False), flush=True)
    return result.code


def _asked(argv: Sequence[str]) -> "Common | int":
    """What was typed, or the exit code where that is all there is to say: help, version, a word that is not known.

    tyro draws a box of several lines round a mistake; people and scripts get its words on one.
    """
    import contextlib
    import io
    import re

    from mirage.cli.arguments import COMMANDS, parse

    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            return parse(argv)
    except SystemExit as stop:
        if not stop.code:
            return 0
    box = re.sub(r"\x1b\[[\d;]*m", "", said.getvalue())  # in colours, where stdout is a terminal
    words = re.sub(r"^Error parsing [^-\s]\S*: ", "", _first_words(box))  # a noun's own, of which the class is no part
    words = words.replace("'what.", "'")  # our name for what follows `evaluate` and `bench`
    helped = re.search(r"helptext, run:?[\s│]+(mirage [ a-z0-9]+?)\s+--help", box)
    known = {module.split("_")[0] for module in COMMANDS.values()}
    command = helped[1] if helped else " ".join(["mirage", *(word for word in argv[:1] if word in known)])
    return _failed(f"{words} (see {command} --help)", 2)


def _first_words(box: str) -> str:
    """What stands in tyro's box between its title and its first rule, in a terminal with lines or without. Of options
    that are missing it holds the help too, farther to the right.

    ╭─ Title ──╮       Title
    │ words    │       ----------
    │ ──────── │         words
    │ more     │         --------
    """
    far = " " * 8
    lines = [line.strip(" │") for line in box.splitlines() if line.strip(" │") and not line.strip("│").startswith(far)]
    rules = [number for number, line in enumerate(lines) if line.strip("╭╮╰╯─-") == "" or line.startswith("╭")]
    ends = [*rules, len(lines), len(lines)]
    return " ".join(lines[ends[0] + 1 : ends[1]])


def _unread(last: str = "") -> bool:
    """Whether stdout takes nothing more; then it leads nowhere from here on."""
    from mirage.cli.streams import silence

    try:
        print(end=last, flush=True)
    except OSError:
        silence(1)
        return True
    return False


def _failed(message: str, code: int) -> int:
    try:
        print(f"mirage: {' '.join(message.split())}", file=sys.stderr, flush=True)
    except OSError:  # there is nowhere left to say it; the exit code does
        from mirage.cli.streams import silence

        silence(2)
    return code
