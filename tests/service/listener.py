"""Hears the notifications of one topic, in a process of its own: oslo.messaging brings eventlet.

    python -W ignore listener.py URL TOPIC

writes `ready`, then a line of JSON for each.
"""

import json
import sys

from oslo_config import cfg
import oslo_messaging


class Endpoint:
    def info(self, context, publisher, event, payload, metadata):
        print(json.dumps({'context': context, 'publisher': publisher, 'event': event,
                          'payload': payload}), flush=True)

    error = info


def main(url, topic):
    cfg.CONF([])
    transport = oslo_messaging.get_notification_transport(cfg.CONF, url=url)
    listener = oslo_messaging.get_notification_listener(
        transport, [oslo_messaging.Target(topic=topic)], [Endpoint()], executor='threading')
    listener.start()
    print('ready', flush=True)
    sys.stdin.read()
    listener.stop()


main(*sys.argv[1:])
