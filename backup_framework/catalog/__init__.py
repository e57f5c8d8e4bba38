"""This installation's record of backups, volumes and running operations."""

from backup_framework.catalog.catalog import Catalog
from backup_framework.catalog.operations import Running

__all__ = ['Catalog', 'Running']
