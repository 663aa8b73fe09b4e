"""The checks, one module each, found without being listed anywhere: ``discover`` finds them, ``run_check`` runs one."""

from audit.checks.base import Check, Finding, Missing, Result, Skipped
from audit.checks.discovery import discover
from audit.pipeline.check_execution import run_check

__all__ = ["Check", "Finding", "Missing", "Result", "Skipped", "discover", "run_check"]
