"""Serve a run and read it in parallel: ``python -m dashboard.server SERVED``, with the token in the environment.

SERVED is a JSON object: ``run``, ``source``, ``offline``, ``port`` and ``hosts``.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any

from dashboard.command import SETTINGS, TOKEN


def main(served: Mapping[str, Any]) -> None:
    """Serve the dashboard of a run until the process is stopped."""
    threading.Thread(target=_warm, args=(served["run"], served["source"]), daemon=True).start()
    from starlette.middleware import Middleware
    from streamlit import App

    from audit.sources.storage.files import network_forbidden
    from dashboard.api.routes import routes
    from dashboard.guard import Guard
    from dashboard.state import open_finished

    guard = Middleware(Guard, token=os.environ.pop(TOKEN), hosts=served["hosts"], port=served["port"])
    app = App(
        Path(__file__).with_name("app.py"),
        routes=routes(lambda: open_finished(served["run"], served["source"]), within=lambda: network_forbidden(forbidden=served["offline"])),
        middleware=[guard],
    )
    app.run(config={**SETTINGS, "server.port": served["port"]})


def _warm(run: str, source: str | None) -> None:
    """Read what the first page and the first decision need: for a million images this takes seconds, while Streamlit and the browser start."""
    from audit.errors import AuditError
    from dashboard.api.content import cards
    from dashboard.api.desk import desk_of
    from dashboard.api.queues import Wanted, queue
    from dashboard.state import open_finished, summary_of

    with suppress(AuditError):  # the page shows the error
        opened = open_finished(run, source)
        summary_of(opened)
        desk = desk_of(opened)
        _ = opened.identical_copies
        cards(desk, queue(desk, Wanted("labels", {})).ids[:16])
    for name in ("altair", "scipy.cluster.hierarchy"):  # their import takes a second, which would delay the first confusion matrix
        import_module(name)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
