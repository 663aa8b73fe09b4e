import numpy as np


def test_reports_members_with_representative(run_named, samples_of, pairs_of):
    pairs = pairs_of([(0, 1, "re_encoded", 0.9, 0), (0, 2, "same_scene", 0.7, 0), (1, 2, "edited_copy", 0.8, 0), (3, 4, "identical_bytes", 1, 3)])
    result = run_named("near_duplicates", samples=samples_of([{}] * 5), pairs=pairs)
    found = [(finding.row, finding.partner, finding.kind, finding.severity) for finding in result.findings]
    assert found == [(1, 0, "re_encoded", "warning"), (2, 0, "same_scene", "info")]
    np.testing.assert_allclose(result.scores, [0, 0.9, 0.7, 0, 0], rtol=1e-6)
