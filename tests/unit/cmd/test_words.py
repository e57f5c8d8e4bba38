"""What the command line makes of words, errors and numbers."""

from __future__ import annotations

import argparse
import datetime
import inspect
import signal

import pytest

from backup_framework import exceptions
from backup_framework.cmd import base, columns, exit_codes, main
from backup_framework.model import Backup


@pytest.mark.parametrize('given, expected', [
    ('backup list --debug', '--debug backup list'),
    ('backup list -q --limit 1', '-q backup list --limit 1'),
    ('backup --config-file x list', '--config-file x backup list'),
    ('backup list --config-file=x', '--config-file=x backup list'),
    ('backup list --config-file', '--config-file backup list'),
    ('backup create -- --debug', 'backup create -- --debug'),
    ('backup create --name=--debug', 'backup create --name=--debug'),
    ('backup create --debug=x', 'backup create --debug=x'),
    ('', ''),
])
def test_options_of_the_application_come_first(given, expected):
    assert main._options_first(given.split()) == expected.split()


CODES = {
    'ConfigurationError': 2, 'DriverNotFound': 2, 'DriverLoadError': 2, 'InvalidInput': 2,
    'InvalidName': 2, 'NotFound': 3, 'BackupNotFound': 3, 'VolumeNotFound': 3,
    'BackendNotFound': 3, 'Refused': 4, 'InvalidBackup': 4, 'BackupInUse': 4, 'InvalidVolume': 4,
    'SnapshotNotFound': 3, 'JobNotFound': 3, 'QuotaExceeded': 4,
    'InvalidTarget': 4, 'ForeignContainer': 4, 'NotSupported': 4, 'UnsupportedVersion': 4,
    'KeyUnavailable': 4, 'VolumeError': 5,
    'VolumeChanged': 5, 'NoSpace': 7, 'CatalogError': 5, 'CatalogReadOnly': 5,
    'CatalogCorrupt': 6, 'BackupDriverException': 5, 'DriverBug': 1, 'StoreError': 5,
    'ObjectNotFound': 5, 'ContainerNotFound': 5, 'PermissionDenied': 5, 'StoreFull': 7,
    'ObjectExists': 5, 'StoreUnavailable': 5, 'FormatError': 6, 'CorruptManifest': 6,
    'CorruptObject': 6, 'MissingObject': 6, 'OperationCancelled': 130, 'BackupFrameworkError': 1,
}


def test_every_error_has_its_code():
    errors = dict(inspect.getmembers(exceptions, inspect.isclass))
    words = {exceptions.QuotaExceeded: ('backups', 1, 1)}
    found = {name: exit_codes.of(error(*words.get(error, ('x',)))) for name, error in errors.items()
             if issubclass(error, Exception)}
    assert found == CODES


def test_codes_of_interruptions_and_of_what_is_not_ours():
    assert exit_codes.of(exceptions.OperationCancelled(signal=signal.SIGTERM)) == 143
    assert exit_codes.of(KeyboardInterrupt()) == 130
    assert exit_codes.of(ValueError('x')) == 1


@pytest.mark.parametrize('codes, worst', [
    ([], 0), ([0, 0], 0), ([2, 5], 5), ([6, 7], 6), ([6, 130], 130), ([0, 3], 3)])
def test_one_code_for_several_operations(codes, worst):
    assert exit_codes.worst(codes) == worst


@pytest.mark.parametrize('size, text', [
    (0, '0 B'), (1023, '1023 B'), (1024, '1.0 KiB'), (1 << 20, '1.0 MiB'),
    (3 << 29, '1.5 GiB'), (5000 << 40, '5000.0 TiB')])
def test_sizes_for_people(size, text):
    assert columns.human_size(size) == text


def test_times_are_utc_as_in_cinders_api():
    zone = datetime.timezone(datetime.timedelta(hours=2))
    assert columns.time(datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=zone)) == (
        '2026-01-02T01:04:05')
    assert columns.time(None) is None


def test_pairs():
    assert base.key_value('a=b=c') == ('a', 'b=c') and base.key_value('a=') == ('a', '')
    for wrong in ('a', '=b', '', 'a\udcff=b'):
        with pytest.raises(argparse.ArgumentTypeError):
            base.key_value(wrong)


@pytest.mark.parametrize('text, shown', [
    ('plain ö 日本', 'plain ö 日本'), ('\x1b[2J', r'\x1b[2J'), ('a\nb\r', r'a\nb\r'),
    ('\u202eback', r'\u202eback'), ('\x9b1m', r'\x9b1m')])
def test_what_moves_the_cursor_is_escaped(text, shown):
    assert base.printable(text) == shown


def test_a_listing_has_every_key_but_the_dear_one():
    assert set(columns.BACKUP) - set(columns.BACKUP_LIST) == {'has_dependent_backups'}
    assert set(columns.BACKUP_TABLE) < set(columns.BACKUP_LIST)
    fields = {'name', 'description', 'volume', 'has_dependent_backups', 'is_incremental'}
    assert set(columns.BACKUP) - fields <= set(vars(Backup()))


def test_stopping_asks_once_and_then_does_not():
    class Monitor:
        asked: list[int] = []

        def cancel(self, number):
            self.asked.append(number)

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(exceptions.OperationCancelled), base.stopping(Monitor()):
        signal.raise_signal(signal.SIGINT)
        assert Monitor.asked == [signal.SIGINT]
        signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before and Monitor.asked == [signal.SIGINT]
