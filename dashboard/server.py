"""Start Streamlit and read the run in parallel: ``python -m dashboard.server RUN --OPTION=VALUE ...``."""

from __future__ import annotations

import sys
import threading
from contextlib import suppress
from importlib import import_module
from pathlib import Path


def main(run: str, settings: list[str]) -> None:
    """Serve the dashboard of a run until the process is stopped."""
    threading.Thread(target=_warm, args=(run,), daemon=True).start()
    from streamlit.web.cli import main as streamlit

    streamlit(["run", str(Path(__file__).with_name("app.py")), *settings, "--", run], prog_name="streamlit")


def _warm(run: str) -> None:
    """Read what the first page and the first decision need: for a million images this takes seconds, while Streamlit and the browser start."""
    from audit.errors import AuditError
    from dashboard.state import open_finished, summary_of

    with suppress(AuditError):  # the page shows the error
        opened = open_finished(run)
        summary_of(opened)
        _ = opened.twins
    for name in ("altair", "scipy.cluster.hierarchy"):  # their import takes a second, which would delay the first confusion matrix
        import_module(name)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
