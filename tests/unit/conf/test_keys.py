"""The [key:NAME] sections, and the options of backends that name them."""

import pytest

from backup_framework import conf, loader
from backup_framework.exceptions import ConfigurationError
from backup_framework.interface.key_manager import KeyManager
from backup_framework.key_managers.file import KeyFile
from backup_framework.key_managers.passphrase import Passphrase

FILE = '[key:main]\ntype = file\npath = /keys/main\n'
PHRASE = 'canary correct horse battery staple'


def backend(text, more=FILE):
    return f'[DEFAULT]\nenabled_backends = a\n{more}\n[a]\ndriver = x\npath = /x\n{text}\n'


def test_keys_come_in_the_order_of_the_file_and_nothing_is_read(loaded):
    found = loaded('[key:b]\ntype = file\n[key: a ]\ntype = nobody:Knows\n'
                   '[Key:C]\ntype = x\n').keys()
    assert [(key.name, key.type) for key in found.values()] == [
        ('b', 'file'), ('a', 'nobody:Knows'), ('C', 'x')]


def test_the_settings_of_a_key(loaded, tmp_path):
    configuration = loaded(FILE.replace('/keys', '$state_path/keys'))
    settings = configuration.key_settings(configuration.keys()['main'], KeyFile)
    assert settings.path == f'{tmp_path}/state/keys/main'
    assert configuration.warnings == []


def test_a_passphrase_comes_from_a_file(loaded, tmp_path):
    (tmp_path / 'phrase').write_text(f'{PHRASE}\n')
    (tmp_path / 'phrase').chmod(0o600)
    configuration = loaded(f'[key:p]\ntype = passphrase\npassphrase_file = {tmp_path}/phrase\n')
    settings = configuration.key_settings(configuration.keys()['p'], Passphrase)
    assert settings.passphrase == PHRASE
    assert PHRASE not in f'{settings!r} {settings.shown()}'
    assert conf.mask(f'it is {PHRASE}') == 'it is ***'


def test_a_passphrase_that_stands_there_is_masked_before_it_is_read(loaded):
    loaded(f'[key:p]\ntype = passphrase\npassphrase = {PHRASE}\n')
    assert 'canary' not in conf.mask(f'it is {PHRASE}')


@pytest.mark.parametrize('text, words', [
    ('[key:]\ntype = file', 'cannot be the name of a key'),
    ('[key:a b]\ntype = file', 'cannot be the name of a key'),
    ('[key:a/b]\ntype = file', 'cannot be the name of a key'),
    (f'[key:{"a" * 65}]\ntype = file', 'cannot be the name of a key'),
    ('[key:a]\npath = /x', r'section \[key:a\] lacks its type'),
    ('[key:a]\ntype = file\npath = /x\n[key: a]\ntype = file', 'have one name'),
])
def test_a_section_that_makes_no_sense(loaded, text, words):
    with pytest.raises(ConfigurationError, match=words):
        loaded(text).keys()


@pytest.mark.parametrize('text, words', [
    ('pth = /x', r'\[key:main\] pth: a key of type file has no such option; did you mean path'),
    ('driver = local', r'\[key:main\] driver: a key of type file has no such option'),
    ('', r'section \[key:main\] lacks path, which a key of type file requires'),
])
def test_options_of_a_key_that_make_no_sense(loaded, text, words):
    configuration = loaded(f'[key:main]\ntype = file\n{text}\n')
    with pytest.raises(ConfigurationError, match=words):
        configuration.key_settings(configuration.keys()['main'], KeyFile)


def test_both_a_passphrase_and_its_file_are_too_many(loaded):
    configuration = loaded(f'[key:p]\ntype = passphrase\npassphrase = {PHRASE}\n'
                           'passphrase_file = /x\n')
    with pytest.raises(ConfigurationError, match='both given') as caught:
        configuration.key_settings(configuration.keys()['p'], Passphrase)
    assert 'canary' not in str(caught.value)


def test_a_backend_seals_for_its_keys(loaded, path_driver):
    settings = loaded(backend('encryption = aes-256-gcm\nkeys = main')).settings('a', path_driver)
    assert (settings.encryption, settings.keys, settings.unsealed) == (
        'aes-256-gcm', ['main'], 'refuse')


def test_a_backend_that_says_nothing_does_not_seal(loaded, path_driver):
    settings = loaded(backend('')).settings('a', path_driver)
    assert (settings.encryption, list(settings.keys)) == ('none', [])


def test_the_defaults_of_backends_may_seal(loaded, path_driver):
    more = f'{FILE}[backend_defaults]\nencryption = aes-256-gcm\nkeys = main\n'
    assert loaded(backend('', more)).settings('a', path_driver).keys == ['main']
    assert loaded(backend('encryption = none', more)).settings('a', path_driver).keys == ['main']


@pytest.mark.parametrize('text, words', [
    ('encryption = aes-256-gcm', r'section \[a\] wants encryption, but no keys; write keys = NAME'),
    ('encryption = aes', 'encryption must be one of none, aes-256-gcm'),
    ('encryption = aes-256-gcm\nkeys = mian',
     r'\[a\] keys names mian, but there is no section \[key:mian\]; did you mean main\?'),
    ('keys = other\nencryption = none', r'there is no section \[key:other\]'),
    ('keys = main', 'nothing says that they are; write encryption = aes-256-gcm'),
    ('encryption = aes-256-gcm\nkeys = main, main', 'must name each key once'),
    ('encryption = aes-256-gcm\nkeys = main\nformat = 1.0.0',
     'format 1.0.0 has none; write format = 2.0.0'),
    ('encryption = aes-256-gcm\nkeys = main\nunsealed = maybe',
     'unsealed must be one of refuse, accept'),
])
def test_a_backend_that_would_not_be_sealed_as_it_looks(loaded, path_driver, text, words):
    configuration = loaded(backend(text))
    with pytest.raises(ConfigurationError, match=words):
        configuration.settings('a', path_driver)


def test_more_keys_than_a_backup_has_room_for(loaded, path_driver):
    names = [f'k{number}' for number in range(33)]
    more = ''.join(FILE.replace('main]', f'{name}]') for name in names)
    text = f'encryption = aes-256-gcm\nkeys = {", ".join(names)}'
    with pytest.raises(ConfigurationError, match='32 of them at most'):
        loaded(backend(text, more)).settings('a', path_driver)


def test_the_sample_shows_each_key_manager(loaded):
    sample = conf.sample()
    for name in loader.key_managers():
        assert f'[key:{name}]\n' in sample and f'#type = {name}\n' in sample
        for option in loader.load_key_manager(name).OPTIONS:
            assert f'#{option.name} = ' in sample


def test_a_section_of_a_key_is_no_surprise_to_the_checks(loaded):
    assert loaded(FILE).warnings == []


def test_key_managers_are_found_like_drivers():
    assert list(loader.key_managers()) == ['castellan', 'file', 'passphrase']
    for name in loader.key_managers():
        assert issubclass(loader.load_key_manager(name), KeyManager)
    with pytest.raises(ConfigurationError, match='key manager passfrase; did you mean passphrase'):
        loader.load_key_manager('passfrase')
    with pytest.raises(ConfigurationError, match='must inherit .*KeyManager and write'):
        loader.load_key_manager('collections:OrderedDict')
    with pytest.raises(ConfigurationError, match='must inherit .*KeyManager and write'):
        loader.load_key_manager('backup_framework.interface.key_manager:KeyManager')
    with pytest.raises(ConfigurationError, match='the key manager nowhere:X of .* be imported'):
        loader.load_key_manager('nowhere:X')
