"""What ships: metadata that agree, an import that is light, and no stranger's `solvers` taken for ours."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import meanfield
from meanfield._version import __version__

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
FOLDERS = ("meanfield", "solvers", "figures", "tests", "benchmarks", ".ci")
TOP = (
    "README.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "CITATION.cff",
    "LICENSE",
    "pyproject.toml",
    "constraints.txt",
    ".gitignore",
)


def version_of(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", text)[:3])


def pins() -> dict[str, str]:
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if line and line[0] != "#"]
    found = {}
    for line in lines:
        match = re.fullmatch(r"([A-Za-z0-9_.-]+)==([0-9][A-Za-z0-9.]*)", line)
        assert match, f"constraints.txt: {line!r} is not NAME==VERSION"
        found[re.sub(r"[-_.]+", "-", match[1]).lower()] = match[2]
    return found


def test_versions_agree() -> None:
    assert meanfield.__version__ == __version__
    assert f"\nversion: {__version__}\n" in (ROOT / "CITATION.cff").read_text()
    assert re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)[1] == __version__


def test_constraints_pin_what_is_asked_for() -> None:
    project = PROJECT["project"]
    # The rivals of the benchmarks are compared with in whatever version is there.
    extras = [rows for extra, rows in project["optional-dependencies"].items() if extra != "bench"]
    asked = [*project["dependencies"], *sum(extras, [])]
    pinned = pins()
    for requirement in asked:
        name, _, lowest = requirement.partition(">=")
        assert version_of(pinned[name.lower()]) >= version_of(lowest), requirement


def test_no_place_of_ours_is_committed() -> None:
    """No folder of the machine and no registry's host; the words are put together here so as not to be found."""
    words = ["/" + name + "/" for name in ("wo" + "rk", "ro" + "ot", "ho" + "me")]
    words += ["pypi" + ".org", "files.python" + "hosted", "index" + "-url", "find" + "-links"]
    files = [ROOT / name for name in TOP]
    for folder in FOLDERS:
        files += [path for path in (ROOT / folder).rglob("*") if path.is_file()]
    text_kinds = {".py", ".md", ".toml", ".txt", ".cff", ".cfg", ".csv", ".json", ".yml", ""}
    for path in files:
        if path.suffix in text_kinds and "__pycache__" not in path.parts:
            text = path.read_text(encoding="utf-8")
            assert not [word for word in words if word in text], path


def test_packages_are_typed_and_the_template_ships() -> None:
    for package in PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]:
        assert (ROOT / package / "py.typed").is_file()
        assert (ROOT / package / "__init__.py").is_file()
    assert (Path(meanfield.__file__).parent / "_cli" / "new_figure.txt").is_file()


def test_readme_commands() -> None:
    """The first two bash blocks install and run from a clone; `.ci/run` runs them as they stand."""
    blocks = re.findall(r"^```bash\n(.*?)^```", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    first, second = blocks[:2]
    for block in (first, second):
        assert "python3 -m venv .venv" in block and "-c constraints.txt" in block
    assert re.search(r"\.venv/bin/meanfield figure [a-z0-9_]+\s*$", first)
    assert re.search(r"\.venv/bin/python -m pytest -n 2\s*$", second) and ".[test]" in second


@pytest.mark.skipif(sys.platform == "win32", reason="bash")
def test_ci_script_is_sound() -> None:
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    subprocess.run(["bash", "-n", str(script)], check=True)


# Import -----------------------------------------------------------------------------------------------------


def python(code: str, *, cwd: Path, path: Path | None = None) -> subprocess.CompletedProcess[str]:
    parts = [str(part) for part in (path, ROOT) if part is not None]
    return subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(parts)},
        stdin=subprocess.DEVNULL,
    )


@pytest.mark.parametrize("package", ["solvers", "meanfield", "meanfield.cli", "meanfield.gallery"])
def test_import_is_light(package: str, tmp_path: Path) -> None:
    heavy = [
        "matplotlib",
        "ot",
        "tqdm",
        "pandas",
        "xarray",
        "sklearn",
        "scipy.optimize",
        "scipy.stats",
        "scipy.sparse",
    ]
    code = f"import sys, {package}; print([name for name in {heavy} if name in sys.modules])"
    done = python(code, cwd=tmp_path)
    assert done.stdout.strip() == "[]", done.stdout + done.stderr


def test_solvers_knows_nothing_above_it(tmp_path: Path) -> None:
    code = (
        "import sys, solvers; print([n for n in sys.modules if n.split('.')[0] in ('meanfield', 'figures')])"
    )
    assert python(code, cwd=tmp_path).stdout.strip() == "[]"


def refusal(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode != 0
    return done.stderr.strip().splitlines()[-1]


def test_a_foreign_solvers_is_named_and_not_run(tmp_path: Path) -> None:
    foreign = tmp_path / "foreign" / "solvers"
    foreign.mkdir(parents=True)
    (foreign / "__init__.py").write_text("print('the stranger ran')\n")
    done = python("import meanfield", cwd=tmp_path, path=foreign.parent)
    assert "the stranger ran" not in done.stdout
    last = refusal(done)
    assert last.startswith("ImportError: ") and str(foreign) in last and "meanfield-nets" in last

    # A script of the user's called solvers.py, beside the program that imports meanfield.
    (tmp_path / "solvers.py").write_text("print('the stranger ran')\n")
    done = python("import meanfield", cwd=tmp_path)
    assert "the stranger ran" not in done.stdout and "solvers.py" in refusal(done)

    # Already imported under that name.
    last = refusal(python("import solvers, meanfield", cwd=tmp_path, path=foreign.parent))
    assert last.startswith("ImportError: ") and "rename or uninstall" in last


def copy_of_shadow(tmp_path: Path, solvers: str | None) -> subprocess.CompletedProcess[str]:
    """`_shadow.check` in an installation whose `solvers` is what is given."""
    package = tmp_path / "site" / "meanfield"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("from meanfield import _shadow\n_shadow.check()\n")
    (package / "_shadow.py").write_text((ROOT / "meanfield" / "_shadow.py").read_text())
    if solvers is not None:
        (tmp_path / "site" / "solvers").mkdir()
        (tmp_path / "site" / "solvers" / "__init__.py").write_text(solvers)
    code = "import sys; sys.path = [p for p in sys.path if 'site' in p or 'lib' in p]; import meanfield"
    return subprocess.run(
        [sys.executable, "-S", "-c", f"import sys; sys.path.insert(0, 'site'); {code}"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={key: value for key, value in os.environ.items() if key != "PYTHONPATH"},
    )


def test_an_overwritten_solvers_is_named(tmp_path: Path) -> None:
    last = refusal(copy_of_shadow(tmp_path, "x = 1\n"))
    assert last.startswith("ImportError: ") and "overwritten" in last and "force-reinstall" in last


def test_a_missing_solvers_is_named(tmp_path: Path) -> None:
    last = refusal(copy_of_shadow(tmp_path, None))
    assert last.startswith("ImportError: ") and "missing" in last and "force-reinstall" in last


def test_our_own_solvers_passes(tmp_path: Path) -> None:
    done = copy_of_shadow(tmp_path, '__project__ = "meanfield-nets"\n')
    assert done.returncode == 0, done.stderr
