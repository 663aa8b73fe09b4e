import errno
import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import click
import pytest

import audit
from audit import cli
from audit.commands.base import wants_color
from audit.commands.scan import check_settings, scan
from audit.config import scan_hints
from audit.errors import AuditError, SourceError
from audit.io.console import Bars, Lines, duration, observer, rate, safe
from audit.run.report_formats import report_format

HEAVY = ("cv2", "faiss", "numpy", "onnxruntime", "pandas", "PIL", "pyarrow", "reports", "rich", "sklearn", "streamlit", "torch")


def run(capsys, *arguments):
    code = cli.invoke([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def command(*arguments, **more):
    return subprocess.run([sys.executable, "-m", "audit.cli", *map(str, arguments)], capture_output=True, text=True, check=False, **more)


@pytest.fixture
def scanning(monkeypatch, small_run, tmp_path):
    """Replace ``audit.scan``: record its arguments, and return or raise the outcome that a test sets."""
    calls = []
    outcome = [small_run]

    def scan(source, out, *, options, observer, baseline=None):
        calls.append((source, out, options))
        observer.stage("listing", None)
        observer.note("a note\x1b[2J")
        if isinstance(outcome[0], BaseException):
            raise outcome[0]
        return outcome[0]

    monkeypatch.setattr(audit, "scan", scan, raising=False)
    monkeypatch.chdir(tmp_path)
    return calls, outcome


def test_help_imports_nothing_heavy():
    program = f"import sys, audit.cli; audit.cli.invoke(['--help']); print([name for name in {HEAVY} if name in sys.modules], file=sys.stderr)"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stderr.strip() == "[]"
    assert result.stdout.startswith("Usage: ")


@pytest.mark.parametrize("name", ["scan", "demo", "explain", "checks", "models"])
def test_every_command_has_help(capsys, name):
    code, out, err = run(capsys, name, "--help")
    assert (code, err) == (0, "")
    assert name in out


def test_usage_errors_exit_with_2(capsys):
    code, _, err = run(capsys, "scan")
    assert code == 2
    assert "Missing argument 'SOURCE'" in err
    code, _, err = run(capsys, "scna")
    assert code == 2
    assert "unknown command 'scna'; did you mean 'scan'?" in err


def test_scan_prints_the_summary_to_stdout_and_notes_to_stderr(capsys, scanning):
    code, out, err = run(capsys, "scan", "data", "--out", "r")
    assert code == 0
    assert "listed 6 = scanned 5 + failed 1 (truncated 1)" in out
    assert err == "note: a note\\x1b[2J\n"


def test_quiet_still_prints_results(capsys, scanning):
    code, out, err = run(capsys, "scan", "data", "--out", "r", "--quiet")
    assert (code, err) == (0, "")
    assert "listed 6" in out


def test_json_is_the_only_output_on_stdout(capsys, scanning):
    code, out, _ = run(capsys, "scan", "data", "--out", "r", "--json")
    assert code == 0
    assert json.loads(out)["summary"]["findings"] == 8


def test_flags_reach_the_options_of_the_scan(capsys, scanning):
    calls, _ = scanning
    Path("audit.toml").write_text("seed = 4\nneighbors = 7\n")
    flags = [
        "--backbone",
        "clip:ViT-B-32/x",
        "--checkpoint",
        "w.pt",
        "--predictions",
        "p.npy",
        "--device",
        "cpu",
        "--precision",
        "float32",
        "--offline",
        "--workers",
        3,
        "--seed",
        5,
    ]
    flags += ["--batch-size", 8, "--max-pixels", 99, "--min-precision", 0.99, "--split", "val", "--labels", "l.csv", "--label-column", "y"]
    flags += ["--path-column", "p", "--split-column", "s", "--image-column", "i", "--class-words", "w.txt", "--kind", "folder"]
    code, _, err = run(capsys, "scan", "data", "--out", "r", *flags)
    assert code == 0, err
    source, out, options = calls[0]
    assert (source, out) == ("data", Path("r"))
    assert (options.backbone, options.checkpoint, options.device, options.precision) == ("clip:ViT-B-32/x", "w.pt", "cpu", "float32")
    assert (options.offline, options.workers, options.seed, options.neighbors, options.batch_size) == (True, 3, 5, 7, 8)
    assert (options.max_pixels, options.min_precision, options.predictions) == (99, 0.99, "p.npy")
    source = options.source
    assert (source.kind, source.labels_file, source.class_words_file, source.path_column) == ("folder", "l.csv", "w.txt", "p")
    assert (source.label_column, source.split_column, source.image_column, source.split) == ("y", "s", "i", "val")


def test_config_option_reads_the_file(capsys, scanning):
    calls, _ = scanning
    Path("mine.toml").write_text("seed = 4\n")
    assert run(capsys, "scan", "data", "--out", "r", "--config", "mine.toml")[0] == 0
    assert calls[0][2].seed == 4


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--skip", "leekage"], "--skip: unknown check 'leekage'; "),
        (["--set", "nonsense"], "--set: 'nonsense' is not CHECK.OPTION=VALUE; "),
        (["--set", "nosuchcheck.a=1"], "command line: checks: unknown check 'nosuchcheck'; "),
        (["--neighbors", "99999999999999"], "--neighbors: 99999999999999 is too large; use at most 1,000"),
        (["--neighbors", "0"], "--neighbors: 0 is too small; "),
        (["--config", "absent.toml"], "absent.toml: no such file; "),
    ],
)
def test_bad_options_are_one_line(capsys, scanning, flags, message):
    code, out, err = run(capsys, "scan", "data", "--out", "r", *flags)
    assert (code, out) == (2, "")
    assert err.startswith(f"error: {message}")
    assert len(err.splitlines()) == 1


def test_check_settings_parse_toml_or_text():
    parsed = check_settings(["a.x=1", "a.y = [1, 2]", "b.z=true", "b.w=plain words"])
    assert parsed == {"a": {"x": 1, "y": [1, 2]}, "b": {"z": True, "w": "plain words"}}


def during_an_interrupt():
    """Return the error of a lock that was interrupted while it was acquired."""
    error = RuntimeError("cannot release un-acquired lock")
    error.__context__ = KeyboardInterrupt()
    return error


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (SourceError("/no\nwhere", "no such folder", "check the path"), 2, "error: /no\\nwhere: no such folder; check the path\n"),
        (SourceError("a", "has none", "name it with `path_column`"), 2, "error: a: has none; name it with --path-column\n"),
        (SourceError("`labels_file`", "is not used", "see `storage_options`"), 2, "error: --labels: is not used; see `storage_options`\n"),
        (OSError(errno.ENOSPC, "No space left on device", "r/samples.parquet"), 2, "error: r/samples.parquet: the disk is full; free some space"),
        (OSError(errno.ENOSPC, "No space left on device"), 2, "error: storage: the disk is full; free some space"),
        (PermissionError(errno.EACCES, "Permission denied", "/root/r"), 2, "error: /root/r: permission denied; "),
        (OSError(errno.EIO, "Input/output error", "r/a.npy"), 2, "error: r/a.npy: the storage failed to read or write; "),
        (MemoryError(), 2, "error: out of memory; use fewer --workers"),
        (KeyboardInterrupt(), 130, "interrupted: run the same command again to resume\n"),
        (during_an_interrupt(), 130, "interrupted: run the same command again to resume\n"),
    ],
)
def test_expected_errors_are_one_line_without_traceback(capsys, scanning, error, code, message):
    scanning[1][0] = error
    result = run(capsys, "scan", "data", "--out", "r", "--quiet")
    assert result[0] == code
    assert result[1] == ""
    assert result[2].startswith(message)
    assert len(result[2].splitlines()) == 1


@pytest.mark.parametrize("error", [ValueError("odd"), OSError(errno.ENXIO, "No such device", "disk"), EOFError("No data left in file")])
def test_internal_errors_ask_for_a_bug_report(capsys, scanning, error):
    scanning[1][0] = error
    code, _, err = run(capsys, "scan", "data", "--out", "r", "--quiet")
    assert code == 2
    assert "Traceback" in err
    assert err.splitlines()[-1].startswith("Internal error. This is a bug in imagenet-audit, not in your data: please report it")


def test_out_below_a_file_is_a_one_line_error(capsys, tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "images").mkdir()
    code, _, err = run(capsys, "scan", tmp_path / "images", "--out", tmp_path / "file" / "run", "--backbone", "embedded", "--quiet")
    assert code == 2
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize(
    "command",
    [
        "report RUN --format html --out DIR",
        "report RUN --out no/where.html",
        "report LONG",
        "explain RUN cat/1.jpg --saliency DIR",
        "decisions RUN --sheet DIR",
        "decisions RUN --export no/where.csv",
        "decisions RUN --sheet FULL",
        "init no/where.toml",
        "init LONG",
        "lock RUN --out DIR",
        "lock RUN --check --out DIR",
        "check RUN --policy DIR",
        "check RUN --policy LOOP",
        "check RUN --policy FULL --waivers DIR",
        "check RUN --policy FULL --since DIR",
        "check RUN --policy FULL --report junit=DIR",
        "export RUN --what cleanlab --out FULL",
        "export RUN --what fiftyone --out FULL",
        "scan DIR --out LONG",
        "scan DIR --out LOOP",
    ],
)
def test_unusable_paths_are_one_line_errors_and_leave_no_files(capsys, tmp_path, small_run, command):
    (tmp_path / "dir/cat").mkdir(parents=True)
    (tmp_path / "dir/cat/1.jpg").touch()
    (tmp_path / "full.toml").write_text("[limits]\nleakage = 9\n")
    (tmp_path / "loop").symlink_to("loop")
    paths = {
        "RUN": small_run.path,
        "DIR": tmp_path / "dir",
        "FULL": tmp_path / "full.toml",
        "LOOP": tmp_path / "loop",
        "LONG": tmp_path / ("x" * 300),
    }
    words = [str(tmp_path / word) if word.startswith("no/") else word for word in command.split()]
    for name, path in paths.items():
        words = [word.replace(name, str(path)) for word in words]
    code, _, err = run(capsys, *words)
    assert (code, len(err.splitlines())) == (2, 1), err
    assert err.startswith("error: ")
    assert not list(tmp_path.glob("**/.*.partial"))


def test_sigterm_interrupts_a_scan_that_then_resumes(tmp_path):
    """A cancelled CI job sends SIGTERM."""
    from PIL import Image

    (tmp_path / "images").mkdir()
    for number in range(400):
        Image.new("RGB", (640, 480), (number % 256, number // 2, 9)).save(tmp_path / "images" / f"{number}.png")
    line = [sys.executable, "-m", "audit.cli", "scan", "images", "--out", "run", "--backbone", "embedded", "--offline", "--no-color"]
    with subprocess.Popen([*line, "--workers", "1"], cwd=tmp_path, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) as process:
        for line_read in process.stderr:
            if line_read.startswith("images: ") and not line_read.startswith("images: 0"):
                process.terminate()
                break
        rest = process.stderr.read()
    assert process.returncode == 130, rest
    assert rest.splitlines()[-1] == "interrupted: run the same command again to resume"
    resumed = subprocess.run(line, cwd=tmp_path, capture_output=True, text=True, check=True).stderr
    assert re.search(r" [1-9]\d* of 400 images are known from an earlier scan", resumed)


def test_closed_stdout_is_not_an_error(tmp_path, small_run):
    for command in (
        ["checks"],
        ["report", str(small_run.path), "--format", "text", "--out", "-"],
        ["diff", str(small_run.path), str(small_run.path)],
    ):
        done = subprocess.run(
            ["sh", "-c", '"$@" >&-', "sh", sys.executable, "-m", "audit.cli", *command], capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stderr) == (0, "")


def test_refuses_an_empty_path(capsys, small_run):
    code, _, err = run(capsys, "export", small_run.path, "--what", "cleanlab", "--out", "")
    assert code == 2
    assert "is empty; pass a file or a folder" in err


def test_no_color_prints_no_escape_codes(capsys, monkeypatch, small_run):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    for command in (["decisions", small_run.path, "--no-color"], ["diff", small_run.path, small_run.path, "--no-color"]):
        code, out, _ = run(capsys, *command)
        assert (code, "\x1b" in out) == (0, False)


def test_explain_prints_one_image(capsys, small_run):
    code, out, err = run(capsys, "explain", small_run.path, "cat/1.jpg")
    assert (code, err) == (0, "")
    assert out.startswith("train/cat/1.jpg\n")
    assert "conflicting_labels" in out
    code, out, _ = run(capsys, "explain", small_run.path, "cat/1.jpg", "--json")
    assert json.loads(out)["sample_id"] == "train/cat/1.jpg"


def test_explain_suggests_the_nearest_id(capsys, small_run):
    assert run(capsys, "explain", small_run.path, "train/cta/1.jpg") == (
        2,
        "",
        "error: 'train/cta/1.jpg': no such image in this run; did you mean 'train/cat/1.jpg'?\n",
    )


def test_explain_refuses_a_folder_without_a_run(capsys, tmp_path):
    code, _, err = run(capsys, "explain", tmp_path, "x")
    assert code == 2
    assert "not a run directory" in err


def test_checks_and_models_are_listed(capsys):
    code, out, _ = run(capsys, "checks", "--json")
    listed = json.loads(out)
    assert code == 0
    assert "integrity" in {check["name"] for check in listed}
    code, out, _ = run(capsys, "checks", "--no-color")
    assert all(check["name"] in out and check["title"] in out for check in listed)
    code, out, _ = run(capsys, "checks", "marks", "privacy", "--no-color")
    assert code == 0
    assert [line for line in out.splitlines() if line and line[0] != " "] == ["marks", "privacy"]
    assert "Blind spots: a mark that moves or changes its size" in " ".join(out.split())
    assert max(map(len, out.splitlines())) <= 110
    code, _, err = run(capsys, "checks", "mark")
    assert (code, err) == (2, "error: checks: unknown check 'mark'; did you mean 'marks'?\n")
    code, out, _ = run(capsys, "models", "--offline", "--json")
    states = json.loads(out)
    assert {"ready", "will download", "not reachable here", "not installed"} >= {state["state"] for state in states}
    assert any(state["name"].startswith("embedded") and state["state"] == "ready" for state in states)
    assert run(capsys, "models", "--offline")[1].count("licence: ") == len(states)


def test_color_is_off_in_a_pipe_and_with_no_color(monkeypatch):
    assert wants_color(color=None) is False
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert wants_color(color=None) is True
    assert wants_color(color=False) is False
    monkeypatch.setenv("NO_COLOR", "1")
    assert wants_color(color=None) is False
    assert wants_color(color=True) is True


def test_shadowed_reports_package_is_reported(monkeypatch, tmp_path):
    (tmp_path / "reports").mkdir()
    (tmp_path / "reports" / "__init__.py").touch()
    program = "from audit.run.report_formats import report_format; report_format('text')"
    result = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "may shadow the installed package" in result.stderr
    assert str(tmp_path / "reports") in result.stderr


def test_unknown_report_format_suggests_the_nearest():
    with pytest.raises(AuditError, match="did you mean 'text'"):
        report_format("txt")


def test_closed_pipe_is_not_an_error(small_run):
    program = f"{sys.executable} -m audit.cli explain {small_run.path} cat/1.jpg --json | true; echo ${{PIPESTATUS[0]}}"
    result = subprocess.run(["bash", "-c", program], capture_output=True, text=True, check=True)
    assert (result.stdout.strip(), result.stderr) == ("0", "")


def test_hostile_names_are_escaped_on_an_ascii_terminal(small_run):
    result = command("explain", small_run.path, "05" * 8, env={**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"})
    assert result.returncode == 0
    assert r"\x1b[31mred\nline\u202egpj.jpg" in result.stdout
    assert "\x1b" not in result.stdout


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain é 猫", "plain é 猫"),
        ("a\nb", r"a\nb"),
        ("\x1b[2J", r"\x1b[2J"),
        ("\udc80", r"\udc80"),
        ("\u202e", r"\u202e"),
        ("\x9b", r"\x9b"),
        (3, "3"),
    ],
)
def test_safe(text, shown):
    assert safe(text) == shown
    assert safe(text).isprintable()


def test_duration_and_rate():
    assert [duration(seconds) for seconds in (0, 9.96, 59.6, 3599.7)] == ["0.0 s", "10.0 s", "1 min 0 s", "1 h 0 min"]
    assert rate(0) == "0.00/s"


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def test_progress_lines_are_printed_at_intervals(capsys):
    clock = Clock()
    with Lines(sys.stderr, clock) as watching:
        watching.stage("quick", 10)
        clock.now = 1.0
        watching.advance(10)
        watching.stage("slow", 100)
        for _ in range(25):
            clock.now += 1.0
            watching.advance(2)
        watching.stage("next", None)
    assert capsys.readouterr().err.splitlines() == [
        "slow: 4 of 100, 2.0/s, 48 s left",
        "slow: 24 of 100, 2.0/s, 38 s left",
        "slow: 44 of 100, 2.0/s, 28 s left",
        "slow: 50 of 100, 2.0/s, took 25 s",
    ]


def test_observer_matches_standard_error(capsys, monkeypatch):
    assert isinstance(observer(), Lines)
    with observer(quiet=True) as watching:
        watching.note("x")
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    assert isinstance(observer(), Bars)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("columns", [40, 120])
def test_bars_appear_on_a_terminal_for_long_stages_only(columns):
    program = """
import time, audit.io.console
audit.io.console.PATIENCE = 0.3
with audit.io.console.observer() as watching:
    watching.stage("quick", 10)
    watching.advance(10)
    watching.note("a note")
    watching.stage("slow", 100)
    for _ in range(10):
        watching.advance(5)
        time.sleep(0.1)
"""
    main, side = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": str(columns)}
    process = subprocess.Popen([sys.executable, "-c", program], stderr=side, stdout=subprocess.DEVNULL, env=environment)
    os.close(side)
    seen = b""
    while True:
        try:
            block = os.read(main, 65536)
        except OSError:
            break
        if not block:
            break
        seen += block
    os.close(main)
    assert process.wait() == 0
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", seen.decode())
    assert "note: a note" in text
    assert "quick" not in text
    assert "slow" in text
    assert "/100" in text
    assert "/s" in text


def test_every_scan_option_has_a_flag():
    given = {parameter.name for parameter in scan.params}
    for name in set(scan_hints()) - {"source", "checks", "trust_mtime"}:  # a flag of check, which reads files again
        assert name in given, name
    assert isinstance(cli.commands, click.Group)
