"""The SSH agent, for paramiko, whose own client of it waits without end."""

from __future__ import annotations

import socket
from typing import Any

import paramiko
from paramiko.agent import AgentSSH


class AgentSilent(paramiko.SSHException):
    """The agent does not answer: it hangs, or waits for somebody to confirm."""


class Agent(AgentSSH):
    """The agent that listens at a path; asked for its keys at once.

    :param patience: seconds of silence that are borne, whenever it is asked.
    :raises AgentSilent: it does not answer in time.
    :raises SSHException: it is no agent.
    :raises OSError: nobody listens.
    """

    def __init__(self, path: str, patience: float) -> None:
        super().__init__()
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(patience)
        self.close = connection.close
        try:
            connection.connect(path)
            super()._connect(connection)  # type: ignore[misc]
        except BlockingIOError:  # too many wait for it already
            self.close()
            raise AgentSilent from None
        except BaseException:
            self.close()
            raise

    def _send_message(self, message: Any) -> Any:
        """What paramiko calls for each question, signing too, which a thread of its own does."""
        try:
            return super()._send_message(message)  # type: ignore[misc]
        except TimeoutError:
            raise AgentSilent from None
