"""Run the fault suite at full counts and print the result of each test as a Markdown table.

    python benchmarks/faults.py --kills 50 --mutations 10000

Takes tens of minutes; without options it uses the counts of an ordinary test run.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=2, help="scans killed at random moments")
    parser.add_argument("--mutations", type=int, default=300, help="damaged images scanned; a tenth as many damaged archives and tables of each kind")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        tally = Path(folder) / "tally"
        tally.touch()
        counts = {"FAULT_KILLS": options.kills, "FAULT_MUTATIONS": options.mutations, "FAULT_SEED": options.seed}
        environment = {**os.environ, **{name: str(count) for name, count in counts.items()}, "FAULT_TALLY": str(tally)}
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-p", "no:randomly", "tests/contracts/faults"], cwd=ROOT, env=environment, check=False
        )
        rows = [json.loads(line) for line in tally.read_text().splitlines()]
    print("\n| fault | times | outcome |\n|---|---|---|")
    for row in rows:
        print(f"| {row['what']} | {row['times']:,} | {row['outcome']} |")
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
