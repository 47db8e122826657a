"""Compiled kernels: kept where that can be, compiled in memory where not; none with a constant from elsewhere."""

import ast
import logging
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest

import mirage.geometry as here
from helpers import room

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


def compiled(x):
    """The sum of x by a kernel, compiled or found as in a process of its own."""
    from mirage.geometry import jit

    def total(x):
        return x.sum()

    return jit.kernel(total)(x)


def kept(cache: Path, kind: str) -> list[Path]:
    return sorted(cache.rglob(f"*.{kind}"))


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    """Where compiled code is kept."""
    config = pytest.importorskip("numba.core.config")
    monkeypatch.setattr(config, "CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_processes_that_compile_at_once_do_not_take_one_name_for_two_codes(cache):
    """Each has looked before the other has written: the index is one's, and its file the other's."""
    whole, parts = np.ones(1000, np.int8), np.ones(1000)
    assert compiled(parts) == 1000
    (index,) = kept(cache, "nbi")
    its = index.read_bytes()
    index.unlink()
    assert compiled(whole) == 1000
    index.write_bytes(its)
    assert compiled(parts) == 1000
    assert compiled(whole) == 1000
    assert len(kept(cache, "nbc")) == 2


@pytest.mark.parametrize("kind", ["nbi", "nbc"])
@pytest.mark.parametrize("size", [0, 40])
def test_what_was_kept_and_cut_is_compiled_anew(cache, kind, size):
    assert compiled(np.ones(3)) == 3
    (file,) = kept(cache, kind)
    whole = file.stat().st_size
    os.truncate(file, size)
    assert compiled(np.ones(3)) == 3
    assert file.stat().st_size == whole


def test_a_disk_that_is_full_when_it_comes_to_keeping_is_no_fault(cache, caplog):
    from mirage.geometry import jit

    jit._say_once.cache_clear()
    with caplog.at_level(logging.WARNING), room(100):
        assert compiled(np.ones(3)) == 3
    assert "NUMBA_CACHE_DIR" in caplog.text
    assert not kept(cache, "nbc")


NOBODY = 65534
AS_ANOTHER = f"""
import os, runpy, sys
import numba
numba.njit(lambda x: x * 2)(2)  # all of numba, from where another user may not read
os.setgroups([])
os.setgid({NOBODY})
os.setuid({NOBODY})
sys.path.insert(0, "")
runpy.run_path("kernels.py", run_name="kernels")
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may become another user")
def test_another_user_keeps_their_own_or_compiles_in_memory():
    """The source is root's, and so is what root's processes have kept beside it."""
    pytest.importorskip("numba")
    with tempfile.TemporaryDirectory() as name:  # pytest's own are for their owner alone
        folder, home = Path(name), Path(name) / "home"
        folder.chmod(0o755)
        home.mkdir()
        os.chown(home, NOBODY, NOBODY)
        (folder / "other.py").write_text(CONSTANT.format(3))
        (folder / "kernels.py").write_text(KERNEL)
        shutil.copy(Path(here.__file__).with_name("jit.py"), folder)

        def run(*command: str, home: str | Path) -> tuple[str, bool]:
            """What is printed, and whether it is told that nothing can be kept."""
            environment = {"HOME": str(home), "PATH": os.defpath, "PYTHONDONTWRITEBYTECODE": "1"}
            run = subprocess.run(
                [sys.executable, *command], cwd=folder, env=environment, capture_output=True, text=True, check=True
            )
            return run.stdout, "NUMBA_CACHE_DIR" in run.stderr

        assert run("kernels.py", home="/proc/nowhere") == ("6 0\n", False)
        assert run("-c", AS_ANOTHER, home=home) == ("6 0\n", False)
        assert run("-c", AS_ANOTHER, home=home) == ("6 1\n", False)
        assert run("-c", AS_ANOTHER, home="/proc/nowhere") == ("6 0\n", True)


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


KERNEL = """
from other import SIDE
from jit import kernel

@kernel
def area(x):
    return x * SIDE

print(area(2), sum(area.stats.cache_hits.values()))
"""
CONSTANT = "SIDE = {}\n"
USER = """
from other import used
from jit import kernel

@kernel
def twice(x):
    return 2 * used(x)

print(twice(2), sum(twice.stats.cache_hits.values()))
"""
USED = """
from jit import kernel

@kernel
def used(x):
    return below(x)

@kernel
def below(x):
    return x + {}
"""


@pytest.mark.parametrize(
    ("program", "other", "runs"),
    [
        (KERNEL, CONSTANT, [(3, "6 0\n"), (3, "6 1\n"), (7, "14 0\n")]),
        (USER, USED, [(1, "6 0\n"), (5, "14 0\n")]),  # below the kernel that is used, which is as it was
    ],
    ids=["a constant", "a kernel"],
)
def test_an_upgrade_in_place_takes_what_stands_in_another_file_now(tmp_path, program, other, runs):
    """Another file changes, and the kernel's own stays as it is, its time included."""
    pytest.importorskip("numba")
    (tmp_path / "program.py").write_text(program)
    there = {"NUMBA_CACHE_DIR": str(tmp_path / "cache"), "PYTHONDONTWRITEBYTECODE": "1",
             "PYTHONPATH": str(Path(here.__file__).parent)}  # fmt: skip
    for value, said in runs:
        (tmp_path / "other.py").write_text(other.format(value))
        command = [sys.executable, "program.py"]
        ran = subprocess.run(command, cwd=tmp_path, env=os.environ | there, capture_output=True, text=True, check=True)
        assert ran.stdout == said
