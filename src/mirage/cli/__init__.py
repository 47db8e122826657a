"""The `mirage` command. This file reads what was typed, runs one subcommand and says what went wrong in one line.

Exit codes: 0 done; 1 the work failed; 2 the request was wrong; 130 stopped by Ctrl-C (what was finished is kept);
141 nobody reads what is printed. A fault of ours keeps its traceback, and exits with 1 too.
Nothing heavy is imported before a subcommand is known, so `mirage --help` is instant. `arguments` holds all that can be
typed; each subcommand's work is in the module of its name, in one function `run`.
"""

import contextlib
import errno
import importlib
import io
import json
import os
import re
import sys
import warnings
from collections.abc import Sequence

from mirage.cli.arguments import COMMANDS, Common, parse
from mirage.errors import InputError

REFUSED = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM)
"""What a disk or its owner says no with: another place has to be asked for, so the request was wrong."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line (default: this process's) and return its exit code."""
    try:
        return _main(sys.argv[1:] if argv is None else argv)
    except BrokenPipeError:
        try:
            print(flush=True)
        except BrokenPipeError:  # whoever read what we print has seen enough, as in `mirage --help | head`
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 141  # what a shell says of a command whose reader has left
        raise  # another pipe, so a fault


def _main(argv: Sequence[str]) -> int:
    asked = _asked(argv)
    if isinstance(asked, int):
        return asked
    try:
        with warnings.catch_warnings():
            if not sys.warnoptions:
                warnings.simplefilter("ignore")  # the libraries' remarks to their own users; python -W shows them
            result = importlib.import_module(f"mirage.cli.{COMMANDS[type(asked)]}").run(asked)
    except KeyboardInterrupt as stop:
        return _failed(str(stop) or "stopped", 130)
    except InputError as error:
        return _failed(str(error), 2)
    except OSError as error:
        if error.errno not in REFUSED:
            raise
        return _failed(f"{error.strerror}{f': {error.filename}' if error.filename else ''}", 2)
    if asked.json:
        print(json.dumps(result.summary, allow_nan=False), flush=True)
    return result.code


def _asked(argv: Sequence[str]) -> Common | int:
    """What was typed, or the exit code where that is all there is to say: help, version, a word that is not known.

    tyro draws a box of several lines round a mistake; people and scripts get its words on one.
    """
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            return parse(argv)
    except SystemExit as stop:
        if not stop.code:
            return 0
    lines = [line.strip(" │") for line in said.getvalue().splitlines() if not line.startswith(("╭", "╰"))]
    words = " ".join(lines).split("───", maxsplit=1)[0]
    words = re.sub(r"^Error parsing [^-\s]\S*: ", "", words)  # a noun's own words, of which the class is no part
    helped = re.search(r"mirage[ a-z]* --help", said.getvalue())
    return _failed(f"{words} (see {helped[0] if helped else 'mirage --help'})", 2)


def _failed(message: str, code: int) -> int:
    print(f"mirage: {' '.join(message.split())}", file=sys.stderr, flush=True)
    return code
