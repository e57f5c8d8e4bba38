"""A driver of backup_framework for SFTP servers."""

__version__ = '0.1.0'
