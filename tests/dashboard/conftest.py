"""A real run that the dashboard's tests look at; each test that decides takes a copy."""

import shutil

import pytest

import audit
from audit import ScanOptions, demo


@pytest.fixture(scope="session")
def demo_run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dashboard")
    demo.make(folder / "images")
    return audit.scan(folder / "images", folder / "run", options=ScanOptions(backbone="embedded", device="cpu")).path


@pytest.fixture
def own_run(demo_run, tmp_path):
    shutil.copytree(demo_run, tmp_path / "run")
    return tmp_path / "run"
