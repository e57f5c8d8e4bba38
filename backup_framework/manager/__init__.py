"""Runs operations: look up, check the state, call the driver, record the outcome."""

from backup_framework.manager.accepting import CreateJob
from backup_framework.manager.manager import Manager

__all__ = ['CreateJob', 'Manager']
