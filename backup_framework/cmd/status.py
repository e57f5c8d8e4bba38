"""backup-framework-status: whether the service can be started as it is installed and configured."""

from __future__ import annotations

from backup_framework import conf
from backup_framework.cmd import programs


def main() -> int:
    parser = programs.parser('backup-framework-status', 'Says whether the service can be started.')
    parser.add_argument('words', nargs='*', metavar='upgrade check',
                        help='ends with 0 when all is well, 1 with warnings, 2 with failures')
    parser.add_argument('--json', action='store_true', help='for programs')
    options = parser.parse_args()
    if options.words != ['upgrade', 'check']:
        parser.error('the command is "upgrade check"')

    def work() -> int:
        configuration = conf.load(options.config_file or None)
        conf.setup_logging(configuration, quiet=True)
        with programs.needing_the_extra():
            from backup_framework.cmd import upgrade_checks
        return upgrade_checks.run(configuration,
                                  [*options.words, *(['--json'] if options.json else [])])
    return programs.run(work)
