"""What is handed on: the source distribution has all that is kept, the wheel the package alone."""

import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from importlib.metadata import version
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
LEFT_OUT = {".gitignore"}


def kept_files() -> list[str]:
    """What version control has."""
    try:
        done = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("needs git")
    if done.returncode:
        pytest.skip("no checkout")
    return [name for name in done.stdout.splitlines() if (ROOT / name).is_file() and name not in LEFT_OUT]


def test_the_source_distribution_has_all_files_and_the_wheel_the_package(tmp_path):
    pytest.importorskip("setuptools", minversion="69", reason="needs setuptools")
    names = kept_files()
    copy = tmp_path / "copy"
    for name in names:
        place = copy / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(ROOT / name)
    code = "from setuptools import build_meta; build_meta.build_sdist('out'); build_meta.build_wheel('out')"
    done = subprocess.run([sys.executable, "-c", code], cwd=copy, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    (source,), (wheel,) = (copy / "out").glob("*.tar.gz"), (copy / "out").glob("*.whl")
    with tarfile.open(source) as file:
        inside = {name.partition("/")[2] for name in file.getnames()}
    assert not set(names) - inside
    with zipfile.ZipFile(wheel) as file:
        inside = {name.removeprefix("pyrogrn/") for name in file.namelist() if name.startswith("pyrogrn/")}
        others = {name.partition("/")[0] for name in file.namelist()} - {"pyrogrn"}
    code_files = {name for name in names if name.endswith(".py") and not name.startswith(("tests/", "notebooks/"))}
    assert not code_files - inside
    assert not [name for name in inside if name.startswith(("tests/", "docs/", "notebooks/", "experiments/results/"))]
    assert {name for name in names if "/trained/" in name} <= inside
    assert [name for name in others if not name.endswith(".dist-info")] == []


def test_the_command_is_that_of_the_package():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["scripts"] == {"pyrogrn": "pyrogrn.experiments.entry:main"}
    assert project["version"] in (ROOT / "CHANGELOG.md").read_text()


def test_the_example_of_a_workflow_calls_what_there_is():
    workflow = yaml.safe_load((ROOT / "docs" / "ci" / "workflow.yml").read_text())
    targets = re.findall(r"^([a-z-]+(?: [a-z-]+)*):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    known = {name for line in targets for name in line.split()}
    called = set()
    for job in workflow["jobs"].values():
        rows = job.get("strategy", {}).get("matrix", {}).get("include", [{}])
        runs = [step["run"] for step in job["steps"] if "run" in step]
        called |= {run.replace("${{ matrix.target }}", row.get("target", "")) for run in runs for row in rows}
    assert called == {f"make {name}" for name in ("lint", "types", "test", "test-oldest", "test-newest", "docs")}
    assert {run.removeprefix("make ") for run in called} <= known


def test_the_upper_bound_has_its_reason_still():
    """`matplotlib<3.11` is for arviz-plots 0.8, which 3.11 breaks: when this fails, try without the bound."""
    assert version("arviz-plots").startswith("0.8"), (
        "a newer arviz-plots: try without `matplotlib<3.11` in pyproject.toml"
    )
    bounds = [
        entry
        for entry in tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
        if "<" in entry
    ]
    assert [entry.split(">")[0] for entry in bounds] == ["matplotlib"], (
        "an upper bound without a test that says when it can go"
    )
