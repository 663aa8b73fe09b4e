import pytest

from audit.checks import discover
from audit.errors import ConfigError


@pytest.mark.parametrize(
    ("check", "option", "value"),
    [
        ("attributes", "fewest", 0),
        ("class_balance", "copies", 1.5),
        ("class_balance", "false_discoveries", 1),
        ("class_balance", "skew", 1),
        ("class_overlap", "min_images", 0),
        ("crop_loss", "deviations", 0),
        ("crop_loss", "fewest", 0),
        ("image_quality", "deviations", 0),
        ("image_quality", "fewest", 0),
        ("image_quality", "odd_aspect", 1),
        ("image_quality", "odd_size", 0.5),
        ("outliers", "fewest", 0),
        ("outliers", "neighbor", 0),
        ("outliers", "threshold", float("nan")),
    ],
)
def test_an_option_outside_the_range_that_it_documents_is_refused(check, option, value):
    options = discover()[check].options
    with pytest.raises(ConfigError, match=f"^{option}: {value} is "):
        options(**{option: value})
