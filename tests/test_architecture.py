"""Who may import whom, which package is imported where, and what no tracked file may hold."""

import ast
import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

import mirage

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src" / "mirage"
FILES = sorted(SOURCE.rglob("*.py"))

# A room may import itself, the bottom files, and what stands here.
BOTTOM = {
    "errors",
    "files",
    "importing",
    "chunks",
    "units",
    "sampler",
    "request",
    "optional",
    "version",
    "natural",
    "kinds",
    "plugins",
}
LAYERS: list[tuple[set[str], set[str]]] = [
    ({"geometry"}, set()),
    ({"formats"}, {"geometry"}),
    ({"memory", "depth", "models", "scenes"}, {"geometry", "formats"}),
    ({"show"}, {"geometry", "formats", "memory", "depth", "models", "scenes"}),
    ({"conditioning"}, {"geometry", "formats", "memory", "depth", "models", "scenes"}),
    ({"rollout", "training"}, {"geometry", "formats", "memory", "depth", "models", "scenes", "show", "conditioning"}),
]
_below = {room for rooms, _ in LAYERS for room in rooms}
ABOVE = {"evaluation", "serve", "envs", "distributed"}
"""Siblings above rollout, each for another kind of user, that do not import each other. Most are to come."""
LAYERS += [
    ({"pipeline"}, _below - {"training"}),
    (ABOVE, _below | {"pipeline"}),
    ({"explorer"}, _below | {"pipeline", "serve"}),  # a page of the one server
    ({"cli"}, _below | {"pipeline", "explorer"} | ABOVE),
    ({"__main__"}, {"cli"}),
    ({"__init__"}, _below | {"pipeline"}),
]
MAY = {room: allowed for rooms, allowed in LAYERS for room in rooms}

HOMES = {  # a heavy package and the only place that imports it
    "diffusers": "models",
    "transformers": "models",
    "tokenizers": "models",
    "huggingface_hub": "models",
    "peft": "models",
    "accelerate": "models",
    "av": "formats",
    "lmdb": "formats",
    "pillow_heif": "formats",
    "gguf": "models",
    "matplotlib": "formats",
    "plotly": "show",
    "numba": "geometry",  # jit.py, which compiles the kernels of other rooms too
    "triton": "memory",
    "tyro": "cli",
    "rich": "cli",
    "skimage": "evaluation",
    "fastapi": "serve",
    "uvicorn": "serve",
    "websockets": "serve",
    "gymnasium": "envs",
    "ray": "distributed",
}
ALONE = {"torchvision", "torchcodec", "cv2", "scipy", "imageio"}  # in no file at all


def room(path: Path) -> str:
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def imports(path: Path, *, top_level: bool = False) -> set[str]:
    """Dotted names that a file imports, with the names that follow `from`; all of them, or those that run on import."""
    tree = ast.parse(path.read_text())
    names: set[str] = set()
    nodes = list(_on_import(tree)) if top_level else list(ast.walk(tree))
    for node in nodes:
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} has a relative import"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def _on_import(node: ast.AST):
    for child in ast.iter_child_nodes(node):
        lazy = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef)
        typing = isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test)
        if not lazy and not typing:
            yield child
            yield from _on_import(child)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_arrows(path):
    here = room(path)
    assert here in MAY or here in BOTTOM, f"{here} is a new room: say in LAYERS what it may import"
    allowed = MAY.get(here, set()) | BOTTOM | {here, "__init__"}
    used = {name.split(".")[1] for name in imports(path) if name.startswith("mirage.")}
    assert used <= allowed, f"{path.relative_to(ROOT)} imports {sorted(used - allowed)}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_no_word_of_the_command_line_in_an_error_below_it(path):
    """Who calls from Python typed no option: what is wrong is said of the thing, and the command line is one caller."""
    if room(path) in ("cli", "__main__"):
        return
    errors = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)
              and ast.unparse(node.func).endswith("Error")]  # fmt: skip
    words = [part.value for error in errors for part in ast.walk(error)
             if isinstance(part, ast.Constant) and isinstance(part.value, str)]  # fmt: skip
    assert not [said for said in words if re.search(r"(^|[^-\w])--[a-z]", said)]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_heavy_packages_live_in_one_room(path):
    for name in {name.split(".")[0] for name in imports(path)}:
        assert name not in ALONE, f"{path.relative_to(ROOT)} imports {name}"
        assert HOMES.get(name, room(path)) == room(path), f"{path.relative_to(ROOT)} imports {name}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_optional_and_slow_packages_are_imported_lazily(path):
    optional = {
        "matplotlib",
        "numba",
        "triton",
        "skimage",
        "viser",
        "ray",
        "lmdb",
        "tensorboard",
        "pillow_heif",
        "gguf",
        "plotly",
    }
    if path.name in ("jit.py", "zbuffer_triton.py"):
        optional -= {"numba", "triton"}  # the twins themselves, which are imported lazily
    assert not optional & {name.split(".")[0] for name in imports(path, top_level=True)}


MOST_LINES, MOST_PARAMETERS = 450, 10
LONG: dict[str, str] = {}  # a file that may be longer, and why
WIDE = {  # a function that may have more parameters, and why
    "memory/projection/footprint_numba.py:spread": "compiled: takes arrays, and its constants (see jit.py)",
    "memory/projection/zbuffer_numba.py:_camera": "compiled: takes arrays, and its constants (see jit.py)",
    "memory/projection/zbuffer_numba.py:nearest_to_centre": "compiled: takes arrays, and its constants (see jit.py)",
    "memory/projection/zbuffer_numba.py:_off_centre": "compiled: takes arrays, and its constants (see jit.py)",
    "memory/projection/zbuffer_numba.py:_project": "compiled: takes arrays, and its constants (see jit.py)",
    "memory/projection/zbuffer_triton.py:compete_kernel": "a Triton kernel takes pointers and sizes",
    "models/transformer.py:__init__": "diffusers' configuration: a parameter per entry of config.json",
    "pipeline.py:__call__": "diffusers' call: a parameter per argument that its users know",
    "models/world.py:__init__": "diffusers' configuration: a parameter per entry of model_index.json",
}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_a_file_has_one_subject_and_a_function_few_parameters(path):
    name, text = str(path.relative_to(SOURCE)), path.read_text()
    lines = text.count("\n")
    assert lines <= MOST_LINES or name in LONG, f"{name} has {lines} lines: split it by subject"
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            parameters = [one.arg for one in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)]
            count = len([one for one in parameters if one not in ("self", "cls")])
            wide = f"{name}:{node.name}" in WIDE
            assert wide or count <= MOST_PARAMETERS, (
                f"{name}: {node.name} has {count} parameters: which noun hides there?"
            )


def test_exceptions_are_still_there():
    for name in [*LONG, *(one.split(":")[0] for one in WIDE)]:
        assert (SOURCE / name).is_file(), f"{name} is gone: so is its exception"


def test_rooms_above_rollout_do_not_know_each_other():
    for room_ in ABOVE:
        assert not MAY[room_] & ABOVE
        assert "rollout" in MAY[room_]
    assert MAY["cli"] >= ABOVE


MADE = [ROOT / "docs" / "reference" / name for name in ("api.md", "command-line.md")]  # when the site is built


def test_what_is_cited_exists():
    """Links of the documents, and file names of this project in prose and docstrings."""
    documents = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
    lost = []
    for path in documents:
        if "log" in path.relative_to(ROOT).parts:  # which is of what was there on its day
            continue
        text = path.read_text(encoding="utf-8")
        for link in re.findall(r"\]\(([^)\s]+)\)", text):
            target = link.split("#")[0]
            if not target or re.match(r"[a-z]+:", target) or (path.parent / target).resolve() in MADE:
                continue
            if not (path.parent / target).exists():
                lost.append(f"{path.relative_to(ROOT)}: {link}")
        lost += [f"{path.relative_to(ROOT)}: {name}" for name in _lost(text, path)]
    for path in [*FILES, *(ROOT / "tests").rglob("*.py"), *(ROOT / "benchmarks").rglob("*.py")]:
        strings = [node.value for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Expr)]
        prose = "\n".join(str(one.value) for one in strings if isinstance(one, ast.Constant))
        lost += [f"{path.relative_to(ROOT)}: {name}" for name in _lost(prose, path)]
    assert not lost, "\n".join(lost)


ROOTS = ("", "src", "src/mirage", "docs", "tests", "benchmarks", "examples")
ELSEWHERE = re.compile(r"^(?:outputs|worldscore_output|mirage_tasks|clips|evaluation)/|^(?:report|gpu)\.")


def _lost(text: str, path: Path) -> list[str]:
    """Names of .py and .md files in a text that neither stand beside it nor anywhere that one would look."""
    names = set(re.findall(r"(?<![\w/.<*-])[A-Za-z_][\w/-]*\.(?:py|md)\b", text))
    everywhere = {
        one.name
        for root in ("src", "docs", "tests", "benchmarks", "examples", "recipes")
        for one in (ROOT / root).rglob("*.*")
    }
    return [
        name
        for name in sorted(names)
        if not ELSEWHERE.search(name)
        and not any((ROOT / root / name).exists() for root in ROOTS)
        and not any((parent / name).exists() or parent / name in MADE for parent in path.parents)
        and not ("/" not in name and name in everywhere)
    ]


def test_public_names_are_there_and_come_from_their_rooms():
    tree = ast.parse((SOURCE / "__init__.py").read_text())
    typed = {
        alias.asname: node.module
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("mirage.")
        for alias in node.names
    }
    assert typed.pop("__version__") == "mirage.version"  # a string, which costs nothing
    assert typed == mirage._HOMES
    for name in mirage.__all__:
        assert getattr(mirage, name).__name__ == name
    with pytest.raises(AttributeError, match="no attribute"):
        _ = mirage.nothing


def test_torchvision_works_or_is_absent():
    """PyPI's torchvision is a CUDA build: beside a CPU torch it breaks every import that looks for it."""
    if importlib.util.find_spec("torchvision") is not None:
        assert importlib.import_module("torchvision") is not None
    names = re.findall(r"^[a-z]\w+", (ROOT / "constraints.txt").read_text(), flags=re.MULTILINE)
    assert "torchvision" not in names
    assert "torchvision" not in (ROOT / "pyproject.toml").read_text()


def test_no_file_knows_this_machine():
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout.decode()
    paths = [ROOT / name for name in listed.split("\0") if name]
    assert len(paths) > 50
    secret = re.compile(r"/(?:root|home|Users|work|mnt)/\w")
    for path in paths:
        if path.suffix in (".safetensors", ".png", ".jpg", ".mp4") or not path.is_file() or path == Path(__file__):
            continue
        found = secret.search(path.read_text(encoding="utf-8", errors="ignore"))
        assert found is None, f"{path.relative_to(ROOT)} has the path {found and found[0]!r}"


@pytest.mark.parametrize("statement", ["import mirage", "import mirage.cli", "import mirage; dir(mirage)"])
def test_nothing_heavy_is_imported_before_it_is_needed(statement):
    heavy = ["torch", "numpy", "diffusers", "transformers", "av", "PIL", "matplotlib", "numba", "rich.progress"]
    code = f"{statement}\nimport sys\nprint([name for name in {heavy} if name in sys.modules])"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "[]"


def test_help_imports_nothing_heavy():
    code = (
        "from mirage.cli import main\nimport sys\ncode = main(['generate', '--help'])\n"
        "assert code == 0 and not {'torch', 'numpy', 'diffusers'} & set(sys.modules), sorted(sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0


@pytest.mark.parametrize("collects", [True, False])
@pytest.mark.parametrize("name", ["Camera", "nothing_of_that_name"])
def test_importing_leaves_the_garbage_collector_as_it_was(collects, name):
    """Off while torch and diffusers are imported (`mirage.importing`); how it was before is its owner's choice."""
    code = (
        f"import gc, mirage, mirage.importing\nif not {collects}: gc.disable()\n"
        f"try: mirage.importing.imported('mirage.geometry.{name.lower()}')\nexcept ImportError: pass\n"
        f"assert gc.isenabled() is {collects}"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0


def test_no_garbage_is_looked_for_while_a_command_is_imported():
    code = (
        "import gc, sys\nfrom mirage.cli import main\nseen = []\n"
        "class Finder:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name in ('torch', 'diffusers', 'transformers'): seen.append(gc.isenabled())\n"
        "sys.meta_path.insert(0, Finder())\n"
        "code = main(['generate', '--image', 'no.png', '--trajectory', 'orbit', '--out', 'no.mp4'])\n"
        "assert code == 2 and seen and not any(seen) and gc.isenabled(), (code, len(seen), sum(seen))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr


def test_reading_cameras_does_not_load_the_model_libraries():
    code = (
        "import mirage, sys\nmirage.load_cameras, mirage.Camera, mirage.LatentSpatialMemory\n"
        "print([name for name in ('diffusers', 'transformers', 'av', 'matplotlib') if name in sys.modules])"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "[]"
