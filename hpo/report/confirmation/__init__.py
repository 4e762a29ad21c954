"""Confirmation: the best trials of a study, trained again with new seeds, and what that shows."""

from __future__ import annotations

from hpo.report.confirmation.confirmation import Confirmation, read

__all__ = ["Confirmation", "read"]
