"""What a person asked for and cannot have.

`InputError` is for people: one line that says what was got and what is accepted. The command line prints that line and
exits with 2. Anything else that goes wrong is our fault and keeps its traceback.
"""


class InputError(ValueError):
    """The request was wrong: a file that is not what it should be, a number out of range, an unknown name."""
