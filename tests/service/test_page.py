"""The status page in a real browser: what it shows, of whom it asks, and who can use it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
import copy
import datetime
import json
import shutil
import socketserver
import threading
import time
from typing import Any
from wsgiref import simple_server

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
import webob

from backup_framework.api import page
from tools.servers.installation import Installation

Browser = webdriver.Chrome
SECONDS = 20
NOW = datetime.datetime.now(datetime.UTC).replace(tzinfo=None)
FLAGS = ('headless=new', 'no-sandbox', 'disable-gpu', 'disable-quic', 'no-first-run',
         'disable-background-networking', 'disable-component-update', 'disable-sync',
         'window-size=1200,1400')
EVIL = '<img src=x onerror="document.title=1"><script>document.title=2</script>'


def ago(**time_span: float) -> str:
    return (NOW - datetime.timedelta(**time_span)).isoformat()


SUMMARY: dict[str, Any] = {
    'totals': {'backups': 412, 'stored_bytes': 5 << 40},
    'services': [
        {'host': 'first', 'binary': 'cinder-backup', 'up': True, 'zone': 'nova',
         'sources': ['images'], 'backends': ['vault'], 'seen_at': ago(seconds=4)},
        {'host': 'second', 'binary': 'cinder-backup', 'up': False, 'zone': 'nova',
         'sources': [], 'backends': [], 'seen_at': ago(minutes=40)},
        {'host': 'front', 'binary': 'backup-framework-api', 'up': True, 'zone': None,
         'sources': [], 'backends': [], 'seen_at': ago(seconds=4)}],
    'backends': [
        {'name': 'vault', 'driver': 'local', 'ok': True, 'error': None, 'free_bytes': 3 << 40,
         'backups': 300, 'stored_bytes': 4 << 40, 'checked_at': ago(seconds=20)},
        {'name': 'offsite', 'driver': 'sftp', 'ok': False, 'error': 'the host does not answer',
         'free_bytes': None, 'backups': 112, 'stored_bytes': 1 << 40,
         'checked_at': ago(minutes=2)}],
    'jobs': [
        {'id': 'a', 'kind': 'create', 'state': 'running', 'volume_id': 'v', 'volume_name': EVIL,
         'host': 'first', 'phase': 'backup', 'done': 3 << 30, 'total': 8 << 30,
         'started_at': ago(seconds=80), 'created_at': ago(seconds=90)},
        {'id': 'b', 'kind': 'verify', 'state': 'queued', 'volume_id': 'w', 'volume_name': 'mail',
         'host': None, 'phase': None, 'done': 0, 'total': None, 'started_at': None,
         'created_at': ago(seconds=9)}],
    'failures': [{'id': 'f', 'kind': 'create', 'name': None, 'volume_id': 'w',
                  'volume_name': 'mail', 'created_at': ago(hours=5),
                  'fail_reason': 'no space is left'}],
    'recent': [{'id': 'r', 'name': 'nightly', 'volume_id': 'v', 'volume_name': 'database',
                'status': 'available', 'size_bytes': 8 << 30, 'stored_bytes': 1 << 28,
                'is_incremental': True, 'created_at': ago(hours=3)}],
    'verification': [{'age': 'within a week', 'backups': 402}, {'age': 'never', 'backups': 10}],
    'growth': [{'day': f'2026-01-{day:02d}', 'made': 1, 'backups': day,
                'stored_bytes': day << 30} for day in range(1, 31)]}


@pytest.fixture(scope='module')
def browser(require_part: Callable[[str, str], None]) -> Iterator[Browser]:
    binary, driver = shutil.which('chromium'), shutil.which('chromedriver')
    if binary is None or driver is None:
        require_part('chromium', 'there is no chromium with its chromedriver')
    options = webdriver.ChromeOptions()
    options.binary_location = binary
    options.set_capability('goog:loggingPrefs', {'browser': 'ALL'})
    for flag in FLAGS:
        options.add_argument(f'--{flag}')
    made = webdriver.Chrome(options, Service(driver))
    made.set_page_load_timeout(SECONDS)
    yield made
    made.quit()


class Told:
    """Serves the page and a summary that the test says."""

    def __init__(self) -> None:
        self.summary = copy.deepcopy(SUMMARY)
        self.token: str | None = None
        self.asked: list[str] = []
        self.server = simple_server.make_server('127.0.0.1', 0, self, _Threads, _Quiet)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def address(self) -> str:
        return f'http://127.0.0.1:{self.server.server_port}/status'

    def __call__(self, environ: Any, start_response: Any) -> Any:
        request = webob.Request(environ)
        self.asked.append(request.path)
        if request.path == '/status':
            response = page.show(request)  # type: ignore[arg-type]
        elif self.token not in (None, request.headers.get('X-Auth-Token')):
            response = webob.Response(status=401)
        else:
            response = webob.Response(json.dumps({'summary': self.summary}).encode(),
                                      content_type='application/json')
        return response(environ, start_response)

    def stop(self) -> None:
        self.server.shutdown()
        self.server.server_close()


class _Threads(socketserver.ThreadingMixIn, simple_server.WSGIServer):
    """A browser opens connections that it may use later, and nobody waits for these."""

    daemon_threads = True


class _Quiet(simple_server.WSGIRequestHandler):
    def log_message(self, *args: Any) -> None:
        pass


@pytest.fixture
def told(browser: Browser) -> Iterator[Told]:
    made = Told()
    browser.set_window_size(1200, 1400)
    browser.get_log('browser')
    yield made
    browser.get('about:blank')
    made.stop()


def text(browser: Browser, id: str) -> str:
    return str(browser.find_element(By.ID, id).text)


def until(look: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + SECONDS
    while not look():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


def shown(browser: Browser, told: Told) -> None:
    browser.get(told.address)
    until(lambda: 'as of' in text(browser, 'state'), 'the page has its summary')


def test_all_parts_are_shown(browser: Browser, told: Told) -> None:
    shown(browser, told)
    for id, words in {
            'jobs': ('create', '38 %', '3.0 GiB of 8.0 GiB', 'first', 'waits'),
            'failures': ('mail', '5 hours ago', 'no space is left'),
            'backends': ('vault', 'well', '3.0 TiB free', 'offsite', 'the host does not answer'),
            'recent': ('nightly', 'database', 'available', '8.0 GiB', 'incremental'),
            'verified': ('within a week', '402', 'never'),
            'workers': ('first', 'up', 'second', 'down'),
            'tiles': ('412', '5.0 TiB', '1 of 2', '1\nworker alive')}.items():
        found = text(browser, id)
        assert all(word in found for word in words), (id, found)
    bar = browser.find_element(By.CSS_SELECTOR, '#jobs progress')
    assert float(str(bar.get_attribute('value'))) == 37.5
    assert browser.title == '(2) Backups'
    chart = browser.find_element(By.CSS_SELECTOR, '#growth svg')
    label = str(chart.get_attribute('aria-label'))
    assert label == 'From 1.0 GiB on 2026-01-01 to 30.0 GiB on 2026-01-30'
    assert len(browser.find_elements(By.CSS_SELECTOR, '#growth circle')) == 30


def test_names_are_text(browser: Browser, told: Told) -> None:
    shown(browser, told)
    assert EVIL in text(browser, 'jobs')
    assert not browser.find_elements(By.CSS_SELECTOR, 'main img, main script')
    assert browser.title == '(2) Backups'
    # Were a name markup all the same, nothing of it would run.
    browser.execute_script("document.getElementById('jobs').innerHTML = arguments[0]", EVIL)
    time.sleep(0.2)
    assert browser.title == '(2) Backups'


def test_nothing_comes_from_elsewhere_and_nothing_fails(browser: Browser, told: Told) -> None:
    shown(browser, told)
    assert set(told.asked) == {'/status', '/v3/backup-framework/summary'}
    loaded = browser.execute_script(
        "return performance.getEntriesByType('resource').map(each => each.name)")
    assert all(name.startswith(told.address.removesuffix('/status')) for name in loaded)
    assert browser.get_log('browser') == []


def test_it_goes_on_by_itself_until_it_is_paused(browser: Browser, told: Told) -> None:
    shown(browser, told)
    told.summary['totals']['backups'] = 413
    until(lambda: '413' in text(browser, 'tiles'), 'the next summary')
    browser.find_element(By.ID, 'pause').click()
    time.sleep(0.5)
    asked = len(told.asked)
    time.sleep(4)
    assert len(told.asked) == asked
    told.summary['totals']['backups'] = 414
    browser.find_element(By.ID, 'pause').click()
    until(lambda: '414' in text(browser, 'tiles'), 'the summary after the pause')


def test_a_tab_that_is_looked_at_again_asks_at_once_unless_it_is_paused(
        browser: Browser, told: Told) -> None:
    shown(browser, told)
    browser.find_element(By.ID, 'pause').click()
    browser.execute_script("""
        const real = window.fetch;
        window.asked = 0;
        window.fetch = (...words) => { ++window.asked; return real(...words); };""")

    def asked_by(event: str) -> int:
        """In one script: nothing that the page does by itself comes between."""
        return int(browser.execute_script(
            f'const before = window.asked; {event}; return window.asked - before'))
    pause = "document.getElementById('pause').click()"
    seen = "document.dispatchEvent(new Event('visibilitychange'))"
    assert asked_by(seen) == 0
    assert asked_by(pause) == 1
    assert asked_by(seen) == 1


def test_what_is_old_is_said_to_be(browser: Browser, told: Told) -> None:
    shown(browser, told)
    told.server.shutdown()
    told.server.server_close()
    until(lambda: 'cannot be reached' in text(browser, 'state'), 'that the service is gone')
    assert '412' in text(browser, 'tiles')


@pytest.mark.parametrize('width', [320, 480, 700])
def test_narrow_screens(browser: Browser, told: Told, width: int) -> None:
    browser.execute_cdp_cmd('Emulation.setDeviceMetricsOverride', {
        'width': width, 'height': 800, 'deviceScaleFactor': 1, 'mobile': True})
    try:
        shown(browser, told)
        assert browser.execute_script('return document.documentElement.scrollWidth') <= width
        for id in 'jobs', 'backends', 'recent':
            for cell in browser.find_elements(By.CSS_SELECTOR, f'#{id} td'):
                assert cell.rect['x'] >= 0 and cell.rect['x'] + cell.rect['width'] <= width
    finally:
        browser.execute_cdp_cmd('Emulation.clearDeviceMetricsOverride', {})


def test_keyboard(browser: Browser, told: Told) -> None:
    shown(browser, told)
    keys = webdriver.ActionChains(browser)

    def focused() -> str:
        return str(browser.execute_script('return document.activeElement.id'))
    keys.send_keys(Keys.TAB).perform()
    assert focused() == 'skip' and browser.find_element(By.ID, 'skip').rect['x'] >= 0
    keys.send_keys(Keys.ENTER).perform()
    assert focused() == 'main'
    browser.execute_script("document.getElementById('skip').focus()")
    keys.send_keys(Keys.TAB).perform()
    assert focused() == 'pause'
    keys.send_keys(Keys.SPACE).perform()
    assert browser.find_element(By.ID, 'pause').get_attribute('aria-pressed') == 'true'
    keys.send_keys(Keys.TAB).perform()
    keys.send_keys(Keys.ENTER).perform()
    numbers = browser.find_element(By.CSS_SELECTOR, '#growth details')
    assert numbers.get_attribute('open') is not None and '30.0 GiB' in numbers.text


def test_a_token_where_one_is_needed(browser: Browser, told: Told) -> None:
    told.token = 'canary'
    browser.get(told.address)
    until(lambda: 'token is needed' in text(browser, 'state'), 'that a token is needed')
    browser.find_element(By.ID, 'token').send_keys('wrong' + Keys.ENTER)
    until(lambda: 'was refused' in text(browser, 'state'), 'that it was refused')
    field = browser.find_element(By.ID, 'token')
    field.clear()
    field.send_keys('canary')
    browser.find_element(By.ID, 'project').send_keys('a/b' + Keys.ENTER)
    until(lambda: 'as of' in text(browser, 'state'), 'the summary')
    assert '/v3/a/b/backup-framework/summary' in told.asked
    browser.execute_script('sessionStorage.clear()')


def test_a_running_service(browser: Browser, install: Callable[..., Installation]) -> None:
    service = install()
    volume = service.make_volume('a <b> disk')
    browser.get(f'http://127.0.0.1:{service.port}/status')
    until(lambda: 'no backups yet' in text(browser, 'recent'), 'an empty page')
    made = service.create(volume, name='first & best')
    service.wait(made)
    until(lambda: 'first & best' in text(browser, 'recent'), 'the backup')
    assert 'a <b> disk' in text(browser, 'recent') and 'available' in text(browser, 'recent')
    assert 'well' in text(browser, 'backends') and 'free' in text(browser, 'backends')
    assert '1\nworker alive' in text(browser, 'tiles')
    assert browser.find_elements(By.CSS_SELECTOR, '#growth svg')
