"""TaskFlow's board on etcd: no watch, several hosts, claims that are extended."""

from __future__ import annotations

import threading
from typing import Any

import etcd3gw
from etcd3gw.exceptions import Etcd3Exception
import requests
from taskflow.jobs.backends.impl_etcd import EtcdJobBoard


class EtcdBoard(EtcdJobBoard):  # type: ignore[misc]
    """Asks for what is posted each time: the watch ends with its connection, and nobody sees it."""

    ERRORS = (Etcd3Exception, requests.RequestException)

    def __init__(self, name: str, conf: dict[str, Any], timeout: float) -> None:
        hosts = conf.pop('hosts')
        super().__init__(name, conf)
        self._hosts = hosts
        # Who asks empties what the library remembers: nobody else may be reading it then.
        self._asking = threading.Lock()
        given = {'timeout': timeout} | conf
        self._given = {key: kind(given[key]) for key, kind in self.ETCD_CONFIG_OPTIONS
                       if key in given}

    def connect(self) -> None:
        host, port = self._hosts[0]
        self._client = etcd3gw.Etcd3Client(**(self._given | {'host': host, 'port': port}))

    def failed(self) -> None:
        """Any member of the cluster will do."""
        if len(self._hosts) > 1:
            self._hosts = [*self._hosts[1:], self._hosts[0]]
            self.connect()

    def post(self, name: str, *args: Any, **kwargs: Any) -> Any:
        posting = super().post(name, *args, **kwargs)
        # A process that only posts never asks what there is, which would forget it.
        self._remove_job_from_cache(posting.key)
        return posting

    def postings(self) -> list[Any]:
        with self._asking:
            # One that was emptied counts from the beginning: a name may be another job's by now.
            self._job_cache.clear()
            self._ensure_fresh()
            return list(self._job_cache.values())

    def claim_for(self, posting: Any, who: str, ttl: int) -> None:
        self.claim(posting, who, expiry=ttl)

    def extend(self, posting: Any, who: str, ttl: int) -> bool:
        """By the lease of our own claim: what the posting remembers may be another's."""
        owner = self.get_owner_data(posting)
        if not owner or owner['owner'] != who:
            return False
        return etcd3gw.Lease(id=owner['lease_id'], client=self._client).refresh() > 0
