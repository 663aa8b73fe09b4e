"""Compare the time of each check with its scan, from the seconds of stages and checks in ``run.json``.

    imagenet-audit scan DATASET --out RUN
    python benchmarks/check_times.py RUN [RUN ...]

Use runs of a first scan, since a second one only updates what changed. Prints a Markdown table of seconds and shares of the total, two columns per
run, and the sum of the checks of bias, privacy and shortcuts.
"""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path

from audit import open_run

BIAS_AND_PRIVACY = (
    *("attributes", "class_balance", "crop_loss", "faces", "marks"),
    *("privacy", "same_source", "shortcuts", "split_shift", "subgroups"),
)


def seconds_of(run: Path) -> tuple[str, dict[str, float]]:
    """Return the size of a run, and the seconds of each stage and of each check that ran; face detection is both."""
    record = open_run(run).record
    seconds = Counter(record["timings"])
    seconds.update({name: check["seconds"] for name, check in sorted(record["checks"].items()) if check["state"] == "done"})
    return f"{record['counts']['listed']:,} images", dict(seconds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", type=Path, nargs="+")
    measured = [seconds_of(run) for run in parser.parse_args().runs]
    print(f"| stage or check | {' | '.join(f'{what}, s | share' for what, _ in measured)} |\n|---|{'---|---|' * len(measured)}")
    rows = {name: [name] for name in dict.fromkeys(name for _, seconds in measured for name in seconds)}
    together = ["bias, privacy and shortcuts together"]
    for _, seconds in measured:
        total = sum(seconds.values())
        for name, row in rows.items():
            row.extend([f"{seconds[name]:.2f}", f"{seconds[name] / total:.1%}"] if name in seconds else ["", ""])
        own = sum(value for name, value in seconds.items() if name in BIAS_AND_PRIVACY)
        together += [f"{own:.2f}", f"{own / total:.1%}"]
    for row in [*rows.values(), together]:
        print(f"| {' | '.join(row)} |")


if __name__ == "__main__":
    main()
