"""No secret leaves in a log or a message: forms, values, and everything around them."""

import io
import json
import logging
import sys
import urllib.parse

from hypothesis import example, given, strategies
from oslo_config import cfg
from oslo_log import formatters
import pytest

from backup_framework import conf
from backup_framework.conf import masking
from backup_framework.exceptions import ConfigurationError

SECRET = 'hunter2-S3cr+t/x'
PEM = ('-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEAAAAA\nhunter2\n'
       '-----END OPENSSH PRIVATE KEY-----')


@pytest.fixture(autouse=True)
def forgotten():
    masking.forget_secrets()
    yield
    masking.forget_secrets()


FORMS = [
    'password=hunter2', 'password = hunter2', 'password: hunter2', 'password hunter2',
    '--password hunter2', '--password=hunter2', 'PASSWORD=hunter2', 'db_password=hunter2',
    'passwd=hunter2', "'password': 'hunter2'", '"password": "hunter2"', '{"password":"hunter2"}',
    '{"password": "a\\"hunter2"}', "{'password': b'hunter2'}", 'password="hunter2 hunter2"',
    'passphrase: hunter2', 'passphrase = correct horse hunter2', 'passphrase hunter2',
    'ssh_key_passphrase=hunter2',
    'sftp://user:hunter2@host/path', 'postgresql://bf:hunter2@db/backups',
    'http://proxy:hunter2@10.0.0.1:3128/', 'rabbit://guest:hu@nter2hunter2@mq:5672//',
    'https://hunter2@github.com/x', 'mysql+pymysql://u:hunter2/x@h/d', 'redis://:hunter2@h/0',
    'Authorization: Bearer hunter2', 'authorization: Basic aHVudGVyMg== hunter2',
    "{'Authorization': 'Bearer hunter2'}", "('Authorization', 'Bearer hunter2')",
    'Bearer hunter2', "b'Bearer hunter2'", 'Proxy-Authorization: Basic hunter2',
    'X-Auth-Token: hunter2', "'X-Auth-Token': 'hunter2'", 'X-Auth-Token hunter2',
    "('X-Auth-Token', 'hunter2')", 'x-subject-token=hunter2', 'X-Service-Token: hunter2',
    'token=hunter2&x=1', 'https://x/o?upload_id=hunter2', 'upload_id: hunter2',
    'https://s/x?X-Goog-Signature=hunter2&y', 'https://s/x?sig=hunter2',
    'https://s/x?X-Amz-Credential=hunter2',
    'api_key=hunter2', 'apikey: hunter2', 'api-key hunter2', 'encryption_key=hunter2',
    'encryption_key: hunter2', 'master_key=hunter2', 'data_key=hunter2', 'access_key=hunter2',
    'secret_access_key = hunter2', 'client_secret=hunter2', 'aws_secret_access_key=hunter2',
    'backup_url: hunter2', "{'backup_service': 'x', 'backup_url': 'hunter2'}",
    'backup_url=hunter2', PEM, repr(PEM), json.dumps({'private_key': PEM}), PEM[:-40],
    'key\n' + PEM.replace('OPENSSH', 'RSA') + '\nend', '<password>hunter2</password>',
    'export OS_PASSWORD=hunter2', "['mount', '--password', 'hunter2']",
]


@pytest.mark.parametrize('text', FORMS)
def test_forms(text):
    assert 'hunter2' not in conf.mask(text)
    assert 'hunter2' not in conf.mask(f'before {text}')
    assert 'hunter2' not in conf.mask(f'{text} after')


@pytest.mark.parametrize('text', [
    'the password is wrong', 'password for user bf was rejected', 'a passphrase is required',
    'cannot read private_key /etc/backup_framework/id_ed25519: Permission denied',
    'password_file = /etc/backup_framework/password', 'section [a] lacks password',
    'sftp://vault.example.org:22/srv/backups', 'sftp://backup@vault.example.org/srv',
    'sqlite:////var/lib/backup_framework/catalog.sqlite', 'ssh://git@host/x',
    'no backend ofsite is enabled; did you mean offsite?',
    '-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----',
    '2 of 16 objects are missing: volume_1/backup_2-00001'])
def test_what_is_no_secret_stays(text):
    assert conf.mask(text) == text


def test_the_rest_of_a_message_stays():
    assert conf.mask('cannot log in at sftp://bf:hunter2@vault/srv: refused') == (
        'cannot log in at sftp://bf:***@vault/srv: refused')
    assert conf.mask('host=h password=hunter2 port=22') == 'host=h password=*** port=22'


def spelled(secret):
    return [secret, repr(secret)[1:-1], json.dumps(secret)[1:-1],
            urllib.parse.quote(secret, safe=''), urllib.parse.quote_plus(secret)]


secrets = strategies.text(min_size=4, max_size=60).filter(lambda text: text.strip() == text)


@given(secrets, strategies.text(max_size=20), strategies.text(max_size=20))
@example('a\nb-and-more', 'x', 'y')
@example('\\\\\\\\', '"', "'")
@example('****', '', '')
def test_a_registered_value_never_shows(secret, before, after):
    masking.forget_secrets()
    masking.add_secret(secret)
    for spelling in spelled(secret):
        masked = conf.mask(f'{before} {spelling} {after}')
        if spelling not in before + after and spelling.strip('*'):
            assert spelling not in masked


words = strategies.text('abcdefghijklmnopqrstuvwxyzABCXYZ0123456789+/._~!%^&', min_size=6,
                        max_size=40).map(lambda text: 'q9' + text + 'Z')


@given(words, strategies.sampled_from([
    'password={}', 'password: {}', '"password": "{}"', "'token': '{}'", 'X-Auth-Token: {}',
    'Authorization: Bearer {}', 'passphrase: {}', 'api_key {}', 'encryption_key={}',
    'backup_url={}', 'sftp://user:{}@host/path', 'https://h/?upload_id={}',
    '-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----']))
def test_any_secret_in_any_form(secret, form):
    masking.forget_secrets()
    assert secret not in conf.mask('it failed: ' + form.format(secret) + ' (try again)')


@given(strategies.text(max_size=200))
def test_any_text_can_be_masked(text):
    assert isinstance(conf.mask(text), str)


def test_long_texts_are_masked_in_time():
    for text in ('a' * 200_000, 'a.' * 100_000, 'token ' * 20_000, '"' * 100_000,
                 '://' * 50_000, 'http://a:' * 20_000):
        conf.mask(text[:50_000])


def test_a_short_secret_is_masked_as_a_word():
    masking.add_secret('ab')
    assert conf.mask('about ab, abc') == 'about ***, abc'


def test_lines_of_a_long_secret():
    masking.add_secret(PEM)
    assert 'b3BlbnNzaC1rZXktdjEAAAAA' not in conf.mask('read b3BlbnNzaC1rZXktdjEAAAAA')


# In logs

@pytest.fixture
def terminal(loaded):
    """A logger behind setup_logging, and what the terminal shows."""
    root = logging.getLogger()
    kept, level, hook = root.handlers[:], root.level, sys.excepthook
    stream = io.StringIO()

    def start(text='', **flags):
        for handler in kept:
            root.removeHandler(handler)
        conf.setup_logging(loaded(text), stream=stream, **flags)
        return logging.getLogger('backup_framework.test')
    start.shown = stream.getvalue
    yield start
    for handler in root.handlers[:]:
        root.removeHandler(handler)
    for handler in kept:
        root.addHandler(handler)
    root.setLevel(level)
    sys.excepthook = hook


def test_warnings_in_short_lines_on_the_terminal_alone(terminal, capsys):
    log = terminal()
    log.info('not this')
    log.warning('the share %s is slow', 'x')
    assert terminal.shown() == 'WARNING: the share x is slow\n'
    assert capsys.readouterr().out == ''


def test_quiet_and_debug(terminal):
    log = terminal(quiet=True)
    log.warning('not this')
    log = terminal(debug=True)
    log.debug('but this')
    assert 'not this' not in terminal.shown()
    assert 'DEBUG backup_framework.test: but this' in terminal.shown()


def test_messages_arguments_and_tracebacks(terminal):
    log = terminal(debug=True)
    log.error('cannot log in with %s', {'password': SECRET})
    log.error('password=%s', SECRET)
    try:
        raise OSError(f'sftp://u:{SECRET}@h refused\n{PEM}')
    except OSError:
        log.exception('it failed')
    log.error('wrong call %s %s', f'token={SECRET}')
    assert 'Traceback' in terminal.shown()
    assert 'refused' in terminal.shown()
    assert SECRET not in terminal.shown()
    assert 'hunter2' not in terminal.shown()


def test_values_of_the_configuration(terminal, secret_driver):
    log = terminal('[DEFAULT]\nenabled_backends = a\n[a]\ndriver = x\npassword = open sesame\n'
                   '[backend_defaults]\npassphrase = abracadabra\n')
    log.warning('the server said: open sesame abracadabra %s', 'open%20sesame')
    assert terminal.shown() == 'WARNING: the server said: *** *** ***\n'


@pytest.mark.parametrize('flags', [{}, {'debug': True}], ids=str)
def test_what_nobody_caught(terminal, flags):
    terminal(**flags)
    try:
        raise OSError(f'sftp://u:{SECRET}@h refused')
    except OSError as error:
        sys.excepthook(OSError, error, error.__traceback__)
    assert 'CRITICAL' in terminal.shown() and 'refused' in terminal.shown()
    assert SECRET not in terminal.shown()


LOGGING = """
[loggers]
keys = root
[handlers]
keys = file
[formatters]
keys = context
[logger_root]
level = INFO
handlers = file
[handler_file]
class = FileHandler
args = ('{}',)
formatter = context
[formatter_context]
class = oslo_log.formatters.ContextFormatter
"""


@pytest.mark.parametrize('in_file', [True, False])
def test_logging_as_a_file_of_its_own_says(terminal, tmp_path, monkeypatch, in_file):
    monkeypatch.setattr(formatters, '_CONF', None)
    (tmp_path / 'logging.conf').write_text(LOGGING.format(tmp_path / 'log'))
    text = ''
    if in_file:
        text = f'[DEFAULT]\nlog_config_append = {tmp_path}/logging.conf\n'
    else:
        monkeypatch.setenv('OS_DEFAULT__LOG_CONFIG_APPEND', f'{tmp_path}/logging.conf')
    terminal(text).info('password=%s', SECRET)
    assert terminal.shown() == ''
    assert (tmp_path / 'log').read_text().endswith('password=***\n')


def test_log_files(terminal, tmp_path):
    log = terminal(f'[DEFAULT]\nlog_file = {tmp_path}/log\n')
    log.warning('password=%s', SECRET)
    log.info('password=%s', SECRET)
    text = (tmp_path / 'log').read_text()
    assert text.count('password=***') == 2
    assert SECRET not in text


def test_json_stays_json(terminal, tmp_path):
    log = terminal(f'[DEFAULT]\nlog_file = {tmp_path}/log\nuse_json = yes\n')
    try:
        raise OSError(f'sftp://u:{SECRET}@h refused')
    except OSError:
        log.exception('passphrase: %s', SECRET, extra={'extra': {'api_key': SECRET}})
    text = (tmp_path / 'log').read_text()
    record = json.loads(text)
    assert record['message'] == 'passphrase: ***'
    assert 'refused' in record['traceback']
    assert SECRET not in text


def test_structured_handlers_get_masked_records():
    record = logging.LogRecord('x', logging.INFO, 'f', 1, 'token=%s', (SECRET,), None)
    masking.MaskingFilter().filter(record)
    assert record.getMessage() == 'token=***'
    assert SECRET not in str(vars(record))


def test_formatter_that_makes_no_text():
    """oslo.log's formatter for fluentd makes a dict."""
    formatters._store_global_conf(cfg.CONF)
    handler = logging.StreamHandler()
    handler.setFormatter(formatters.FluentFormatter())
    masking.install(handler)
    masking.install(handler)
    record = logging.LogRecord('x', logging.INFO, 'f', 1, 'token=%s', (SECRET,), None)
    handler.filter(record)
    assert handler.format(record)['message'] == 'token=***'
    assert len(handler.filters) == 1


def test_a_log_that_cannot_be_written(terminal):
    with pytest.raises(ConfigurationError, match='cannot set up logging'):
        terminal('[DEFAULT]\nlog_file = /nowhere/log\n')
