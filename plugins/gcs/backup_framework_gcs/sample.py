"""The plugin's section of the sample configuration."""

from __future__ import annotations

from typing import Any

from backup_framework import conf
from backup_framework_gcs import driver


def list_opts() -> list[tuple[Any, list[Any]]]:
    return [conf.driver_opts('gcs', driver.GCSBackupDriver)]
