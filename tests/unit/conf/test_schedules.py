"""The [schedule:NAME] sections."""

import datetime

import pytest

from backup_framework import exceptions

WHOLE = """
[schedule:nightly]
cron = 30 2 * * 1-5
timezone = Europe/Berlin
volumes = web, 6b0f2a51-0000-4000-8000-000000000000
source = images
backend = local
incremental = no
name = {schedule}: {volume} of {date}
project_id = demo
keep_daily = 7
keep_within = 3d
protect = keep
"""


def test_all_that_a_section_may_say(loaded):
    configuration = loaded(WHOLE)
    (schedule,) = configuration.schedules()
    assert configuration.warnings == []
    assert (schedule.name, schedule.cron) == ('nightly', '30 2 * * 1-5')
    assert schedule.volumes == ('web', '6b0f2a51-0000-4000-8000-000000000000')
    assert (schedule.source, schedule.backend, schedule.project_id) == ('images', 'local', 'demo')
    assert schedule.incremental is False
    assert schedule.rules == {'daily': 7, 'within': datetime.timedelta(days=3),
                              'protect': ['keep']}
    now = datetime.datetime(2026, 7, 1, 22, 30, tzinfo=datetime.UTC)
    assert schedule.name_at('web', now) == 'nightly: web of 2026-07-02'


def test_as_little_as_it_may_say(loaded):
    (schedule,) = loaded('[schedule:all]\ncron = 0 2 * * *\nvolumes = *\n').schedules()
    assert schedule.incremental and schedule.rules == {}
    assert str(schedule.timezone) == 'UTC'
    now = datetime.datetime(2026, 7, 1, 2, 0, tzinfo=datetime.UTC)
    assert schedule.name_at('web', now) == 'web 2026-07-01 02:00'
    assert len(schedule.name_at('v' * 300, now)) == 255


def test_without_sections_there_are_none(loaded):
    assert loaded('').schedules() == []


@pytest.mark.parametrize('text, said', [
    ('[schedule:x]\nvolumes = *', 'lacks cron'),
    ('[schedule:x]\ncron = 0 2 * * *', 'lacks volumes'),
    ('[schedule:x]\ncron = 0 2 * * *\nvolumes = ,', 'lacks volumes'),
    ('[schedule:]\ncron = 0 2 * * *\nvolumes = *', 'lacks the name'),
    ('[schedule:x]\ncron = 0 2 * * *\nvolumes = *, web', 'stands for all'),
    ('[schedule:x]\ncron = 0 2 * * *\nvolumes = *\ntimezone = Mars/Base', 'a time zone like'),
    ('[schedule:x]\ncron = 0 2 * * *\nvolumes = *\ntimezone = ../../etc/passwd', 'a time zone'),
    ('[schedule:x]\ncron = 0 2 * * *\nvolumes = *\nname = {host}', 'stand in braces'),
    ('[schedule:x]\ncron = 0 2 * * *\nvolumes = *\nname = {volume.x}', 'stand in braces'),
    ('[schedule:x]\ncron = 0 2 * * *\nvolumes = *\nname = {volume', 'stand in braces'),
    ('[schedule:x]\ncron = 0 2 * * *\nvolumes = *\nname = {date:%Y}', 'stand in braces'),
    ('[schedule:x]\ncron = 0 2 * * *\nvolumes = *\nbackend = loca', 'did you mean local?'),
    ('[schedule:x]\ncron = 0 2 * * *\nvolumes = *\nkeep_daily = -1', 'at least 0'),
])
def test_what_makes_no_sense(loaded, text, said):
    with pytest.raises(exceptions.ConfigurationError, match=said):
        loaded(text).schedules()


def test_a_misspelled_option_is_a_warning(loaded):
    (warning,) = loaded('[schedule:x]\ncron = 0 2 * * *\nvolumes = *\nkeep_dayly = 7').warnings
    assert 'did you mean keep_daily?' in warning


def test_a_reload_changes_adds_and_removes_schedules(loaded, tmp_path):
    configuration = loaded('[schedule:a]\ncron = 0 2 * * *\nvolumes = *\n'
                           '[schedule:b]\ncron = 0 3 * * *\nvolumes = *\n')
    assert [each.cron for each in configuration.schedules()] == ['0 2 * * *', '0 3 * * *']
    (tmp_path / 'test.conf').write_text('[schedule:a]\ncron = 0 4 * * *\nvolumes = web\n'
                                        '[schedule:c]\ncron = 0 5 * * *\nvolumes = *\n')
    configuration.reload()
    assert [(each.name, each.cron, each.volumes) for each in configuration.schedules()] == [
        ('a', '0 4 * * *', ('web',)), ('c', '0 5 * * *', ('*',))]


def test_a_reload_of_files_that_cannot_be_read_changes_nothing(loaded, tmp_path):
    configuration = loaded('[schedule:a]\ncron = 0 2 * * *\nvolumes = *\n')
    (tmp_path / 'test.conf').write_text('[schedule:b\n')
    with pytest.raises(exceptions.ConfigurationError, match='line 1'):
        configuration.reload()
    assert [each.name for each in configuration.schedules()] == ['a']


@pytest.mark.parametrize('text', [
    '[service]\nbackup_max_operations = many', '[DEFAULT]\nenabled_backends = vault',
    '[DEFAULT]\ndebug = perhaps', '[schedule:a]\ncron = 0 4 * * *'])
def test_a_reload_of_files_that_make_no_sense_changes_nothing(loaded, tmp_path, text):
    configuration = loaded('[schedule:a]\ncron = 0 2 * * *\nvolumes = *\n')
    before = configuration.service()
    (tmp_path / 'test.conf').write_text(text + '\n')
    with pytest.raises(exceptions.ConfigurationError):
        configuration.reload()
    assert [each.cron for each in configuration.schedules()] == ['0 2 * * *']
    assert configuration.service() == before and configuration.debug is False
