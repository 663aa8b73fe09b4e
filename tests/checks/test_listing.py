import numpy as np


def test_reports_listing_problems_about_the_dataset(run_named, samples_of):
    problems = [
        {"kind": "not_listed", "severity": "error", "message": "9 bytes are lost; fetch them again.", "evidence": {"bytes": 9}},
        {"kind": "no_end_mark", "severity": "warning", "message": "It ends early; create it again.", "evidence": {}},
    ]
    result = run_named("listing", samples=samples_of([{}, {}]), listing_problems=problems)
    found = [(finding.kind, finding.severity, finding.row) for finding in result.findings]
    assert found == [("not_listed", "error", None), ("no_end_mark", "warning", None)]
    assert result.findings[0].score > result.findings[1].score
    assert np.isnan(result.scores).all()


def test_complete_listing_has_no_findings(run_named, samples_of):
    assert not run_named("listing", samples=samples_of([{}]), listing_problems=[]).findings
