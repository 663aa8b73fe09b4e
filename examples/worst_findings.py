"""Scan a folder of images and print the worst findings: ``python worst_findings.py IMAGES RUN``."""

from __future__ import annotations

import sys

import audit

WORST = 10


def main(images: str, out: str) -> None:
    """Scan without a network and print one line per finding, worst first."""
    run = audit.scan(images, out, options=audit.ScanOptions(backbone="embedded", offline=True))
    order = run.findings["severity"].map({"error": 0, "warning": 1, "info": 2})
    worst = run.findings.assign(order=order).sort_values(["order", "score"], ascending=[True, False]).head(WORST)
    for finding in worst.to_dict("records"):
        subject = finding["sample_id"] or finding["label"] or "dataset"
        print(f"{finding['severity']:7}  {finding['score']:.2f}  {finding['check']}: {subject}: {finding['message']}")
    print(f"{len(run.findings)} findings in {len(run)} images; run: {run.path}")


if __name__ == "__main__":
    main(*sys.argv[1:])
