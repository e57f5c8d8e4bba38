"""What a server has in a bucket, asked in plain HTTP and not through the driver."""

from __future__ import annotations

import json
import urllib.parse
import urllib.request


def names(url: str, bucket: str, prefix: str) -> list[str]:
    """The names of all objects that begin with `prefix`, without it."""
    found, token = [], ''
    while True:
        query = urllib.parse.urlencode({'prefix': prefix, 'pageToken': token})
        with urllib.request.urlopen(f'{url}/storage/v1/b/{bucket}/o?{query}', timeout=20) as answer:
            page = json.load(answer)
        found += [item['name'].removeprefix(prefix) for item in page.get('items', ())]
        token = page.get('nextPageToken', '')
        if not token:
            return found
