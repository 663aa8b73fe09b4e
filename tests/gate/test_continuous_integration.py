"""The action, the hooks and the examples of docs/gate.md: valid against their host's schema, and their commands run."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import pytest
import yaml
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "gate.md").read_text(encoding="utf-8")
EXAMPLES = {block.splitlines()[0].removeprefix("# "): block for block in re.findall(r"^```yaml\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)}
ACTION = yaml.safe_load((ROOT / "action.yml").read_text(encoding="utf-8"))
HOOKS = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text(encoding="utf-8"))
POLICY = "[limits]\nleakage = 0\n\n[new]\nerror = 0\n\n[require]\nreadable = true\n"
SCHEMAS = {".github/workflows/dataset.yml": "github-workflows", ".gitlab-ci.yml": "gitlab-ci"}

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the action's shell is bash")


def shell(command, folder, **environment):
    """Run a command as a host does: bash that exits on the first failure, the program on the PATH, without this process's CI variables."""
    hosts = ("GITHUB_", "CI_", "PYTEST_")
    variables = {name: value for name, value in os.environ.items() if not name.startswith(hosts)}
    variables |= {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "HOME": str(folder),
    } | environment
    asked = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", command]
    return subprocess.run(asked, cwd=folder, env=variables, capture_output=True, text=True, check=False)


def photo(seed):
    coarse = np.random.default_rng(seed).integers(0, 256, (7, 9, 3), np.uint8)
    return Image.fromarray(coarse).resize((72, 60), Image.Resampling.BICUBIC)


def leak(folder):
    shutil.copyfile(folder / "data/train/ant/0.png", folder / "data/val/ant/leaked.png")


@pytest.fixture(scope="module")
def scanned(tmp_path_factory):
    """A repository with a dataset and its run."""
    folder = tmp_path_factory.mktemp("repository")
    for split, offset in (("train", 0), ("val", 100)):
        for at, label in enumerate(("ant", "bee")):
            (folder / "data" / split / label).mkdir(parents=True)
            for number in range(4):
                photo(offset + 10 * at + number).save(folder / "data" / split / label / f"{number}.png")
    (folder / "audit.toml").write_text('backbone = "embedded"\noffline = true\nworkers = 1\nonly = ["integrity", "leakage"]\n')
    (folder / "policy.toml").write_text(POLICY)
    (folder / "waivers.toml").write_text("")
    done = shell("imagenet-audit scan data --out run --quiet && imagenet-audit lock run", folder)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def repository(scanned, tmp_path):
    """A copy that a test may change."""
    return Path(shutil.copytree(scanned, tmp_path / "repository"))


def act(folder, **inputs):
    """Run the action's check step with a workflow's inputs; return the finished process and the step's outputs."""
    (step,) = (step for step in ACTION["runs"]["steps"] if step.get("id") == "check")
    given = {name: entry.get("default", "") for name, entry in ACTION["inputs"].items()} | {
        name.replace("_", "-"): value for name, value in inputs.items()
    }
    assert given.keys() == ACTION["inputs"].keys()
    environment = {name: given[re.fullmatch(r"\$\{\{ inputs\.([a-z-]+) \}\}", value)[1]] for name, value in step["env"].items()}
    host = {
        "GITHUB_ACTIONS": "true",
        "GITHUB_OUTPUT": str(folder / "output"),
        "GITHUB_STEP_SUMMARY": str(folder / "summary.md"),
        "GITHUB_WORKSPACE": str(folder),
    }
    done = shell(step["run"], folder, **host, **environment)
    return done, dict(line.split("=", 1) for line in (folder / "output").read_text().splitlines())


def test_files_match_their_hosts_schema(tmp_path):
    files = {ROOT / "action.yml": "github-actions"}
    for name, schema in SCHEMAS.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(EXAMPLES[name])
        files[tmp_path / name] = schema
    for file, schema in files.items():
        done = shell(f"check-jsonschema --builtin-schema vendor.{schema} {shlex.quote(str(file))}", tmp_path)
        assert done.returncode == 0, done.stdout
    (tmp_path / "config.yaml").write_text(EXAMPLES[".pre-commit-config.yaml"])
    for command in (f"validate-manifest {shlex.quote(str(ROOT / '.pre-commit-hooks.yaml'))}", "validate-config config.yaml"):
        done = shell(f"pre-commit {command}", tmp_path)
        assert done.returncode == 0, done.stdout


def test_action_scripts_contain_no_expressions():
    for step in ACTION["runs"]["steps"]:
        assert "${{" not in step["run"]
        assert step["shell"] == "bash"


def test_action_passes_and_fails_with_annotations(repository):
    done, output = act(repository, source="run", junit="audit.xml", first_run="true")
    assert (done.returncode, output) == (0, {"exit-code": "0", "sarif": "imagenet-audit.sarif"}), done.stderr
    assert (repository / "audit.xml").is_file()
    leak(repository)
    done, output = act(repository, source="data", out="run", sarif="", arguments="--workers 1\n--waivers waivers.toml")
    assert (done.returncode, output["exit-code"]) == (1, "1"), done.stderr
    assert "::error file=policy.toml,line=2::limits.leakage: " in done.stdout
    assert "::error file=data/train/ant/0.png,title=leakage::" in done.stdout
    assert "imagenet-audit check: failed" in (repository / "summary.md").read_text()


def test_action_does_not_execute_hostile_inputs(repository):
    done, output = act(repository, source="$(touch broken)", policy="; touch broken", sarif="")
    assert (done.returncode, output) == (2, {"exit-code": "2"})
    assert not (repository / "broken").exists()
    assert "::error title=imagenet-audit::" in done.stdout


def test_workflow_uses_existing_inputs_and_outputs():
    steps = yaml.safe_load(EXAMPLES[".github/workflows/dataset.yml"])["jobs"]["check"]["steps"]
    (step,) = (step for step in steps if step.get("uses", "").startswith("OWNER/imagenet-audit@"))
    assert set(step["with"]) <= set(ACTION["inputs"])
    used = re.findall(rf"steps\.{step['id']}\.outputs\.([a-z-]+)", EXAMPLES[".github/workflows/dataset.yml"])
    assert set(used) <= set(ACTION["outputs"])


def test_workflow_uses_the_lock_of_the_target_branch(repository, tmp_path):
    """Since a lock that came with the change, nothing would have changed."""
    steps = yaml.safe_load(EXAMPLES[".github/workflows/dataset.yml"])["jobs"]["check"]["steps"]
    (line,) = (step["run"] for step in steps if "run" in step)
    (asked,) = (step["with"] for step in steps if step.get("uses", "").startswith("OWNER/imagenet-audit@"))
    temporary = {name: value.replace("${{ runner.temp }}", str(tmp_path)) for name, value in asked.items()}
    who = "-c user.name=a -c user.email=a@example.org"
    accept = f"git init -q -b main && git add data audit.lock && git {who} commit -q -m first && git remote add origin . && git checkout -q -b change"
    assert shell(accept, repository).returncode == 0
    leak(repository)
    assert shell("imagenet-audit lock data --quiet", repository).returncode == 0
    done = shell(line, repository, GITHUB_BASE_REF="main", RUNNER_TEMP=str(tmp_path))
    assert done.returncode == 0, done.stderr
    done, _ = act(repository, **{name: temporary[name] for name in ("source", "policy", "since", "waivers", "out")})
    assert done.returncode == 1, done.stderr
    assert "1 added, 16 unchanged" in done.stdout


def test_workflow_passes_before_the_first_lock(repository, tmp_path):
    """`git show` leaves an empty file if the target branch has no lock."""
    steps = yaml.safe_load(EXAMPLES[".github/workflows/dataset.yml"])["jobs"]["check"]["steps"]
    (line,) = (step["run"] for step in steps if "run" in step)
    (asked,) = (step["with"] for step in steps if step.get("uses", "").startswith("OWNER/imagenet-audit@"))
    given = {name.replace("-", "_"): value.replace("${{ runner.temp }}", str(tmp_path)) for name, value in asked.items()}
    who = "-c user.name=a -c user.email=a@example.org"
    first = f"git init -q -b main && git add data && git {who} commit -q -m first && git remote add origin ."
    assert shell(first, repository).returncode == 0
    done = shell(f"set -e\n{line}", repository, GITHUB_BASE_REF="main", RUNNER_TEMP=str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "audit.lock").stat().st_size == 0
    done, _ = act(repository, **given | {"source": "run", "out": ""})
    assert done.returncode == 0, done.stderr


def test_action_installs_the_lock_with_hashes():
    (script,) = (step["run"] for step in ACTION["runs"]["steps"] if "pip" in step["run"])
    assert '--require-hashes -r "$GITHUB_ACTION_PATH/requirements.lock"' in script
    assert '--no-deps "$GITHUB_ACTION_PATH"' in script
    assert ACTION["inputs"]["backbone"]["default"] == "embedded"


def test_gitlab_job_refuses_a_run_that_came_with_the_change(repository):
    assert shell("git init -q && git add run", repository).returncode == 0
    assert shell("\n".join(yaml.safe_load(EXAMPLES[".gitlab-ci.yml"])["dataset"]["script"]), repository).returncode == 1
    assert not (repository / "audit.xml").exists()


def test_gitlab_job_writes_its_reports(repository):
    job = yaml.safe_load(EXAMPLES[".gitlab-ci.yml"])["dataset"]
    leak(repository)
    done = shell("\n".join(job["script"]), repository)
    assert done.returncode == 1, done.stderr
    assert all((repository / name).stat().st_size for name in job["artifacts"]["reports"].values())


def test_reports_do_not_name_a_temporary_run(repository):
    """Its folder has a random name, so reports would not be deterministic."""
    line = "imagenet-audit check data --policy policy.toml --quiet --json --report junit=audit.xml"
    done = shell(line, repository)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["run"] is None
    properties = {part.get("name"): part.get("value") for part in ET.parse(repository / "audit.xml").iter("property")}
    assert (properties["dataset"], "run" in properties) == ("data", False)


def test_pre_commit_hooks_run(repository):
    hooks = {hook["id"]: hook for hook in HOOKS}
    (asked,) = yaml.safe_load(EXAMPLES[".pre-commit-config.yaml"])["repos"]
    for hook in asked["hooks"]:
        own = hooks[hook["id"]]
        command = f"{own['entry']} {shlex.join(hook.get('args', own['args']))}"
        done = shell(command, repository)
        assert done.returncode == 0, done.stderr
    leak(repository)
    for own in HOOKS:
        done = shell(f"{own['entry']} {shlex.join(own['args'])}", repository)
        assert done.returncode == 1, done.stderr


def test_dvc_stages_run_and_write_their_outputs(repository):
    stages = yaml.safe_load(EXAMPLES["dvc.yaml"])["stages"]
    for stage in stages.values():
        done = shell(stage["cmd"], repository)
        assert done.returncode == 0, done.stderr
        for name in [*stage["deps"], *(next(iter(out)) for out in stage["outs"])]:
            assert (repository / name).exists(), name


def test_commands_for_git_without_a_host_run(repository):
    section = PAGE.partition("## With git only\n")[2]
    locked, block = re.findall(r"^```bash\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
    who = "-c user.name=a -c user.email=a@example.org"
    setup = f"git init -q -b main && git add data && git {who} commit -q -m first && git update-ref refs/remotes/origin/main HEAD"
    done = shell(setup, repository)
    assert done.returncode == 0, done.stderr
    done = shell(block, repository)
    assert done.returncode == 0, done.stderr
    done = shell(f"{locked}\ngit diff --cached --stat", repository)
    assert done.returncode == 0, done.stderr
    assert "audit.lock" in done.stdout
    leak(repository)
    done = shell(locked.splitlines()[0], repository)
    assert done.returncode == 1, done.stderr
    assert "note: 1 added, 16 unchanged" in done.stdout
    done = shell(block.splitlines()[-1], repository)
    assert done.returncode == 1, done.stderr
    assert "failed     limits.leakage" in done.stdout
    assert "failed     new.error" in done.stdout
