"""What oslo-config-generator shows of this driver."""

from __future__ import annotations

from backup_framework import conf
from backup_framework.conf.samples import Group
from backup_framework_sftp.driver import SFTPBackupDriver


def list_opts() -> list[Group]:
    """The entry point for `oslo.config.opts`."""
    return [conf.driver_opts('sftp', SFTPBackupDriver)]
