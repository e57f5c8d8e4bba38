"""The [volumes:NAME] sections: where the volumes come from that the service offers."""

import pytest

from backup_framework import loader
from backup_framework.conf.sources import SourceConfig
from backup_framework.exceptions import ConfigurationError, DriverLoadError, DriverNotFound
from backup_framework.interface.volume_source import VolumeSource
from backup_framework.volumes.file import FileVolumes

IMAGES = '[volumes:images]\ntype = file\npath = $state_path/images\n'


def test_they_come_in_the_order_of_the_file_and_nothing_is_loaded(loaded):
    found = loaded('[volumes:b]\ntype = nobody:Knows\nproject_id = demo\n'
                   '[Volumes: a ]\ntype = block\navailability_zone = nova\nodd = 1\n').sources()
    assert found == [SourceConfig('b', 'nobody:Knows', 'volumes:b', project_id='demo'),
                     SourceConfig('a', 'block', 'Volumes: a ', availability_zone='nova')]


def test_they_are_no_volumes(loaded):
    configuration = loaded(IMAGES)
    assert configuration.volumes() == [] and configuration.warnings == []


def test_the_settings_of_a_source(loaded, tmp_path):
    configuration = loaded(IMAGES + 'keep_snapshot = yes\n')
    settings = configuration.source_settings(configuration.sources()[0], FileVolumes)
    assert settings.path == f'{tmp_path}/state/images'
    assert settings.keep_snapshot is True and settings.pattern == '*'


@pytest.mark.parametrize('text, words', [
    ('[volumes:]\ntype = file', 'cannot be the name of a source'),
    ('[volumes:a/b]\ntype = file', 'cannot be the name of a source'),
    ('[volumes:a]\npath = /x', r'section \[volumes:a\] lacks its type'),
    ('[volumes:a]\ntype = file\n[volumes: a]\ntype = file', 'several sections .* have the name a')])
def test_a_section_that_makes_no_sense(loaded, text, words):
    with pytest.raises(ConfigurationError, match=words):
        loaded(text).sources()


@pytest.mark.parametrize('text, words', [
    ('patern = *.img', 'a source of type file has no such option; did you mean pattern'),
    ('keep_snapshot = perhaps', 'keep_snapshot must be yes or no')])
def test_options_that_make_no_sense(loaded, text, words):
    configuration = loaded(f'{IMAGES}{text}\n')
    with pytest.raises(ConfigurationError, match=words):
        configuration.source_settings(configuration.sources()[0], FileVolumes)


def test_sources_are_found_by_their_entry_points():
    for name in ('file', 'block', 'nbd', 'cinder'):
        assert loader.load_heir(name, loader.VOLUME_SOURCES, VolumeSource).OPTIONS
    with pytest.raises(DriverNotFound, match='offers a source of volumes flie; did you mean file'):
        loader.load_heir('flie', loader.VOLUME_SOURCES, VolumeSource)
    with pytest.raises(DriverLoadError, match='must inherit .*VolumeSource and write __init__, '):
        loader.load_heir('pathlib:Path', loader.VOLUME_SOURCES, VolumeSource)
