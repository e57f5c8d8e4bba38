"""The sample file is current, complete and harmless."""

import os
import pathlib
import subprocess
import sys

from oslo_config import cfg

from backup_framework import conf
from backup_framework.driver.options import SHARED
from backup_framework.model import Option, OptionType

ETC = pathlib.Path(__file__).parents[3] / 'etc' / 'backup_framework'
SAMPLE = ETC / 'backup_framework.conf.sample'
GENERATOR = ('import sys, oslo_config.generator as g; '
             'sys.exit(g.main(["--config-file", sys.argv[1], "--output-file", sys.argv[2]]))')


def test_the_sample_is_current():
    """If not: oslo-config-generator --config-file etc/backup_framework/config-generator.conf"""
    assert SAMPLE.read_text() == conf.sample()


def test_it_is_what_oslo_config_generator_makes(tmp_path):
    folder = tmp_path / 'site' / 'backup_framework-0.dist-info'
    folder.mkdir(parents=True)
    (folder / 'METADATA').write_text(
        'Metadata-Version: 2.1\nName: backup-framework\nVersion: 0\n')
    (folder / 'entry_points.txt').write_text(
        '[oslo.config.opts]\nbackup_framework = backup_framework.conf:list_opts\n')
    path = os.pathsep.join([str(tmp_path / 'site'), str(ETC.parents[1]), *sys.path])
    subprocess.run(
        [sys.executable, '-c', GENERATOR, str(ETC / 'config-generator.conf'),
         str(tmp_path / 'made')],
        check=True, cwd=tmp_path,
        env=os.environ | {'PYTHONPATH': path, 'XDG_CACHE_HOME': str(tmp_path / 'cache')})
    assert (tmp_path / 'made').read_text() == SAMPLE.read_text()


def test_the_sample_as_it_is_changes_nothing(tmp_path):
    configuration = conf.load([str(SAMPLE)], state_path=str(tmp_path))
    assert configuration.warnings == []
    assert configuration.enabled_backends == ['local']
    assert configuration.backend('local').driver == 'local'
    assert configuration.volumes() == []


def test_every_example_in_the_sample_can_be_used(tmp_path, loaded):
    """Each line without its # is what its option accepts."""
    lines = [line[1:] if line.startswith('#') and line[1:2].isalpha() else line
             for line in SAMPLE.read_text().splitlines()]
    text = '\n'.join(line for line in lines if not line.endswith('= <None>'))
    text = text.replace('enabled_backends = local', 'enabled_backends = local,nfs').replace(
        '[volume:example]', '[volume:example]\npath = /dev/vg/example')
    configuration = loaded(text)
    assert configuration.warnings == []
    for section, options in conf.list_opts():
        name = getattr(section, 'name', section)
        if name in ('local', 'nfs'):
            check_settings(configuration, name, {option.dest for option in options})
    assert configuration.volumes()[0].path == '/dev/vg/example'


def check_settings(configuration, name, expected):
    from backup_framework.drivers import local, nfs
    driver_class = {'local': local.LocalBackupDriver, 'nfs': nfs.NFSBackupDriver}[name]
    found = set(configuration.settings(name, driver_class))
    assert expected - {'driver'} <= found
    assert {option.name for option in SHARED} <= found


def test_every_option_has_help_and_no_path_of_this_machine():
    for _, options in conf.list_opts():
        for option in options:
            assert option.help and option.help.strip().endswith('.'), option.name
    assert os.path.expanduser('~') + '/' not in conf.sample()
    assert str(ETC.parents[1]) not in conf.sample()


def test_the_example_of_a_plugin(secret_driver):
    group, options = conf.driver_opts('offsite', secret_driver, driver='secret')
    assert isinstance(group, cfg.OptGroup) and group.name == 'offsite'
    assert [option.name for option in options] == ['driver', 'host', 'password', 'password_file',
                                                   'port']
    assert options[0].sample_default == 'secret'
    assert options[2].secret is True


def test_sections_of_other_distributions_follow_the_cores():
    class Shelf:
        OPTIONS = (Option('boards', OptionType.LIST, ('upper', 'lower'), help='Which.'),)

    text = conf.sample([('shelf-backup', conf.driver_opts('attic', Shelf, driver='shelf'))])
    assert text.startswith(conf.sample().rstrip('\n'))
    theirs = text.removeprefix(conf.sample().rstrip('\n'))
    assert theirs.lstrip().startswith('[attic]') and '# From shelf-backup\n' in theirs
    assert '#boards = upper,lower\n' in theirs
