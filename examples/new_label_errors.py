"""Compare two runs and fail if the second has new label errors: ``python new_label_errors.py OLD_RUN NEW_RUN``."""

from __future__ import annotations

import sys

import audit
from audit.diff.comparison import compare

CHECKS = ("conflicting_labels", "label_errors")


def main(old: str, new: str) -> int:
    """Print the new label errors; return the exit code."""
    difference = compare(audit.open_run(old), audit.open_run(new))
    findings = difference.findings
    errors = findings[(findings["state"] == "new") & findings["check"].isin(CHECKS) & (findings["severity"] != "info")]
    for error in errors.itertuples():
        print(f"{error.sample_id}: {error.message} ({error.cause})")
    for check, reason in difference.not_compared.items():
        print(f"not compared: {check}: {reason}", file=sys.stderr)
    print(f"{len(errors)} new label errors")
    return 1 if len(errors) else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
