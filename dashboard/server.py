"""What ``imagenet-audit dashboard`` starts: Streamlit, while the run is being read. ``python -m dashboard.server RUN --OPTION=VALUE ...``."""

from __future__ import annotations

import sys
import threading
from contextlib import suppress
from importlib import import_module
from pathlib import Path


def main(run: str, settings: list[str]) -> None:
    """Serve the dashboard of a run until it is ended."""
    threading.Thread(target=_warm, args=(run,), daemon=True).start()
    from streamlit.web.cli import main as streamlit

    streamlit(["run", str(Path(__file__).with_name("app.py")), *settings, "--", run], prog_name="streamlit")


def _warm(run: str) -> None:
    """Read what the first page and the first decision need: of a million images that takes seconds, in which Streamlit and the browser start."""
    from audit.errors import AuditError
    from dashboard.state import open_finished, summary_of

    with suppress(AuditError):  # the page says it
        opened = open_finished(run)
        summary_of(opened)
        _ = opened.twins
    for name in ("altair", "scipy.cluster.hierarchy"):  # a second together, which the first map of confusion would wait for
        import_module(name)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
