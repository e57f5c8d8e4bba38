"""Loads the files into oslo.config and answers what the layers above ask."""

from __future__ import annotations

from collections.abc import Sequence
import contextlib
import dataclasses
import functools
import io
import logging
import os
import re
from typing import Any

from oslo_config import cfg

from backup_framework.conf import (
    api,
    checks,
    core,
    files,
    keys,
    logs,
    masking,
    retention,
    schedules,
    service,
    settings,
    sources,
    state,
    volumes,
)
from backup_framework.conf.api import ApiConfig
from backup_framework.conf.keys import KeyConfig
from backup_framework.conf.schedules import ScheduleConfig
from backup_framework.conf.service import JobboardConfig, ServiceConfig
from backup_framework.conf.sources import SourceConfig
from backup_framework.conf.values import Values, nearest
from backup_framework.conf.volumes import VolumeConfig
from backup_framework.exceptions import BackendNotFound, ConfigurationError
from backup_framework.model import Quota, Settings

LOG = logging.getLogger(__name__)

# What the last `load` put into the process-wide oslo.config object; the next one takes it away.
_loaded: list[Values] = []

_SECRET_NAME = re.compile(r'passw|passphrase|secret|token|api_?key|access_key|encryption_key',
                          re.IGNORECASE)


@dataclasses.dataclass(frozen=True)
class BackendConfig:
    """An enabled backend.

    :ivar driver: the name of an entry point, or the path of a class.
    :ivar section: its section in the files; the backend local may do without one.
    """

    name: str
    driver: str
    section: str


class Configuration:
    """All options, checked when they are asked for.

    :ivar files: the files that were read, in order; empty if there are none.
    :ivar state_path: absolute; need not exist.
    :ivar connection: the catalog's SQLAlchemy URL. Secret: show `describe_source` instead.
    :ivar enabled_backends: names, at least one.
    :ivar default_backend: one of them.
    :ivar metrics_file: a path for Prometheus' node exporter, or None.
    :ivar failure_command: words for an exec without a shell, empty for no command.
    :ivar debug: the files ask for logging of everything.
    :ivar warnings: sentences about what was probably misspelled. What is found later, when
        settings are asked for, is added and logged.
    :ivar oslo: the oslo.config object behind, for libraries that want one.
    """

    def __init__(self, values: Values, state_path: str | None) -> None:
        self._values = values
        self._known: dict[str, set[str]] = {}
        self._settings: dict[tuple[str, type], Settings] = {}
        self.oslo = values.oslo
        self.files = list(values.text.files)
        self.state_path = self._read_state_path(state_path)
        self.debug = bool(values.get(None, 'debug'))
        self.metrics_file: str | None = self._values.get(None, 'metrics_file')
        self.failure_command = values.words(None, 'failure_command')
        self.connection = self._read_connection()
        self.enabled_backends = self._read_enabled()
        self.default_backend = self._read_default()
        for name in self.enabled_backends:
            values.register([core.DRIVER], name)
            self.backend(name)
        self.warnings = values.warnings
        self.warnings += checks.warnings(values, self.enabled_backends, default_names())

    def _read_state_path(self, given: str | None) -> str:
        """An argument wins over the files, the files over what suits the user."""
        path = given or self._values.get(None, 'state_path') or state.default_state_path()
        path = state.check_state_path(path)
        self.oslo.set_override('state_path', path)
        return path

    def _read_connection(self) -> str:
        self._values.register(core.DATABASE, 'database')
        url = self._values.secret('database', 'connection')
        # Not the whole URL is secret: messages say which catalog is in use.
        masking.add_url(url)
        return url or f'sqlite:///{self.state_path}/catalog.sqlite'

    def _read_enabled(self) -> list[str]:
        names = [name for name in self._values.get(None, 'enabled_backends') if name]
        if not names:
            label = self._values.label(None, 'enabled_backends')
            raise ConfigurationError(f'{label} is empty; name at least one backend')
        checks.check_backend_names(names, default_names())
        return names

    def _read_default(self) -> str:
        name = self._values.get(None, 'default_backend') or self.enabled_backends[0]
        if name not in self.enabled_backends:
            raise ConfigurationError(
                f'{self._values.label(None, "default_backend")}: the backend {name} is not enabled'
                f'{nearest(name, self.enabled_backends)}')
        return name

    def describe_source(self) -> str:
        """A sentence that says which files and which catalog are in use."""
        read = ', '.join(self.files) or f'none (there is no {files.MAIN_FILE})'
        return f'Configuration: {read}. Catalog: {masking.mask(self.connection)}'

    def backend(self, name: str) -> BackendConfig:
        """:raises BackendNotFound: it is not enabled.
        :raises ConfigurationError: it has no section or no driver.
        """
        if name not in self.enabled_backends:
            raise BackendNotFound(f'no backend {name} is enabled'
                                  f'{nearest(name, self.enabled_backends)} (enabled: '
                                  f'{", ".join(self.enabled_backends)})')
        driver = self._values.get(name, 'driver') or self._implied(name).get('driver')
        if driver:
            return BackendConfig(name, driver, name)
        if self._values.text.options(name):
            raise ConfigurationError(f'section [{name}] lacks its driver; write driver = NAME, as '
                                     f'"backup-framework driver list" shows them')
        raise ConfigurationError(
            f'{self._values.label(None, "enabled_backends")} names {name}, but there is no '
            f'section [{name}]{nearest(name, self._values.text.sections())}')

    def _implied(self, name: str) -> dict[str, str]:
        """What the backend local has when nothing is written about it."""
        if name != core.LOCAL or self._values.text.options(name):
            return {}
        return {'driver': core.LOCAL, 'path': '$state_path/backups'}

    def settings(self, name: str, driver_class: type) -> Settings:
        """The settings of a backend for its driver, ready for use.

        :param driver_class: what the loader says of `backend(name).driver`.
        :raises BackendNotFound: the backend is not enabled.
        :raises ConfigurationError: an unknown option, a wrong value, one that is missing.
        """
        backend = self.backend(name)
        if (name, driver_class) not in self._settings:
            options = settings.options_of(driver_class).values()
            self._known[backend.driver] = set(settings.registered_options(options))
            self._refuse_defaults_of_nobody()
            said = len(self.warnings)
            made = settings.make(self._values, name, driver_class, self._implied(name))
            keys.check_backend(self._values, name, made, self.keys())
            self._settings[name, driver_class] = made
            self._log_warnings(said)
        return self._settings[name, driver_class]

    def _log_warnings(self, said: int) -> None:
        """Nobody looks at the list so late."""
        for sentence in self.warnings[said:]:
            LOG.warning(sentence)

    def keys(self) -> dict[str, KeyConfig]:
        """What the [key:NAME] sections say, by name, in the order of the files.

        :raises ConfigurationError: one of them has no type, or a name that makes no sense.
        """
        return keys.read_all(self._values)

    def key_settings(self, key: KeyConfig, manager_class: type) -> Settings:
        """The settings of a key, ready for use; secrets are read now.

        :param manager_class: what the loader says of its type.
        :raises ConfigurationError: an unknown option, a wrong value, one that is missing.
        """
        said = len(self.warnings)
        made = keys.make(self._values, key, manager_class)
        self._log_warnings(said)
        return made

    def sources(self) -> list[SourceConfig]:
        """What the [volumes:NAME] sections say, in the order of the files.

        :raises ConfigurationError: one of them has no type, or a name that makes no sense.
        """
        return sources.read_all(self._values)

    def source_settings(self, source: SourceConfig, source_class: type) -> Settings:
        """The settings of a source of volumes, ready for use; see `key_settings`."""
        said = len(self.warnings)
        made = sources.make(self._values, source, source_class)
        self._log_warnings(said)
        return made

    def named_paths(self, name: str) -> list[str]:
        """The absolute paths in a backend's section, whatever they are for.

        For a backend whose settings cannot be had: one of them may be where its store is.
        """
        texts = self._values.texts(name, self._implied(name))
        paths = [os.path.normpath(os.path.expanduser(text)) for text in texts]
        # A store that fills the host's root is none; one on a server may well be its root.
        return [path for path in paths if os.path.isabs(path) and path.strip('/')]

    def _refuse_defaults_of_nobody(self) -> None:
        """An option of [backend_defaults] that no driver has is an error, once all are known."""
        if {self.backend(name).driver for name in self.enabled_backends} - set(self._known):
            return
        known = set().union(*self._known.values())
        for name in self._values.text.options(core.DEFAULTS):
            if name not in known:
                raise ConfigurationError(
                    f'{self._values.label(core.DEFAULTS, name)}: no enabled backend has such an '
                    f'option{nearest(name, known)}')

    def volumes(self) -> list[VolumeConfig]:
        """What the [volume:NAME] sections say, in the order of the files.

        :raises ConfigurationError: one of them makes no sense.
        """
        return [self._volume(name, section)
                for name, section in volumes.section_names(self._values).items()]

    def volume(self, name: str) -> VolumeConfig | None:
        """What [volume:NAME] says, or None where there is no such section."""
        section = volumes.section_names(self._values).get(name)
        return None if section is None else self._volume(name, section)

    def retention(self, name: str | None) -> dict[str, Any]:
        """The rules for a volume of this name, or for one without a name: what is given of last,
        hourly, daily, weekly, monthly, yearly, within and protect.

        :raises ConfigurationError: a value that makes no sense.
        """
        return retention.read(self._values, volumes.section_names(self._values).get(name or ''))

    def _volume(self, name: str, section: str) -> VolumeConfig:
        volume = volumes.read(self._values, name, section)
        self._check_backend(section, volume.backend)
        return volume

    def service(self) -> ServiceConfig:
        """What [service] says now.

        :raises ConfigurationError: a value that makes no sense.
        """
        return service.read_service(self._values)

    def jobboard(self) -> JobboardConfig:
        """What [jobboard] says.

        :raises ConfigurationError: a value that makes no sense.
        """
        return service.read_jobboard(self._values)

    def _check_backend(self, section: str, name: str | None) -> None:
        if name is not None and name not in self.enabled_backends:
            raise ConfigurationError(
                f'{self._values.label(section, "backend")}: the backend {name} is not '
                f'enabled{nearest(name, self.enabled_backends)}')

    def text_of(self, section: str, option: str) -> str:
        """What a file or the environment says of an option of a library, '' where none does."""
        return self._values.raw(section, option)

    def schedules(self) -> list[ScheduleConfig]:
        """What the [schedule:NAME] sections say now, in the order of the files.

        :raises ConfigurationError: one of them makes no sense.
        """
        found = []
        for name, section in schedules.section_names(self._values).items():
            found.append(schedules.read(self._values, name, section))
            self._check_backend(section, found[-1].backend)
        return found

    @functools.cached_property
    def api(self) -> ApiConfig:
        """What [api] says.

        :raises ConfigurationError: a value that makes no sense.
        """
        return api.read_api(self._values)

    @functools.cached_property
    def quota(self) -> Quota:
        """What a project may have.

        :raises ConfigurationError: a value that makes no sense.
        """
        return api.read_quota(self._values)

    def reload(self) -> None:
        """Read the files again: options that are mutable have their new values from now on.

        :raises ConfigurationError: a file cannot be read or makes no sense; nothing has changed.
        """
        text = files.read(self.files)
        checks.check_case(text)
        self._try(text)
        self.oslo.mutate_config_files()
        self._values.text = text

    def _try(self, text: files.Text) -> None:
        """Read what a reload would, with an oslo.config object of its own."""
        values = Values(cfg.ConfigOpts(), text)
        values.oslo.register_opts([*logs.options(), *core.CORE])
        _read(values.oslo, text)
        tried = Configuration(values, self.state_path)
        tried.service()
        tried.schedules()


def load(config_files: Sequence[str] | None = None, config_dirs: Sequence[str] | None = None,
         state_path: str | None = None, *, oslo: cfg.ConfigOpts | None = None) -> Configuration:
    """Read the configuration; an earlier one of this process is no longer valid afterwards.

    :param config_files: read instead of /etc/backup_framework; each must exist.
    :param config_dirs: whose `*.conf` are read as well, in the order of their names.
    :param state_path: wins over what the files say.
    :param oslo: a fresh oslo.config object to use instead of the process-wide `cfg.CONF`.
    :raises ConfigurationError: what is wrong, in which file, line, section or option.
    """
    text = files.read(files.find(config_files, config_dirs))
    checks.check_case(text)
    masking.forget_secrets()
    _mask_what_looks_secret(text)
    default_names()
    if oslo is None:
        oslo = cfg.CONF
        while _loaded:
            _loaded.pop().unregister()
        _loaded.append(values := Values(oslo, text))
    else:
        values = Values(oslo, text)
    _parse(oslo, text)
    return Configuration(values, state_path)


def _parse(oslo: cfg.ConfigOpts, text: files.Text) -> None:
    logs.register_options(oslo, text)
    oslo.register_opts(core.CORE)
    _read(oslo, text)


def _read(oslo: cfg.ConfigOpts, text: files.Text) -> None:
    config_files = list(text.files)
    said = io.StringIO()
    try:
        # No arguments: the command line has a parser of its own.
        with contextlib.redirect_stderr(said):
            oslo(args=[], project='backup_framework', default_config_files=config_files,
                 default_config_dirs=[])
    except (cfg.Error, ValueError, OSError) as error:
        raise ConfigurationError(
            f'{", ".join(config_files)}: {masking.mask(str(error))}') from None
    except SystemExit:
        # oslo.config prints what is wrong with some values, and ends the process.
        raise ConfigurationError(
            f'{", ".join(config_files)}: {masking.mask(said.getvalue().strip())}') from None


def _mask_what_looks_secret(text: files.Text) -> None:
    """Values whose options are not known yet, because their drivers are not loaded."""
    for section in text.sections():
        for name, value in text.options(section).items():
            if _SECRET_NAME.search(name) and not name.endswith(('_file', '_path')):
                masking.add_secret(value)


@functools.cache
def default_names() -> frozenset[str]:
    """The options of [DEFAULT], oslo.config's and oslo.log's included."""
    fresh = cfg.ConfigOpts()
    fresh.register_opts([*logs.options(), *core.CORE])
    fresh(args=[], default_config_files=[], default_config_dirs=[], use_env=False)
    return frozenset(fresh)
