"""Which version of the API a header asks for."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
import microversion_parse
import pytest
import webob.exc

from backup_framework.api import microversions
from backup_framework.api.microversions import HEADER, MAX, MIN, wanted


@pytest.mark.parametrize('text, version', [
    ('volume 3.64', (3, 64)), ('volume latest', MAX), ('VOLUME 3.9', (3, 9)),
    ('compute 2.1, volume 3.43', (3, 43)), ('volume  3.0', (3, 0)),
    ('compute 2.90', MIN), ('', MIN), ('volume', MIN), ('3.64', MIN)])
def test_headers(text, version):
    assert wanted({HEADER: text}) == version


def test_no_header_is_the_first_version():
    assert wanted({}) == MIN == (3, 0)


@pytest.mark.parametrize('text', ['3.72', '2.64', '4.0', '3.999', '9999.9999'])
def test_what_is_not_there_is_not_acceptable(text):
    with pytest.raises(webob.exc.HTTPNotAcceptable) as refused:
        wanted({HEADER: f'volume {text}'})
    assert refused.value.detail == (f'Version {text} is not supported by the API. Minimum is 3.0 '
                                    f'and maximum is 3.71.')


@pytest.mark.parametrize('text', ['3', '3.', '.3', '3.x', '3.064', '03.1', '3.1.2', '-3.1', '٣.١',
                                  '3.1\n', '3 .1', 'newest', '3.' + '1' * 5000])
def test_what_is_no_version(text):
    with pytest.raises(webob.exc.HTTPBadRequest):
        wanted({HEADER: f'volume {text}x' if text.endswith('\n') else f'volume {text}'})


@given(st.text(st.characters(max_codepoint=255)))
def test_no_header_is_an_error_of_ours(text):
    try:
        version = wanted({HEADER: f'volume {text}'})
    except (webob.exc.HTTPBadRequest, webob.exc.HTTPNotAcceptable):
        return
    assert MIN <= version <= MAX


def test_milestones_are_in_order():
    """A version that stands at the wrong place is probably a wrong one."""
    found = [value for name, value in vars(microversions).items()
             if isinstance(value, microversion_parse.Version) and name not in ('MIN', 'MAX')]
    assert found == sorted(found) and len(set(found)) == len(found)
    assert all(MIN < each <= MAX for each in found)
