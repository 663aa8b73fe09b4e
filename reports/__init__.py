"""A finished run as text and files: one module per format, ``render(run) -> str``; what formats share is in `reports.content`.

A module may define ``ENDINGS`` and ``FILE``, see `audit.run.report_formats`. `audit` finds formats by the entry points in ``pyproject.toml``.
"""
