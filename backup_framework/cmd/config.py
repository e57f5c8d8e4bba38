"""The command on the configuration."""

from __future__ import annotations

import argparse

from backup_framework.cmd import base


class Sample(base.Base):
    """Print a sample configuration with all options."""

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        from backup_framework import conf
        print(conf.sample(), end='')
