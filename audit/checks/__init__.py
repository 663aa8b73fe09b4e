"""The checks, one module each, found without being listed anywhere: ``discover`` finds them."""

from audit.checks.base import Check, Finding, Missing, Result, Skipped
from audit.checks.discovery import discover

__all__ = ["Check", "Finding", "Missing", "Result", "Skipped", "discover"]
