"""Report formats: one module each, ``render(run) -> str``; shared code is in `reports.content`.

A module may define ``ENDINGS`` and ``FILE``, see `audit.run.report_formats`. `audit` finds formats by the entry points in ``pyproject.toml``.
"""
