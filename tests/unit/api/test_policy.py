"""The rules, their defaults, and what policy files change."""

from __future__ import annotations

import pathlib

from oslo_config import cfg
from oslo_policy import generator
import pytest
import webob.exc
import yaml

from backup_framework.api import context, policies, policy, watching
from backup_framework.exceptions import ConfigurationError
from backup_framework.model import Backup, Volume

ROOT = pathlib.Path(__file__).resolve().parents[3]

# Cinder's defaults, by who may: its page "Policy Personas and Permissions".
READERS = {
    'backup:get_all', 'backup:get', 'volume:get_all', 'volume:get', 'volume:get_all_snapshots',
    'volume:get_snapshot', 'volume_extension:volume_tenant_attribute',
    'limits_extension:used_limits'}
MEMBERS = READERS | {'backup:create', 'backup:update', 'backup:delete', 'backup:restore'}
ADMINS = MEMBERS | {
    'backup:backup-import', 'backup:export-import', 'backup:backup_project_attribute',
    'volume_extension:backup_admin_actions:reset_status',
    'volume_extension:backup_admin_actions:force_delete', 'volume_extension:services:index',
    'volume_extension:services:update'}


@pytest.fixture
def rules(tmp_path):
    """Gives `rules(text of policy.yaml)`."""
    def made(text: str | None = None) -> policy.Rules:
        (tmp_path / 'main.conf').write_text('')
        if text is not None:
            (tmp_path / 'policy.yaml').write_text(text)
        oslo = cfg.ConfigOpts()
        oslo(args=[], default_config_files=[str(tmp_path / 'main.conf')], default_config_dirs=[])
        return policy.Rules(oslo)
    return made


def caller(rules: policy.Rules, *roles: str, project: str = 'p1') -> context.RequestContext:
    return context.RequestContext(rules=rules, user_id='u', project_id=project,
                                  roles=context.implied(roles))


def names() -> set[str]:
    return {rule.name for rule in policies.list_rules() if ':' in rule.name}


@pytest.mark.parametrize('roles, may', [
    ((), set()), (('other',), set()), (('reader',), READERS), (('member',), MEMBERS),
    (('admin',), ADMINS)])
def test_defaults_are_cinders(rules, roles, may):
    found = rules()
    who = caller(found, *roles)
    of_cinder = {name for name in names() if not name.startswith('backup-framework:')}
    assert {name for name in of_cinder if policy.allowed(who, name)} == may


def test_every_rule_of_cinder_is_judged_here():
    assert ADMINS == {name for name in names() if not name.startswith('backup-framework:')}


@pytest.mark.parametrize('role', ['reader', 'member'])
def test_what_another_project_has_is_for_admins(rules, role):
    found = rules()
    for target in ({'project_id': 'p2'}, Backup(project_id='p2'), Volume(project_id='p2')):
        assert not policy.allowed(caller(found, role), 'backup:get', target)
        assert policy.allowed(caller(found, 'admin'), 'backup:get', target)
        assert policy.allowed(caller(found, role, project='p2'), 'backup:get', target)


def test_what_has_no_project_counts_as_the_callers(rules):
    assert policy.allowed(caller(rules(), 'reader'), 'volume:get', Volume())


def test_a_refusal_has_cinders_words(rules):
    with pytest.raises(webob.exc.HTTPForbidden) as refused:
        policy.check(caller(rules(), 'reader'), 'backup:create')
    assert refused.value.detail == "Policy doesn't allow backup:create to be performed."
    policy.check(caller(rules(), 'member'), 'backup:create')


def test_without_rules_nothing_is_allowed():
    who = context.RequestContext(user_id='u', project_id='p', roles=['admin'])
    assert not policy.allowed(who, 'backup:get') and not who.is_admin and who.scope == 'p'


def test_a_rule_that_there_is_not_is_a_mistake(rules):
    with pytest.raises(Exception, match='backup:gett'):
        policy.check(caller(rules(), 'admin'), 'backup:gett')


def test_a_file_overrides_rules(rules):
    found = rules('"backup:create": "role:creator"\n"context_is_admin": "role:boss"\n')
    assert policy.allowed(caller(found, 'creator'), 'backup:create')
    assert not policy.allowed(caller(found, 'member'), 'backup:create')
    assert policy.allowed(caller(found, 'member'), 'backup:delete'), 'others stay'
    assert caller(found, 'boss').scope is None
    assert caller(found, 'admin').scope == 'p1'


def test_a_file_that_changes_is_read_again(rules, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(watching, 'LOOK_EVERY', 0)
    found = rules()
    member = caller(found, 'member')
    assert policy.allowed(member, 'backup:create')
    (tmp_path / 'policy.yaml').write_text('"backup:create": "!"\n')
    assert not policy.allowed(member, 'backup:create')
    (tmp_path / 'policy.yaml').write_text('"backup:create": [\n')
    assert not policy.allowed(member, 'backup:create'), 'while it is wrong the last one counts'
    assert 'cannot be used' in caplog.text
    (tmp_path / 'policy.yaml').unlink()
    assert policy.allowed(member, 'backup:create')


def test_a_directory_of_files_is_read(rules, tmp_path, monkeypatch):
    monkeypatch.setattr(watching, 'LOOK_EVERY', 0)
    (tmp_path / 'policy.d').mkdir()
    (tmp_path / 'policy.d' / 'ours.yaml').write_text('"backup:create": "!"\n')
    found = rules('"backup:get": "@"\n')
    assert not policy.allowed(caller(found, 'member'), 'backup:create')
    assert policy.allowed(caller(found), 'backup:get')
    (tmp_path / 'policy.d' / 'ours.yaml').write_text('"backup:delete": "!"\n')
    assert policy.allowed(caller(found, 'member'), 'backup:create')
    assert not policy.allowed(caller(found, 'member'), 'backup:delete')


@pytest.mark.parametrize('text', [
    '"backup:create": [\n', '- a\n', 'text', '"backup:create": "rule:nobody"\n',
    '"a": "rule:b"\n"b": "rule:a"\n', '"backup:create": "role:member and ("\n'])
def test_a_file_that_makes_no_sense_is_refused(rules, text):
    with pytest.raises(ConfigurationError, match='policy.yaml cannot be used'):
        rules(text)


def test_a_misspelled_rule_is_told(rules, caplog):
    rules('"backup:creat": "!"\n"our_helpers": "role:member"\n')
    assert 'backup:creat in the policy file' in caplog.text
    assert 'our_helpers' not in caplog.text


def sample() -> str:
    """As oslopolicy-sample-generator writes it."""
    rules = {'backup_framework': policies.list_rules()}
    return ''.join(generator._sort_and_format_by_section(rules))


def test_the_sample_is_current():
    path = ROOT / 'etc' / 'backup_framework' / 'policy.yaml.sample'
    assert path.read_text() == sample(), 'run "make genconfig"'


def test_the_sample_has_every_rule():
    text = '\n'.join(line.removeprefix('#') for line in sample().splitlines()
                     if line.startswith('#"'))
    assert yaml.safe_load(text) == {
        rule.name: rule.check_str for rule in policies.list_rules()}


@pytest.mark.parametrize('given, all_', [
    ([], []), (['admin'], ['admin', 'member', 'reader']), (['member'], ['member', 'reader']),
    (['reader', 'x'], ['reader', 'x']), (['x', 'member'], ['x', 'member', 'reader']),
    (['member', 'member', 'admin'], ['member', 'admin', 'reader'])])
def test_roles_imply_others(given, all_):
    assert context.implied(given) == all_
