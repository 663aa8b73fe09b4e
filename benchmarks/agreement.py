"""Scan datasets of several fields with the defaults, show a sample of each check's findings to a person, and print how many are useful.

    python benchmarks/agreement.py --field clothes=FOLDER --field xray=FOLDER ... --out SHEETS [--each 5] [--verdicts TABLE]

A field is a dataset, which is scanned, or a finished run. For each field and check, a sheet of images shows a sample of the findings with their
messages, without scores. ``SHEETS/to_judge.csv`` lists those that have no verdict: fill the column ``verdict`` with ``useful`` (a person of the field
would act on it), ``true`` (right, but of no use) or ``false``, and append the rows to the table. A verdict is about a finding and what its message
said, which is what ``message_id`` stands for. Ids of findings survive rescans, so verdicts do too.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import textwrap
from collections import Counter
from pathlib import Path

import pandas as pd
from PIL import Image, ImageDraw

import audit
from audit.images.boxes import shown_images

VERDICTS = ("useful", "true", "false")
TABLE = Path(__file__).with_name("agreement_verdicts.csv")
COLUMNS = ("field", "check", "kind", "finding_id", "message_id", "verdict")
_SIDE, _SHOWN, _TEXT = 128, 5, 60


def opened(path: Path, out: Path) -> audit.Run:
    """Return a run: the path itself, or a scan of it with the defaults."""
    return audit.open_run(path) if (path / "run.json").is_file() else audit.scan(path, out, options=audit.ScanOptions(offline=True))


def sample(findings: pd.DataFrame, each: int) -> pd.DataFrame:
    """Return at most ``each`` findings of every kind of every check, chosen by a hash of their ids and not by their scores."""
    order = findings["finding_id"].map(lambda name: hashlib.sha256(name.encode()).hexdigest())
    kind = findings["kind"].where(~findings["check"].isin(["shortcuts", "subgroups", "split_shift", "privacy"]), "*")
    shuffled = findings.assign(order=order, group=findings["check"] + " " + kind).sort_values("order")
    return shuffled.groupby("group", sort=True).head(each).sort_values(["check", "kind", "order"])


def images_of(finding: dict[str, object], run: audit.Run) -> list[str]:
    """Return the sample ids of the images of a finding: the image and its partner, else examples, else images of its class."""
    evidence = json.loads(str(finding["evidence"]))
    sample_id = finding["sample_id"] if isinstance(finding["sample_id"], str) else None
    names = shown_images(sample_id, evidence)
    nearest = evidence.get("nearest")
    names += [nearest] if isinstance(nearest, str) else []
    if not names and isinstance(finding["label"], str):
        names = run.samples.loc[run.samples["label"] == finding["label"], "sample_id"].head(_SHOWN).tolist()
    return names[:_SHOWN]


def write_sheet(findings: pd.DataFrame, run: audit.Run, path: Path) -> None:
    """Write one row per finding: its images, its number, its kind and its message."""
    folder = Path(run.record["source"]["absolute"])
    page = Image.new("RGB", (_SHOWN * _SIDE + 7 * _TEXT, max(len(findings), 1) * (_SIDE + 4)), "white")
    drawing = ImageDraw.Draw(page)
    for row, finding in enumerate(findings.to_dict("records")):
        top = row * (_SIDE + 4)
        for column, name in enumerate(images_of(finding, run)):
            try:
                image = Image.open(folder / name).convert("RGB")
            except OSError:
                continue
            scale = (_SIDE - 4) / max(image.size)
            image = image.resize([max(round(side * scale), 1) for side in image.size])
            page.paste(image, (column * _SIDE, top))
        about = finding["sample_id"] or finding["label"] or "dataset"
        text = "\n".join([f"{row} {finding['kind']}: {about}", *textwrap.wrap(str(finding["message"]), _TEXT)])
        drawing.multiline_text((_SHOWN * _SIDE + 4, top + 2), text, fill="black")
    page.save(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--field", action="append", required=True, metavar="NAME=FOLDER")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--each", type=int, default=5, help="findings per field and kind")
    parser.add_argument("--verdicts", type=Path, default=TABLE)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    known: dict[tuple[str, str, str], str] = {}
    if arguments.verdicts.is_file():
        with arguments.verdicts.open(newline="") as file:
            known = {(row["field"], row["finding_id"], row["message_id"]): row["verdict"] for row in csv.DictReader(file)}
    wrong = sorted({verdict for verdict in known.values() if verdict not in VERDICTS})
    if wrong:
        raise SystemExit(f"{arguments.verdicts}: unknown verdict {wrong[0]!r}; verdicts are {', '.join(VERDICTS)}")
    counts: dict[str, dict[str, Counter[str]]] = {}
    fields, sizes = [], []
    with (arguments.out / "to_judge.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow([*COLUMNS, "sheet", "row", "message"])
        for name, _, path in (field.partition("=") for field in arguments.field):
            run = opened(Path(path), arguments.out / f"run-{name}")
            fields.append(name)
            sizes.append(f"{len(run.findings):,} findings, {len(run.issues):,} issues")
            for check, shown in sample(run.findings, arguments.each).groupby("check"):
                sheet = f"{name}-{check}.png"
                write_sheet(shown, run, arguments.out / sheet)
                found = counts.setdefault(str(check), {}).setdefault(name, Counter())
                for row, finding in enumerate(shown.to_dict("records")):
                    said = hashlib.sha256(finding["message"].encode()).hexdigest()[:8]
                    verdict = known.get((name, finding["finding_id"], said), "unjudged")
                    found[verdict] += 1
                    if verdict == "unjudged":
                        rows.writerow([name, check, finding["kind"], finding["finding_id"], said, "", sheet, row, finding["message"]])
    print(f"| check | {' | '.join(fields)} |\n|---|{'---|' * len(fields)}")
    for check, by_field in sorted(counts.items()):
        print(f"| {check} | {' | '.join(cell(by_field.get(field, Counter())) for field in fields)} |")
    print(f"| whole scan | {' | '.join(sizes)} |")


def cell(found: Counter[str]) -> str:
    """Return ``useful/true/false`` of the judged findings, and how many are not judged."""
    judged = sum(found[verdict] for verdict in VERDICTS)
    parts = ["/".join(str(found[verdict]) for verdict in VERDICTS)] if judged else []
    parts += [f"{found['unjudged']} unjudged"] if found["unjudged"] else []
    return ", ".join(parts)


if __name__ == "__main__":
    main()
