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
BOTTOM = {"errors", "files", "chunks", "units", "sampler", "request", "optional", "version"}
LAYERS: list[tuple[set[str], set[str]]] = [
    ({"geometry"}, set()),
    ({"formats"}, {"geometry"}),
    ({"memory", "depth", "models", "scenes"}, {"geometry", "formats"}),
    ({"conditioning"}, {"geometry", "formats", "memory", "depth", "models", "scenes"}),
    ({"rollout", "training"}, {"geometry", "formats", "memory", "depth", "models", "scenes", "conditioning"}),
]
_below = {"geometry", "formats", "memory", "depth", "models", "scenes", "conditioning", "rollout", "training"}
LAYERS += [
    ({"pipeline"}, _below - {"training"}),
    ({"evaluation", "explorer", "distributed"}, _below | {"pipeline"}),
    ({"cli"}, _below | {"pipeline", "evaluation", "explorer", "distributed"}),
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
    "matplotlib": "formats",
    "numba": "memory",
    "triton": "memory",
    "tyro": "cli",
    "rich": "cli",
    "skimage": "evaluation",
    "fastapi": "explorer",
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
    optional = {"matplotlib", "numba", "triton", "skimage", "viser", "ray", "lmdb", "tensorboard", "pillow_heif"}
    if path.name in ("jit.py", "zbuffer_triton.py"):
        optional -= {"numba", "triton"}  # the twins themselves, which are imported lazily
    assert not optional & {name.split(".")[0] for name in imports(path, top_level=True)}


def test_public_names_are_there_and_come_from_their_rooms():
    tree = ast.parse((SOURCE / "__init__.py").read_text())
    typed = {
        alias.asname: node.module
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module.startswith("mirage.")
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


def test_reading_cameras_does_not_load_the_model_libraries():
    code = (
        "import mirage, sys\nmirage.load_cameras, mirage.Camera, mirage.LatentSpatialMemory\n"
        "print([name for name in ('diffusers', 'transformers', 'av', 'matplotlib') if name in sys.modules])"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "[]"
