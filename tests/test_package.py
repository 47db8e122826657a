"""What is published: a whole source distribution, a wheel with all of its data, which runs where nobody can write; and
the workflow that publishes it.

Built by setuptools itself and installed without an index, so nothing is downloaded.
"""

import ast
import ctypes
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest
import yaml

import mirage
from mirage.cli import main
from mirage.errors import InputError
from mirage.memory.projection.zbuffer import twin
from mirage.optional import EXTRAS, SAME_NAME, install, optional
from mirage.version import DISTRIBUTION

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
WORDS = {".md", ".py", ".toml", ".txt", ".cff", ".yml", ".yaml", ".sh", ".ipynb", ""}
"""Suffixes of files that people read."""
PR_CAPBSET_DROP, CAP_DAC_OVERRIDE = 24, 1


@pytest.fixture(scope="module")
def tracked() -> list[str]:
    run = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False)
    if run.returncode:
        pytest.skip("no git repository here, as in an unpacked source distribution")
    return [name for name in run.stdout.decode().split("\0") if name and (ROOT / name).is_file()]


@pytest.fixture(scope="module")
def built(tracked, tmp_path_factory) -> Path:
    """The source distribution of what is tracked, and the wheel that is made from that and from nothing else."""
    tree, out = tmp_path_factory.mktemp("tree"), tmp_path_factory.mktemp("built")
    for name in tracked:
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, tree / name)
    _setuptools("build_sdist", tree, out)
    with tarfile.open(next(out.glob("*.tar.gz"))) as archive:
        archive.extractall(out / "unpacked", filter="data")
    _setuptools("build_wheel", next((out / "unpacked").iterdir()), out)
    return out


@pytest.fixture(scope="module")
def fresh(built, tmp_path_factory) -> Path:
    """A new environment with the wheel in it. The dependencies are the tests' own; our src is not to be seen."""
    folder = tmp_path_factory.mktemp("fresh")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    wheel = next(built.glob("*.whl"))
    pip = [sys.executable, "-m", "pip", "--python", folder / "bin" / "python", "install", "--quiet", "--no-compile"]
    subprocess.run([*pip, "--no-index", "--no-deps", "--disable-pip-version-check", wheel], check=True)
    site = next(folder.glob("lib/python*/site-packages"))
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return folder


def test_the_source_distribution_is_whole(built, tracked):
    unpacked = next((built / "unpacked").iterdir())
    missing = [name for name in tracked if not (unpacked / name).is_file()]
    assert not missing, f"MANIFEST.in leaves out {missing}"
    assert "Makefile" in tracked
    assert "constraints.txt" in tracked


def test_the_wheel_holds_the_package_and_all_of_its_data(built, tracked):
    with zipfile.ZipFile(next(built.glob("*.whl"))) as wheel:
        inside = {name for name in wheel.namelist() if not name.split("/")[0].endswith(".dist-info")}
        sizes = {name: wheel.getinfo(name).compress_size for name in inside}
    assert inside == {name.removeprefix("src/") for name in tracked if name.startswith("src/")}
    assert "mirage/py.typed" in inside
    assert sum(sizes.values()) < 40e6
    weights = sum(size for name, size in sizes.items() if name.endswith(".safetensors"))
    assert weights > 0.9 * sum(sizes.values()), "the README says that nearly all of the wheel are weights"


def test_the_first_chunk_of_the_demo_runs_from_the_wheel(fresh, tmp_path):
    words = ["demo", "--chunks", "1", "--steps", "1", "--seed", "5", "--out", "demo"]
    run = _run([fresh / "bin" / "mirage", *words], tmp_path, {})
    assert run.returncode == 0, run.stderr[-2000:]
    assert (tmp_path / "demo" / "demo.png").is_file()
    assert f'"mirage": "{mirage.__version__}"' in (tmp_path / "demo" / "receipt.json").read_text(encoding="utf-8")
    where = _run([fresh / "bin" / "python", "-P", "-c", "import mirage; print(mirage.__file__)"], tmp_path, {})
    assert where.stdout.startswith(str(fresh))


def test_nothing_needs_to_be_written_where_the_package_lies(fresh, tmp_path):
    """The installed tree is somebody else's, there is no home, and so no place for compiled code."""
    for cache in [path for path in fresh.rglob("__pycache__") if "mirage" in path.parts]:
        shutil.rmtree(cache)
    for path in [fresh, *fresh.rglob("*")]:
        if not path.is_symlink():
            path.chmod(path.stat().st_mode & ~0o222)
    code = (
        "import torch, mirage\nfrom mirage.memory.projection.zbuffer import twin\ntwin('numba')\n"
        "memory, camera = mirage.LatentSpatialMemory(4), mirage.Camera.looking()[None]\n"
        "memory.write(torch.ones(1, 4, 6, 8), mirage.DepthMap(torch.full((1, 6, 8), 2.0)), camera)\n"
        "assert memory.read(camera, grid=(6, 8)).mask.all()"
    )
    homeless = {"HOME": "/proc/nowhere", "XDG_CACHE_HOME": "/proc/nowhere"}
    run = _run([fresh / "bin" / "python", "-P", "-c", code], tmp_path, homeless, preexec_fn=_obey_permissions)
    assert run.returncode == 0, run.stderr[-2000:]
    assert not [path for path in fresh.rglob("__pycache__") if "mirage" in path.parts], "the tree could be written"


def test_one_version_everywhere(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"mirage {mirage.__version__}\n"
    assert PROJECT["name"] == DISTRIBUTION
    assert "version" in PROJECT["dynamic"]
    cited = re.search(r"^version: (.*)$", (ROOT / "CITATION.cff").read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert cited is not None
    assert cited[1] == mirage.__version__


def test_workflows_make_what_can_be_made():
    made = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE))
    for file in (ROOT / ".github" / "workflows").iterdir():
        for job in yaml.safe_load(file.read_text(encoding="utf-8"))["jobs"].values():
            for command in [step["run"] for step in job["steps"] if "run" in step]:
                for words in re.findall(r"\bmake ([\w -]+)", command):
                    assert set(words.split()) <= made, f"{file.name}: make {words}"


def test_a_release_is_of_the_version_and_holds_all_with_its_sums(built, tmp_path):
    """Its own lines, with a gh that says what it was given."""
    file = ROOT / ".github" / "workflows" / "release.yml"
    steps = yaml.safe_load(file.read_text(encoding="utf-8"))["jobs"]["release"]["steps"]
    lines = {step.get("name", step.get("run")): step["run"] for step in steps if "run" in step}
    assert list(lines) == ["The tag is the version", "make audit", "make dist sbom", "Sums", "Publish"]
    assert not [step for step in steps if "if" in step or "continue-on-error" in step], "nothing goes on after a fault"
    (tmp_path / "sbom.json").write_text("{}")
    for name in [*built.glob("*.whl"), *built.glob("*.tar.gz")]:
        shutil.copyfile(name, tmp_path / name.name)
    (tmp_path / "gh").write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    (tmp_path / "gh").chmod(0o755)

    def run(step: str, folder: Path, tag: str = f"v{mirage.__version__}") -> subprocess.CompletedProcess[str]:
        how = {"GITHUB_REF_NAME": tag, "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"}
        return _run(["bash", "-eo", "pipefail", "-c", lines[step]], folder, how)  # as GitHub runs them

    codes = [run("The tag is the version", ROOT, tag).returncode for tag in (f"v{mirage.__version__}", "v99.0", "v")]
    assert codes == [0, 1, 1]
    assert run("Sums", tmp_path).returncode == 0
    *_, wheel, source, bill, sums = run("Publish", tmp_path).stdout.split()
    assert (Path(wheel).suffix, source[-7:], bill, sums) == (".whl", ".tar.gz", "sbom.json", "SHA256SUMS")
    checked = _run(["sha256sum", "--check", "--strict", "SHA256SUMS"], tmp_path, {})
    assert checked.stdout.splitlines() == [f"{name}: OK" for name in (wheel, source, bill)]


def test_nobody_is_told_to_install_a_strangers_package(tracked):
    """On PyPI `mirage` is somebody else's."""
    # our name, as a requirement: followed by no letter of a longer name, and not the command or the import
    strangers = re.compile(r"(?:pip|uv|pipx|conda)\s+(?:\w+\s+)*(?:-\S+\s+)*install\b[^\n`]*?[\s'\"]mirage(?![\w/.-])")
    extras = re.compile(r"\bmirage\[[a-z,]+\]")
    assert strangers.search("pip install mirage")
    assert strangers.search("pip install -U 'mirage[quantize]'")
    assert not strangers.search("pip install mirage-world")
    for name in tracked:
        if Path(name).suffix in WORDS and name != "tests/test_package.py":
            text = (ROOT / name).read_text(encoding="utf-8")
            for rule in (strangers, extras):
                found = rule.search(re.sub(r"\n\s*(?=['\"]?mirage)", " ", text))
                assert found is None, f"{name} says {found and found[0]!r}; ours is {DISTRIBUTION}"


def test_importing_every_file_warns_of_nothing_of_ours():
    code = (
        "import importlib, pkgutil, warnings\n"
        "warnings.filterwarnings('error', module=r'mirage(\\..*)?$')\n"
        "import mirage\n"
        "for found in pkgutil.walk_packages(mirage.__path__, 'mirage.'):\n"
        "    if not found.name.endswith(('_triton', '_numba', '__main__')):\n"
        "        importlib.import_module(found.name)\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr[-2000:]


def test_every_optional_package_is_one_of_ours_or_says_what_to_install():
    """Whatever src imports is required, of the standard library, or known to `mirage.optional`."""
    required = {re.split(r"[<>=\[ ]", name)[0].lower() for name in PROJECT["dependencies"]}
    required = {{"pillow": "PIL"}.get(name, name) for name in required}
    with_those = {"tokenizers", "huggingface_hub", "pydantic", "starlette"}  # come with transformers and fastapi
    elsewhere = {"depth_anything_3", "mapanything"}  # on no index: `install` says to look at their repositories
    known = required | with_those | elsewhere | set(EXTRAS) | set(SAME_NAME) | set(sys.stdlib_module_names) | {"mirage"}
    for path in (ROOT / "src").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            for name in names:
                assert name.split(".")[0] in known, f"{path.name} imports {name}: name it in mirage/optional.py"
    extras = PROJECT["optional-dependencies"]
    for module, extra in EXTRAS.items():
        package = {"skimage": "scikit-image", "pillow_heif": "pillow-heif"}.get(module, module)
        assert any(requirement.startswith(package) for requirement in extras[extra])
        assert install(module) == f"pip install '{DISTRIBUTION}[{extra}]'"


@pytest.mark.parametrize("module", [*EXTRAS, *SAME_NAME, "depth_anything_3"])
def test_a_package_that_is_missing_says_what_to_install(module, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    with (
        pytest.raises(InputError, match=rf"^this needs the package {module} \(.*\); .*install"),
        optional(module, wanted="this"),
    ):
        __import__(module)


@pytest.mark.parametrize("backend", ["numba", "triton"])
def test_a_backend_without_its_package_says_what_to_install(backend, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, backend, None)
    for name in (f"memory.projection.zbuffer_{backend}", "geometry.jit"):
        monkeypatch.delitem(sys.modules, f"mirage.{name}", raising=False)
    with pytest.raises(InputError, match=f"backend {backend} needs the package {backend} .* pip install"):
        twin(backend)
    if backend == "numba":
        assert main(["bench", "memory", "--points", "1", "--repeats", "1"]) == 2
        assert f"pip install '{DISTRIBUTION}[fast]'" in capsys.readouterr().err


def _setuptools(what: str, tree: Path, out: Path) -> None:
    code = f"import sys\nfrom setuptools import build_meta\nbuild_meta.{what}(sys.argv[1])"
    run = subprocess.run([sys.executable, "-c", code, out], cwd=tree, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr[-2000:]


def _run(command: list, folder: Path, more: dict[str, str], **how) -> subprocess.CompletedProcess[str]:
    hidden = ("PYTHONPATH", "NUMBA_CACHE_DIR", "MIRAGE_ZBUFFER")
    environment = {key: value for key, value in os.environ.items() if key not in hidden} | more
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False, **how)


def _obey_permissions() -> None:
    """Root may write everywhere; a process that root starts without this capability may not."""
    if os.geteuid() == 0:
        ctypes.CDLL(None, use_errno=True).prctl(PR_CAPBSET_DROP, CAP_DAC_OVERRIDE, 0, 0, 0)
