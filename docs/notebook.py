"""Runs a notebook's cells, each after the other in one namespace, and keeps in it what they show: what was printed, and
the picture or the text of the last line. `python docs/notebook.py examples/walk.ipynb` writes it anew.
"""

import ast
import base64
import contextlib
import io
import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

Notebook = dict[str, Any]


def executed(
    notebook: Notebook, *, change: Callable[[str], str] = lambda code: code
) -> tuple[Notebook, dict[str, Any]]:
    """The notebook with new outputs, and the names that it leaves. change: what to do to the code of a cell first."""
    names: dict[str, Any] = {"__name__": "__main__"}
    cells: list[dict[str, Any]] = []
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            count = 1 + sum(before["cell_type"] == "code" for before in cells)
            cell = cell | {"outputs": outputs(change("".join(cell["source"])), names, count), "execution_count": count}
        cells.append(cell)
    return notebook | {"cells": cells}, names


def outputs(code: str, names: dict[str, Any], count: int) -> list[dict[str, Any]]:
    """What one cell shows, as the notebook format has it."""
    tree = ast.parse(code)
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    value: Any = None
    with contextlib.redirect_stdout(io.StringIO()) as said:
        exec(compile(tree, "<cell>", "exec"), names)
        if isinstance(last, ast.Expr):
            value = eval(compile(ast.Expression(last.value), "<cell>", "eval"), names)
    found: list[dict[str, Any]] = []
    if said.getvalue():
        found.append({"output_type": "stream", "name": "stdout", "text": said.getvalue().splitlines(keepends=True)})
    if value is not None:
        data: dict[str, Any] = {"text/plain": [repr(value)]}
        if hasattr(value, "_repr_png_") and (picture := value._repr_png_()) is not None:
            data["image/png"] = base64.b64encode(picture).decode()
        found.append({"output_type": "execute_result", "execution_count": count, "metadata": {}, "data": data})
    return found


if __name__ == "__main__":
    path = Path(sys.argv[1]).resolve()
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):  # what the cells write goes with it
        done, _ = executed(json.loads(path.read_text(encoding="utf-8")))
    path.write_text(json.dumps(done, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
