"""The command in every kind of terminal: ASCII, Latin-1, colours, closed or full streams, Ctrl-C before it has begun.

Never a traceback, one line where something is wrong, and the exit code that `mirage.cli` promises.
"""

import os
import pty
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import mirage as mirage_package
from mirage.cli import main
from mirage.cli.arguments import COMMANDS
from mirage.memory import LatentSpatialMemory
from mirage.memory.statefile import write_state

HELPS = [(), *{tuple(module.split("_")) if module.startswith("bench") else (module,) for module in COMMANDS.values()}]
WRONG = "generate --image none.png --trajectory orbit --out walk.mp4"
NUMBERS = {
    f"{WRONG} --steps many": "--steps: expected a whole number, got 'many'",
    f"{WRONG} --seed 1e400": "--seed: expected a whole number, got '1e400'",
    f"{WRONG} --seed 1.5": "--seed: expected a whole number, got '1.5'",
    f"{WRONG} --frames -3x": "--frames: expected a whole number, got '-3x'",
    f"{WRONG} --seed {'9' * 5000}": f"got '{'9' * 40}' and 4960 characters more (see",
    f"{WRONG} --fov wide": "--fov: expected a number, got 'wide'",
    "bench memory --points 10 x": "--points: expected a whole number, got 'x'",
    "bench memory --repeats 0x7": "--repeats: expected a whole number, got '0x7'",
    "camera path.txt --size 3 x": "--size: expected a whole number, got 'x'",
}


def mirage(
    *words: str, closed: str = "", encoding: str = "utf-8", term: str = "dumb", **how
) -> subprocess.CompletedProcess[bytes]:
    """The command in a process of its own, with some of its streams closed ("<&- >&- 2>&-")."""
    given = {"PYTHONIOENCODING": encoding, "TERM": term}
    shell = f'exec "$@" {closed}'
    command = ["sh", "-c", shell, "sh", sys.executable, "-m", "mirage", *words]
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | how
    return subprocess.run(command, env={**os.environ, **given}, check=False, timeout=120, **pipes)


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_help_is_printed_in_every_terminal(encoding):
    """One process for all helps: the encoding is the process's, and so is the time to start it."""
    code = f"import sys\nfrom mirage.cli import main\nfor words in {HELPS!r}: assert main([*words, '--help']) == 0"
    run = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "PYTHONIOENCODING": encoding}, capture_output=True, check=False
    )
    assert (run.returncode, run.stderr) == (0, b"")
    said = run.stdout.decode("ascii")
    assert all(f"usage: mirage {' '.join(words)}".rstrip() in said for words in HELPS)
    assert "* generate" in said, "a bullet is written in plain letters"


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_names_are_told_apart_in_every_terminal(encoding):
    """A message names the thing exactly: what the terminal does not have is escaped and not left out."""
    run = mirage("wände-世界", os.fsdecode(b"\xff"), encoding=encoding)
    said = run.stderr.decode(encoding)
    assert run.returncode == 2
    assert said.count("\n") == 1
    first = "wände" if encoding != "ascii" else r"w\xe4nde"
    second = "世界" if encoding == "utf-8" else r"\u4e16\u754c"
    assert said.startswith(f"mirage: Unrecognized options: {first}-{second}, ")
    assert r"\udcff" in said


def test_what_is_printed_is_plain_where_it_has_to_be():
    code = (
        "from mirage.cli.streams import steady\nimport sys\n"
        "with steady():\n    print('96 ± 2 × 3 – \\u4e16 \\udcff')\nprint(sys.stdout.errors)"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "PYTHONIOENCODING": "ascii"}, capture_output=True, check=True
    )
    assert run.stdout.decode().splitlines() == [r"96 +/- 2 x 3 - \u4e16 \udcff", "strict"]


@pytest.mark.parametrize("typed", NUMBERS)
def test_a_number_that_is_no_number_says_so(typed, capsys):
    assert main(typed.split()) == 2
    said = capsys.readouterr().err
    assert NUMBERS[typed] in said
    assert said.count("\n") == 1
    assert "invalid literal" not in said


def test_mistakes_are_one_line_in_plain_and_in_colours():
    """tyro's box is drawn with lines, without, and in colours: the words in it are the same."""
    lines = {mirage("nonsense", encoding=encoding).stderr for encoding in ("ascii", "utf-8")}
    ours, terminal = pty.openpty()
    lines.add(mirage("nonsense", stdout=terminal, term="xterm").stderr)
    os.close(terminal)
    os.close(ours)
    assert lines == {b"mirage: Unrecognized options: nonsense (see mirage --help)\n"}


@pytest.mark.parametrize(
    ("typed", "said"),
    {
        "inspect W --pictur x": "Unrecognized options: --pictur, x (see mirage inspect --help)",  # train has --pictures
        "bench memory --foo": "Unrecognized options: --foo (see mirage bench --help)",
        "evaluate re10k": "Missing from mirage evaluate re10k: FOLDER (see mirage evaluate re10k --help)",
        "evaluate real -x": "Missing value for argument 'frames'. Expected 1 values. (see mirage evaluate real --help)",
        "train": "Missing from mirage train: --recipe NAME|MODULE:FUNCTION --out FOLDER (see mirage train --help)",
        "--foo": "Unrecognized options: --foo (see mirage --help)",
    }.items(),
)
def test_a_mistake_names_what_is_missing_and_the_help_of_its_own_command(typed, said, capsys):
    assert main(typed.split()) == 2
    assert capsys.readouterr().err == f"mirage: {said}\n"


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_streams_change_no_exit_code(closed):
    helped = mirage("generate", "--help", closed=closed)
    assert (helped.returncode, helped.stderr) == (0, b"")
    wrong = mirage("nonsense", closed=closed)
    assert (wrong.returncode, wrong.stdout) == (2, b"")
    assert wrong.stderr.count(b"\n") == ("2>&-" not in closed)


def test_what_is_printed_goes_into_no_file_that_is_opened_later(tmp_path):
    """With stdout closed the next file that is opened would get its number."""
    code = (
        "import os, sys\nfrom mirage.cli.streams import steady\nwith steady():\n    file = open(sys.argv[1], 'w')\n"
        "    print('to people', flush=True)\n    os.write(1, b'by a library in C')\n    assert file.fileno() > 2\n"
    )
    command = ["sh", "-c", 'exec "$@" >&-', "sh", sys.executable, "-c", code, str(tmp_path / "video")]
    assert subprocess.run(command, check=False).returncode == 0
    assert (tmp_path / "video").read_bytes() == b""


@pytest.mark.parametrize("words", ["--version", "generate --help"])
def test_a_full_stdout_is_one_line(words):
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    with open("/dev/full", "wb") as full:
        run = mirage(*words.split(), stdout=full)
        assert (run.returncode, run.stderr) == (2, b"mirage: No space left on device\n")
        assert mirage(*words.split(), stdout=full, stderr=full).returncode == 2


@pytest.mark.parametrize(("stream", "words", "code"), [("stdout", "--help", 141), ("stderr", "nonsense", 2)])
def test_nobody_who_reads_is_no_fault(stream, words, code):
    reads, writes = os.pipe()
    os.close(reads)
    streams: dict[str, Any] = {stream: writes}
    run = mirage(words, **streams)
    os.close(writes)
    assert run.returncode == code
    assert not run.stderr


@pytest.mark.parametrize(
    ("package", "hidden", "number"),
    [
        ("mirage.cli.streams", "", signal.SIGINT),
        ("tyro", "ImportError('libbroken.so: undefined symbol')", signal.SIGINT),
        ("torch", "", signal.SIGTERM),
        ("torch", "ImportError('libbroken.so: undefined symbol')", signal.SIGTERM),
        ("torch", "ValueError('could not determine the shape of a storage')", signal.SIGINT),
        ("torch", "__import__('mirage').InputError('w.safetensors is damaged')", signal.SIGTERM),
    ],
)
def test_a_signal_while_packages_are_imported_is_one_line(package, hidden, number):
    """A package that sends it when it is imported; hidden: and makes something else of it."""
    run = _stopped_in(package, hidden, number)
    assert (run.returncode, run.stderr) == (128 + number, b"mirage: stopped\n")


def test_a_folder_that_is_gone_is_one_line(tmp_path):
    command = ["sh", "-c", 'rmdir "$PWD" && exec "$@"', "sh", sys.executable, "-P", "-m", "mirage", *WRONG.split()]
    (gone := tmp_path / "gone").mkdir()
    source = str(Path(mirage_package.__file__).parents[1])
    run = subprocess.run(command, cwd=gone, env={**os.environ, "PYTHONPATH": source}, capture_output=True, check=False)
    assert (run.returncode, run.stderr.count(b"\n")) == (2, 1), run.stderr
    assert b"typed in is gone" in run.stderr


LOST = """
import os, signal, time
from mirage.cli.stopping import stoppable, terminable

class Gone:
    def __init__(self, number): self.number = number
    def __del__(self): os.kill(os.getpid(), self.number)  # raises, and what is raised here goes nowhere

for answering in (stoppable, terminable):
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            with answering():
                Gone(number)
                time.sleep(60)
        except KeyboardInterrupt as stop:
            print(answering.__name__, type(stop).__name__)
"""


def test_a_signal_where_nothing_can_be_raised_is_not_lost():
    """LLVM calls Python when it keeps a kernel, and garbage ends anywhere: stops were lost there, and work went on."""
    run = subprocess.run([sys.executable, "-c", LOST], capture_output=True, text=True, check=False, timeout=300)
    said = [f"{name} {stop}" for name in ("stoppable", "terminable") for stop in ("KeyboardInterrupt", "Terminated")]
    assert (run.stdout.splitlines(), run.stderr) == (said, "")


@pytest.mark.parametrize("number", [1, 2])
def test_a_signal_while_a_world_is_read_is_one_line(number, tmp_path):
    """torch makes a ValueError of the second (findings/ctrl-c-while-safetensors-reads-is-a-valueerror.sh)."""
    memory = LatentSpatialMemory(2)
    write_state(tmp_path / "w.safetensors", *memory.state(), extra_tensors={"latents": torch.zeros(3, 4)})
    code = (
        "import os, signal, sys\nfrom mirage.cli import main\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\nasked = []\n"
        "def look(frame, event, _):\n"
        "    code = frame.f_code\n"
        "    if event == 'call' and code.co_name == '__getitem__' and code.co_filename.endswith('torch/storage.py'):\n"
        "        asked.append(frame)\n"
        f"        if len(asked) == {number}: os.kill(os.getpid(), signal.SIGINT)\n"
        "sys.setprofile(look)\n"
        f"code = main(['inspect', {str(tmp_path / 'w.safetensors')!r}])\n"
        "sys.setprofile(None)\n"
        "assert asked\nsys.exit(code)\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False, timeout=120)
    assert (run.returncode, run.stderr) == (130, b"mirage: stopped\n")


def test_what_a_disk_refuses_after_a_signal_is_told():
    run = _stopped_in("torch", "OSError(28, 'No space left on device')", signal.SIGINT)
    assert (run.returncode, run.stderr) == (2, b"mirage: No space left on device\n")


def _stopped_in(package: str, hidden: str, number: int) -> subprocess.CompletedProcess[bytes]:
    stop = f"import os, signal\nos.kill(os.getpid(), {number:d})\nimport time\ntime.sleep(5)\n"
    if hidden:
        stop = "try:\n" + "".join(f"    {line}\n" for line in stop.splitlines())
        stop += f"except KeyboardInterrupt:\n    raise {hidden}\n"
    code = (
        "import sys, signal, importlib.abc, importlib.machinery, importlib.util\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "class Stop(importlib.abc.MetaPathFinder, importlib.abc.Loader):\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        return importlib.machinery.ModuleSpec(name, self) if name == {package!r} else None\n"
        f"    def exec_module(self, module): exec({stop!r})\n"
        "sys.meta_path.insert(0, Stop())\n"
        "from mirage.cli import main\n"
        f"sys.exit(main({WRONG.split()!r}))\n"
    )
    return subprocess.run([sys.executable, "-c", code], capture_output=True, check=False, timeout=120)


def test_a_package_that_is_broken_keeps_its_traceback(tmp_path):
    (tmp_path / "tyro.py").write_text("raise ImportError('libbroken.so: undefined symbol')\n")
    run = subprocess.run(
        [sys.executable, "-c", "from mirage.cli import main; main(['--help'])"],
        env={**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"},
        capture_output=True,
        check=False,
    )
    assert run.returncode == 1
    assert b"undefined symbol" in run.stderr
    assert b"Traceback" in run.stderr
