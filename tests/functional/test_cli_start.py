"""How a command starts, where options may stand, what is written to which stream."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import subprocess
import sys

import pytest

from tests.functional import other_distribution

SECRET = 'kNu7-open-sesame'


def loaded_by(*argv: str, cwd: os.PathLike[str] | None = None) -> set[str]:
    """The modules that a fresh interpreter has imported when the command ends."""
    code = ('import sys\nfrom backup_framework.cmd import main\n'
            'try:\n    main.main(sys.argv[1:])\nexcept SystemExit:\n    pass\n'
            'print("\\n" + "\\n".join(sys.modules), file=sys.stderr)\n')
    done = subprocess.run([sys.executable, '-c', code, *argv], check=True, text=True,
                          capture_output=True, cwd=cwd)
    return set(done.stderr.split())


@pytest.mark.parametrize('argv', [
    ('--help',), ('--version',), ('backup', 'create', '--help'), ('help', 'backup', 'list')],
    ids=' '.join)
def test_help_imports_nothing_heavy(argv):
    loaded = loaded_by(*argv)
    assert 'backup_framework.cmd.main' in loaded
    heavy = {'sqlalchemy', 'alembic', 'oslo_config', 'oslo_log', 'zstandard', 'tenacity', 'rich',
             'backup_framework.manager', 'backup_framework.catalog', 'backup_framework.engine',
             'backup_framework.drivers'}
    assert not loaded & heavy


def test_listing_drivers_loads_none():
    assert not {name for name in loaded_by('driver', 'list')
                if name.startswith(('backup_framework.drivers.', 'sqlalchemy'))}


def test_listing_backups_loads_no_driver(cli, volume):
    cli.create(volume)
    loaded = loaded_by('--config-file', str(cli.config), 'backup', 'list')
    assert not {name for name in loaded if name.startswith('backup_framework.drivers.')}
    assert 'alembic' not in loaded and 'rich' not in loaded


SELDOM = {'alembic', 'docutils', 'rich', 'yaml', 'oslo_config.generator', 'oslo_log.log',
          'oslo_utils.strutils'}
"""What only a migration, the sample, a terminal, debugging or bad news needs."""


@pytest.mark.parametrize('words', [
    'backup list -f json', 'backup show {id}', 'volume list', 'backup create {volume}',
    'backup create --incremental {volume}', 'backup restore {id} new', 'backup verify {id}'])
def test_no_command_imports_what_it_seldom_needs(cli, volume, words):
    made = cli.create(volume)
    argv = words.format(id=made['id'], volume=volume).split()
    loaded = loaded_by('--config-file', str(cli.config), *argv, cwd=cli.directory)
    assert 'oslo_config.cfg' in loaded
    assert not loaded & SELDOM


def test_garbage_is_looked_for_once_the_manager_is_there(cli):
    code = ('import gc, sys\n'
            'usual = gc.get_threshold()\n'
            'from backup_framework.cmd import base, main\n'
            'class Look(base.Base):\n'
            '    def take_action(self, parsed_args):\n'
            '        print(gc.get_threshold() == usual)\n'
            '        with self.manager():\n'
            '            print(gc.get_threshold() == usual, gc.get_freeze_count() > 1000)\n'
            'main.App.run_subcommand = lambda self, argv: Look(self, None).run(None)\n'
            'main.main(sys.argv[1:])\n')
    done = subprocess.run([sys.executable, '-c', code, '--config-file', cli.config, 'look'],
                          check=True, text=True, capture_output=True)
    assert done.stdout.splitlines() == ['False', 'True True']


def test_no_garbage_is_looked_for_at_the_end():
    code = ('import atexit, gc\n'
            'atexit.register(lambda: print(len(gc.get_objects()) < 100))\n'
            'from backup_framework.cmd import main\n'
            'main.main(["--version"])\n')
    done = subprocess.run([sys.executable, '-c', code], check=True, text=True,
                          capture_output=True)
    assert done.stdout.splitlines()[-1] == 'True'


@pytest.fixture
def other(tmp_path):
    return other_distribution.OtherDistribution(tmp_path)


HEAVY = {'paramiko', 'cryptography', 'google', 'google.cloud', 'requests', 'shelf_heavy'}


@pytest.mark.parametrize('words', ['--version', '--help', 'backend list', 'backup list',
                                   'driver list'])
def test_no_command_imports_what_only_a_driver_needs(cli, other, words):
    """Neither of our own plugins, where they are installed, nor of anybody else's."""
    sections = {'shelf': 'board = upper', 'sftp': 'host = shelf.example',
                'gcs': 'bucket = shelf'}
    cli.configure(''.join(f'[{name}]\ndriver = {name}\n{line}\n'
                          for name, line in sections.items()),
                  default='enabled_backends = local, shelf, sftp, gcs')
    done = other.run('--config-file', cli.config, *words.split())
    assert done.returncode == 0 and not done.stderr.count('Error')
    assert 'backup_framework.cmd.main' in other.loaded()
    assert not other.loaded() & HEAVY
    assert not {name for name in other.loaded() if re.match(r'(backup_framework_|shelf_)', name)
                and words != '--help'}


def test_a_command_of_another_distribution(other):
    done = other.run('shelf', 'open-door', '--wide')
    assert (done.returncode, done.stdout, done.stderr) == (0, 'wide open\n', '')
    assert '--wide' in other.run('shelf', 'open-door', '--help').stdout
    assert re.search('shelf open-door +Open the door', other.run('--help').stdout)


def test_a_command_must_be_written_out(cli, volume, other):
    """What somebody has begun to write may be another command than the one that fits today."""
    made = cli.create(volume)
    for words in (('delet', made['id']), ('d', made['id']), ('creat', volume)):
        assert re.search('no command backup .* did you mean one of .*backup create, .*delete',
                         cli.refused(2, 'backup', *words))
    for words in (('back', 'list'), ('backup', 'lis', '-f', 'json')):
        assert 'no command' in cli.refused(2, *words)
    assert [each['id'] for each in cli.json('backup', 'list')] == [made['id']]
    done = other.run('shelf', 'open')
    assert done.returncode == 2 and 'did you mean one of shelf' in done.stderr
    assert 'usage' not in cli.run('help', 'backup', 'creat').out


def test_a_command_that_cannot_be_imported(cli, other):
    done = other.run('shelf', 'close', '--tightly', 'now')
    assert done.returncode == 2 and not done.stdout
    assert done.stderr == (
        'Error: the command shelf close of shelf-backup 1.2 cannot be imported: '
        "ModuleNotFoundError: No module named 'shelf_that_nobody_installed'\n")
    for words in (['--help'], ['help', 'shelf', 'close'], ['complete'],
                  ['shelf', 'open-door'], ['driver', 'list']):
        done = other.run(*words)
        assert done.returncode == 0 and not done.stderr, words
        assert 'shelf_that_nobody' not in done.stdout
    assert re.search('shelf close +Cannot be used: shelf-backup 1.2 is broken',
                     other.run('--help').stdout)


def test_a_command_of_ours_cannot_be_replaced(cli, other):
    done = other.run('--config-file', cli.config, 'backup', 'list', '-f', 'json')
    assert done.returncode == 0 and json.loads(done.stdout) == []


def test_the_sample_has_the_drivers_of_other_distributions(cli, other):
    done = other.run('config', 'sample')
    assert done.returncode == 0
    core, _, theirs = done.stdout.partition('[shelf]')
    assert '[nfs]' in core and '[volume:example]' in core
    assert '# From shelf-backup\n' in theirs and '#driver = shelf\n' in theirs
    assert '# Which board. (string)\n#board = <None>\n' in theirs
    warnings = {line for line in done.stderr.splitlines() if 'section [' in line}
    assert len(warnings) == 2
    assert any('[hook], because the driver hook of shelf-backup 1.2 cannot be imported' in line
               for line in warnings)
    assert any('[odd]' in line and 'driver check odd' in line for line in warnings)
    assert '[hook]' not in done.stdout and '[odd]' not in done.stdout
    cli.config.write_text(done.stdout + f'\n[DEFAULT]\nstate_path = {cli.state}\n')
    done = other.run('--config-file', cli.config, 'backend', 'list')
    assert done.returncode == 0 and 'Warning' not in done.stderr


def test_help_and_version(cli):
    help = cli.good('--help')
    for command in ('backup create', 'volume list', 'catalog rebuild', 'config sample'):
        assert command in help.out
    assert cli.good().out == help.out and not help.err
    assert re.fullmatch(r'backup-framework \d+\.\d+\.\d+\n', cli.good('--version').out)
    for words in (('backup', 'create', '--help'), ('help', 'backup', 'create')):
        shown = cli.good(*words).out
        assert '--incremental' in shown and '--property K=V' in shown
    for words in (('backup', 'run', '-h'), ('backend', 'clean', '--help')):
        assert cli.good(*words).out.startswith('usage: backup-framework')


def test_the_installed_command(cli, volume):
    done = cli.script('backup', 'create', volume, '-f', 'json')
    assert done.returncode == 0 and json.loads(done.stdout)['status'] == 'available'
    assert not done.stderr
    done = cli.script('backup', 'show', 'nothing')
    assert done.returncode == 3 and done.stderr == 'Error: there is no backup nothing\n'
    done = subprocess.run([sys.executable, '-m', 'backup_framework.cmd.main', '--version'],
                          stdout=subprocess.PIPE, check=True)
    assert done.stdout.startswith(b'backup-framework')


def test_options_before_and_behind_the_verb(cli, volume):
    config = ('--config-file', cli.config)
    assert cli.good(*config, 'backup', 'list', config=False).code == 0
    assert cli.good('backup', 'list', *config, config=False).code == 0
    assert cli.good('backup', f'--config-file={cli.config}', 'list', config=False).code == 0
    for words in (('--quiet', 'backup', 'create', volume, '--incremental'),
                  ('backup', 'create', volume, '--no-incremental', '-q')):
        assert cli.good(*words).err == ''
    for words in (('--debug', 'volume', 'list'), ('volume', 'list', '--debug')):
        done = cli.good(*words)
        assert str(cli.config) in done.err and str(cli.state / 'catalog.sqlite') in done.err
        assert 'Configuration' not in done.out


def test_a_value_may_look_like_an_option_of_ours(cli, volume):
    made = cli.create(volume, '--name=--quiet')
    assert made['name'] == '--quiet'
    shown = cli.good('backup', 'show', '-f', 'json', '--', '--quiet').json
    assert shown['id'] == made['id']
    os.rename(volume, cli.directory / '--debug')
    cli.good('backup', 'create', '--', '--debug')


def test_without_any_file_a_local_backend_works(cli, volume):
    environment = {'XDG_STATE_HOME': str(cli.directory / 'mine')}
    if os.geteuid() == 0 or os.path.exists('/etc/backup_framework'):
        pytest.skip('root keeps its state elsewhere, or this machine has a configuration')
    made = cli.create(volume, config=False, env=environment)
    assert made['backend'] == 'local'
    assert (cli.directory / 'mine' / 'backup_framework' / 'backups').is_dir()


def test_several_files_of_configuration(cli, volume):
    more = cli.directory / 'more.conf'
    more.write_text(f'[local]\npath = {cli.directory}/second\n')
    cli.create(volume, '--config-file', more)
    assert cli.objects() == [] and (cli.directory / 'second').is_dir()


def test_results_on_stdout_and_the_rest_on_stderr(cli, volume):
    done = cli.good('backup', 'create', volume, '--incremental', '-f', 'json')
    assert json.loads(done.out) and done.err.startswith('Warning: ')
    assert cli.good('backup', 'list', '-f', 'value', '-c', 'status').out == 'available\n'
    assert cli.good('backup', 'list', '-f', 'csv').out.startswith('"id","name"')
    assert cli.good('backup', 'show', done.json['id'], '-f', 'yaml').out.startswith('id: ')


def test_a_reader_that_goes_away_is_no_error(cli, make_volume):
    for words in (('backup', 'list'), ('config', 'sample'), ('--help',), ('driver', 'list')):
        reading, writing = os.pipe()
        os.close(reading)
        done = cli.script(*words, stdout=writing)
        os.close(writing)
        # cliff ends by itself when it shows help.
        assert done.returncode == (0 if words == ('--help',) else 141) and not done.stderr, words


def test_a_full_disk_under_stdout_is_said(cli):
    with open('/dev/full', 'w') as full:
        done = cli.script('driver', 'list', stdout=full)
    assert done.returncode == 5 and 'No space left' in done.stderr
    assert 'Traceback' not in done.stderr and done.stderr.count('\n') == 1


def test_no_secret_is_shown(cli, volume):
    cli.configure(f'[database]\nconnection = postgresql://me:{SECRET}@localhost:1/x\n'
                  f'[extra]\ndriver = local\npath = /x\npassword = {SECRET}\n',
                  default='enabled_backends = local, extra')
    for words in (('backup', 'list'), ('backup', 'create', volume), ('backend', 'list'),
                  ('backend', 'show', 'extra')):
        done = cli.run(*words, '--debug')
        assert SECRET not in done.out + done.err
        assert 'postgresql' in done.err


def on_terminal(cli, *argv: object) -> tuple[int, str, bytes]:
    """Exit code, what a terminal shows, and stdout, which is a pipe."""
    master, slave = pty.openpty()
    process = subprocess.Popen(cli.script_words(*argv), cwd=cli.directory, stderr=slave,
                               stdout=subprocess.PIPE, env=os.environ | {
                                   'TERM': 'xterm', 'COLUMNS': '120', 'LINES': '40'})
    os.close(slave)
    shown = b''
    while select.select([master], [], [], 60)[0]:
        try:
            shown += os.read(master, 4096)
        except OSError:
            break
    out = process.communicate(timeout=60)[0]
    os.close(master)
    return process.returncode, shown.decode(), out


def test_progress_on_a_terminal(cli, make_volume):
    volume = make_volume(size=9_000_000)
    cli.configure(compression='bz2', workers=0)
    code, shown, out = on_terminal(cli, 'backup', 'create', volume, '-f', 'json')
    assert code == 0 and re.search(r'\b[1-9]\d?%', shown) and re.search(r'[kMG]?i?B/s', shown)
    assert json.loads(out)['status'] == 'available'
    quiet = on_terminal(cli, 'backup', 'create', volume, '-f', 'json', '--quiet')
    assert quiet[:2] == (0, '')


def test_no_progress_elsewhere(cli, make_volume):
    assert cli.good('backup', 'create', make_volume(size=5_000_000)).err == ''


def test_bash_completion(cli):
    script = cli.good('complete').out
    assert 'backup-framework' in script and 'cmds_backup=' in script
    # What bash-completion gives, as far as the script asks for it.
    given = '_get_comp_words_by_ref() { cur=re; words=(backup-framework backup re); }\n'
    words = subprocess.run(
        ['bash', '-c', f'{given}{script}\n_backup_framework; echo "${{COMPREPLY[@]}}"'],
        text=True, stdout=subprocess.PIPE, check=True).stdout
    assert words.split() == ['restore']


def test_a_sample_of_the_configuration(cli, volume):
    sample = cli.good('config', 'sample').out
    for word in ('[DEFAULT]', 'enabled_backends', 'chunk_size', 'freeze_command', '[local]'):
        assert word in sample
    cli.config.write_text(sample + f'\n[DEFAULT]\nstate_path = {cli.state}\n')
    assert cli.create(volume)['backend'] == 'local'


def test_a_name_cannot_move_the_cursor(cli, volume):
    evil = '\x1b[2Jx\ny'
    made = cli.create(volume, '--name', evil, '--property', f'k={evil}')
    assert made['name'] == evil
    for words in (('backup', 'list'), ('backup', 'show', evil), ('backup', 'delete', evil)):
        done = cli.good(*words)
        assert '\x1b' not in done.out and r'\x1b[2Jx\ny' in done.out
    assert '\x1b' not in cli.refused(3, 'backup', 'show', evil)


def test_bytes_that_are_no_text(cli, volume):
    cli.create(volume)
    bad = os.fsdecode(b'\xff')
    assert 'not valid text' in cli.refused(2, 'backup', 'create', volume, '--name', bad)
    assert cli.run('backup', 'create', volume, '--property', f'{bad}=x').code == 2
    assert cli.refused(3, 'backup', 'show', bad)
    volume.rename(cli.directory / bad)
    assert 'not valid text' in cli.refused(2, 'backup', 'create', bad)
    cli.good('backup', 'restore', cli.json('backup', 'list')[0]['id'], f'{bad}2')
    assert len(list(cli.directory.glob('*2'))) == 1
