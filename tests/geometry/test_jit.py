"""Compiled kernels: kept where that can be, compiled in memory where not; none with a constant from elsewhere."""

import ast
import logging
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import mirage.geometry as here

KERNELS = sorted(Path(here.__file__).parents[1].rglob("*_numba.py"))


def test_kernels_compile_where_nothing_can_be_kept_and_say_so_once(monkeypatch, caplog):
    caching = pytest.importorskip("numba.core.caching")
    from mirage.geometry import jit

    monkeypatch.setattr(caching.CompileResultCacheImpl, "_locator_classes", [])
    jit._say_once.cache_clear()

    def double(x):
        return x + x

    def triple(x):
        return x + x + x

    with caplog.at_level(logging.WARNING):
        assert jit.kernel(double)(np.float32(2)) == 4
        assert jit.kernel(triple)(np.float32(2)) == 6
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "NUMBA_CACHE_DIR" in caplog.text


@pytest.mark.parametrize("path", KERNELS, ids=lambda path: path.name)
def test_a_kernel_uses_no_value_of_another_file(path):
    """numba keeps compiled code by its file alone: an imported constant that changed would leave it as it was. Kernels
    of other files are part of a kernel's name."""
    tree = ast.parse(path.read_text())
    imported = {
        alias.asname or alias.name
        for node in tree.body
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("mirage.")
        if not node.module.endswith("_numba")
        for alias in node.names
    }
    kernels = [
        node
        for node in tree.body
        if isinstance(node, ast.FunctionDef) and any(ast.unparse(one) == "kernel" for one in node.decorator_list)
    ]
    assert kernels
    for function in kernels:
        used = {node.id for part in function.body for node in ast.walk(part) if isinstance(node, ast.Name)}
        assert not used & imported, f"{function.name} uses {sorted(used & imported)}"


CONSTANTS, KERNEL = (
    "SIDE = {}\n",
    """
from constants import SIDE
from jit import kernel

@kernel
def area(x):
    return x * SIDE

print(area(2), sum(area.stats.cache_hits.values()))
""",
)


def test_an_upgrade_in_place_takes_the_new_constant(tmp_path):
    """Another file changes, and the kernel's own stays as it is, its time included."""
    pytest.importorskip("numba")
    (tmp_path / "kernels.py").write_text(KERNEL)
    there = {"NUMBA_CACHE_DIR": str(tmp_path / "cache"), "PYTHONDONTWRITEBYTECODE": "1",
             "PYTHONPATH": str(Path(here.__file__).parent)}  # fmt: skip

    def run() -> str:
        command = [sys.executable, "kernels.py"]
        environment = os.environ | there
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True).stdout

    for side, said in ((3, "6 0\n"), (3, "6 1\n"), (7, "14 0\n")):
        (tmp_path / "constants.py").write_text(CONSTANTS.format(side))
        assert run() == said


OTHER, USER = (
    """
from jit import kernel

@kernel
def used(x):
    return below(x)

@kernel
def below(x):
    return x + {}
""",
    """
from other import used
from jit import kernel

@kernel
def twice(x):
    return 2 * used(x)

print(twice(2), sum(twice.stats.cache_hits.values()))
""",
)


def test_an_upgrade_in_place_takes_the_kernels_of_another_file_as_they_are(tmp_path):
    """What changes stands below the kernel that is used, which is itself as it was."""
    pytest.importorskip("numba")
    (tmp_path / "user.py").write_text(USER)
    there = {"NUMBA_CACHE_DIR": str(tmp_path / "cache"), "PYTHONDONTWRITEBYTECODE": "1",
             "PYTHONPATH": str(Path(here.__file__).parent)}  # fmt: skip
    for more, said in ((1, "6 0\n"), (5, "14 0\n")):
        (tmp_path / "other.py").write_text(OTHER.format(more))
        command = [sys.executable, "user.py"]
        ran = subprocess.run(command, cwd=tmp_path, env=os.environ | there, capture_output=True, text=True, check=True)
        assert ran.stdout == said
