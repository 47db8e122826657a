"""How a docstring of ours becomes Markdown on the reference's pages: prose stays prose, what is laid out in columns or
drawn keeps its layout, and examples are Python. For griffe, which reads the docstrings for mkdocstrings.
"""

import re
from typing import Any

import griffe


class Layout(griffe.Extension):
    """Called for every object that is documented."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        if obj.docstring is not None:
            obj.docstring.value = laid_out(obj.docstring.value)


def laid_out(docstring: str) -> str:
    """Paragraph by paragraph.

    >>> print(laid_out("Prose.\\n\\nsteps   how many\\nshift   of the schedule"))
    Prose.
    <BLANKLINE>
    ```text
    steps   how many
    shift   of the schedule
    ```
    """
    return "\n\n".join(_paragraph(part) for part in re.split(r"\n\s*\n", docstring.strip("\n")))


def _paragraph(text: str) -> str:
    lines = text.splitlines()
    if lines[0].lstrip().startswith(">>>"):
        return "```python\n" + re.sub(r" *# doctest: .*", "", text) + "\n```"
    columns = sum(bool(re.search(r"\S {2,}\S", line)) for line in lines)
    if columns or all(line.startswith("    ") for line in lines):
        return f"```text\n{text}\n```"
    return text
