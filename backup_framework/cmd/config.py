"""The command on the configuration."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import TYPE_CHECKING

from backup_framework.cmd import base

if TYPE_CHECKING:
    from backup_framework.conf.samples import Group


class Sample(base.Base):
    """Print a sample configuration with all options, those of all installed drivers too."""

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        from backup_framework import conf
        print(conf.sample(self._plugins()), end='')

    def _plugins(self) -> Iterator[tuple[str, Group]]:
        """Sections of drivers that are not the core's, each with its distribution."""
        from backup_framework import conf, exceptions, loader
        from backup_framework.conf import samples
        for name, info in loader.drivers().items():
            if name in samples.DRIVERS:
                continue
            try:
                yield info.distribution, conf.driver_opts(name, loader.load(name))
            except exceptions.ConfigurationError as error:
                self.warn(f'there is no section [{name}], because {error}')
            except Exception as error:
                self.warn(f'there is no section [{name}], because its OPTIONS cannot be read: '
                          f'{error}; "backup-framework driver check {name}" says what is wrong')
