"""Drivers that are broken in exactly one way: at least one for each sentence of the contract."""

from __future__ import annotations

from tests.conformance.broken import backups, containers, failures, general, objects
from tests.conformance.broken.register import BROKEN

__all__ = ['BROKEN', 'backups', 'containers', 'failures', 'general', 'objects']
