import dataclasses
import typing
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.config import ScanOptions, check_options, load, scan_hints
from audit.errors import ConfigError
from audit.io.option_values import converted, describe
from audit.sources import source_options


@dataclass(frozen=True)
class Sharp:
    threshold: float = 0.5
    names: tuple[str, ...] = ()
    most: int | None = None


CHECKS = {"image_quality": Sharp, "leakage": None}


def read(cwd, flags=None, **more):
    with patch("audit.config._discovered", return_value=CHECKS):
        return load(flags or {}, cwd, **more)


def test_defaults(tmp_path):
    assert read(tmp_path) == ScanOptions()


def test_command_line_over_file_over_pyproject_over_default(tmp_path):
    (tmp_path / "pyproject.toml").write_text(
        '[tool.imagenet-audit]\nseed = 1\nneighbors = 11\nbatch_size = 8\n[tool.imagenet-audit.source]\nsplit = "a"\n'
    )
    (tmp_path / "audit.toml").write_text("seed = 2\nneighbors = 12\n")
    options = read(tmp_path, {"seed": 3, "neighbors": None, "only": (), "source": {"split": None}})
    assert (options.seed, options.neighbors, options.batch_size, options.source.split, options.workers) == (3, 12, 8, "a", None)


def test_config_names_another_file(tmp_path):
    (tmp_path / "audit.toml").write_text("seed = 2\n")
    (tmp_path / "other.toml").write_text("batch_size = 5\n")
    options = read(tmp_path, config=tmp_path / "other.toml")
    assert (options.seed, options.batch_size) == (0, 5)


def test_tables_of_checks_merge_option_by_option(tmp_path):
    (tmp_path / "audit.toml").write_text('[checks.image_quality]\nthreshold = 1\nnames = ["a"]\n')
    options = read(tmp_path, {"checks": {"image_quality": {"threshold": 0.25}}})
    assert options.checks == {"image_quality": {"threshold": 0.25, "names": ("a",)}}


def test_paths_in_a_file_are_relative_to_the_file(tmp_path):
    folder = tmp_path / "settings"
    folder.mkdir()
    (folder / "audit.toml").write_text(
        'checkpoint = "weights.pt"\n[source]\nlabels_file = "labels.csv"\nclass_words_file = "s3://bucket/words.txt"\n'
    )
    options = read(tmp_path, config=folder / "audit.toml")
    assert options.checkpoint == str(folder / "weights.pt")
    assert (options.source.labels_file, options.source.class_words_file) == (str(folder / "labels.csv"), "s3://bucket/words.txt")
    assert read(tmp_path, {"checkpoint": "here.pt"}).checkpoint == "here.pt"


def test_model_files_of_a_configuration_file_are_relative_to_it(tmp_path):
    folder = tmp_path / "settings"
    folder.mkdir()
    (folder / "a.toml").write_text('backbone = "embedded,models/x.onnx,timm:resnet18"\n')
    options = load({}, tmp_path, config=folder / "a.toml")
    assert options.backbone == f"embedded,{folder / 'models/x.onnx'},timm:resnet18"
    (folder / "a.toml").write_text('embeddings = "e.npy"\n')
    assert load({}, tmp_path, config=folder / "a.toml").embeddings == str(folder / "e.npy")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("neigbors = 3", "audit.toml: unknown option 'neigbors'; did you mean 'neighbors'?"),
        ("[sorce]\nsplit = 'x'", "audit.toml: unknown option 'sorce'; did you mean 'source'?"),
        ("[source]\nlabel_colum = 'x'", "audit.toml: source: unknown option 'label_colum'; did you mean 'label_column'?"),
        ("[checks.image_qualty]\nx = 1", "audit.toml: checks: unknown check 'image_qualty'; did you mean 'image_quality'?"),
        ("[checks.image_quality]\ntreshold = 1", "audit.toml: checks.image_quality: unknown option 'treshold'; did you mean 'threshold'?"),
        ("[checks.leakage]\nx = 1", "audit.toml: checks.leakage: unknown option 'x'; remove it: there are no options"),
        ("skip = ['leekage']", "audit.toml: skip: unknown check 'leekage'; did you mean 'leakage'?"),
        ("neighbors = '3'", "audit.toml: neighbors: expected a whole number, got '3'; use a whole number"),
        ("neighbors = true", "audit.toml: neighbors: expected a whole number, got True; use a whole number"),
        ("offline = 1", "audit.toml: offline: expected true or false, got 1; use true or false"),
        ("only = 'leakage'", "audit.toml: only: expected a list of text, got 'leakage'; use a list of text"),
        ("source = 3", "audit.toml: source: expected a table, got 3; write a [table]"),
        ("[checks]\nimage_quality = 3", "audit.toml: checks.image_quality: expected a table, got 3; write a [table]"),
        ("[checks.image_quality]\nthreshold = 'x'", "audit.toml: checks.image_quality.threshold: expected a number, got 'x'; use a number"),
        ("neighbors = 0", "audit.toml: neighbors: 0 is too small; use at least 1"),
        ("seed = -1", "audit.toml: seed: -1 is negative; use 0 or more"),
        ("min_precision = 2", "audit.toml: min_precision: 2.0 is out of range; use a number above 0 and at most 1, such as 0.95"),
        ("precision = 'float23'", "audit.toml: precision: unknown precision 'float23'; did you mean 'float32'?"),
        ("device = 'gpu'", "audit.toml: device: unknown device 'gpu'; use auto, cpu, cuda or cuda:N"),
        (
            "backbone = 'resnet'",
            (
                "audit.toml: backbone: unknown backbone 'resnet'; use auto, embedded, embedded-small, clip:ARCHITECTURE/TAG, timm:NAME, "
                "or a .onnx, .pt or .safetensors file"
            ),
        ),
        ("only = ['leakage']\nskip = ['leakage']", "audit.toml: skip: 'leakage' is also in 'only'; remove it from one of them"),
    ],
)
def test_error_names_file_key_and_hint(tmp_path, text, message):
    (tmp_path / "audit.toml").write_text(text)
    with pytest.raises(ConfigError) as caught:
        read(tmp_path)
    assert str(caught.value) == message


def test_error_names_the_origin_of_a_bad_value(tmp_path):
    (tmp_path / "audit.toml").write_text("seed = 2\n")
    with pytest.raises(ConfigError, match=r"^command line: seed: -5 is negative"):
        read(tmp_path, {"seed": -5})
    (tmp_path / "pyproject.toml").write_text("[tool.imagenet-audit]\nsead = 1\n")
    with pytest.raises(ConfigError, match=r"^pyproject.toml \[tool.imagenet-audit\]: unknown option 'sead'; did you mean 'seed'\?"):
        read(tmp_path)


@pytest.mark.parametrize(("file", "text"), [("audit.toml", "seed = 2\n"), ("pyproject.toml", "[tool.imagenet-audit]\nseed = 2\n")])
def test_ignores_byte_order_mark(tmp_path, file, text):
    (tmp_path / file).write_text(text, encoding="utf-8-sig")
    assert read(tmp_path).seed == 2


def test_refuses_invalid_toml(tmp_path):
    (tmp_path / "audit.toml").write_text("seed = \n")
    with pytest.raises(ConfigError, match=r"audit.toml: not TOML: .*line 1"):
        read(tmp_path)
    (tmp_path / "audit.toml").write_bytes(b"seed = 1 # \xff")
    with pytest.raises(ConfigError, match="not UTF-8 at byte 11"):
        read(tmp_path)
    with pytest.raises(ConfigError, match="no such file"):
        read(tmp_path, config=tmp_path / "absent.toml")


def test_ignores_pyproject_without_our_table(tmp_path):
    (tmp_path / "pyproject.toml").write_text("[tool.other]\nseed = 9\n")
    assert read(tmp_path).seed == 0
    (tmp_path / "pyproject.toml").write_text("tool.imagenet-audit = 3\n")
    with pytest.raises(ConfigError, match="expected a table, got 3"):
        read(tmp_path)


def test_source_options_from_a_record():
    options = dataclasses.asdict(ScanOptions().source)
    options.pop("storage_options", None)
    assert source_options(options) == ScanOptions().source
    with pytest.raises(ConfigError, match="unknown option 'splitt'; did you mean 'split'"):
        source_options({"splitt": "x"})


def test_every_option_has_a_toml_type():
    for name, hint in scan_hints().items():
        if name not in ("source", "checks"):
            assert describe(hint) != "a table", name
            default = getattr(ScanOptions(), name)
            if default is not None:
                assert converted(name, default, hint) == default


def test_options_of_a_check():
    assert check_options(Sharp) == {"threshold": 0.5, "names": (), "most": None}
    assert check_options(None) == {}


@given(st.one_of(st.integers(), st.floats(allow_nan=False), st.text(), st.booleans()))
def test_converts_only_to_its_own_type(value):
    assert converted("x", value, type(value)) == value
    for other in {int, float, str, bool} - {type(value)} - ({float} if type(value) is int else set()):
        with pytest.raises(ConfigError):
            converted("x", value, other)


@pytest.mark.parametrize(
    ("value", "hint", "wanted"),
    [
        (3, float, 3.0),
        ([1, 2], tuple[float, ...], (1.0, 2.0)),
        ([1, "a"], tuple[int, str], (1, "a")),
        ("a/b", Path, Path("a/b")),
        ("a", typing.Literal["a", "b"], "a"),
        ({"k": "v"}, typing.Mapping[str, str], {"k": "v"}),
        (None, int | None, None),
        ([1], object, [1]),
    ],
)
def test_converted(value, hint, wanted):
    result = converted("x", value, hint)
    assert result == wanted
    assert type(result) is type(wanted)


@pytest.mark.parametrize(
    ("value", "hint"), [([1, 2], tuple[int]), (["a", 1], tuple[str, ...]), ("c", typing.Literal["a"]), ([1], typing.Mapping[str, int])]
)
def test_not_converted(value, hint):
    with pytest.raises(ConfigError, match=r"^x: expected "):
        converted("x", value, hint)
