"""A driver of backup_framework for Google Cloud Storage."""

__version__ = '0.1.0'
