import numpy as np


def test_personal_per_image_and_common_once(run_named, samples_of):
    families = [["date", "gps"], ["owner"], ["date", "thumbnail"], ["copyright"], []]
    result = run_named("privacy", samples=samples_of([{"exif_families": some} for some in families]))
    assert [(finding.kind, finding.row, finding.severity) for finding in result.findings] == [
        ("gps", 0, "warning"),
        ("owner", 1, "warning"),
        ("date", None, "info"),
        ("thumbnail", None, "info"),
    ]
    assert result.findings[2].evidence == {"family": "date", "images": 2}
    np.testing.assert_allclose(result.scores, [1, 0.7, 0.2, 0, 0])
