"""A plain client of the contract that knows nothing of `taxizer_async`."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from threading import Thread
from typing import TypeVar, cast, final

import httpx

from tests.support.limits import HANG


_T = TypeVar("_T")

CONNECT = "/v1/Auth/Connect"
REFRESH = "/v1/Auth/AppRefreshToken"
REGISTER = "/v1/Devices/Register"


@final
class Caller:
    """Sends the documented requests."""

    def __init__(self, client: httpx.Client) -> None:
        self.client = client

    def connect(self, secret: str = "sandbox-secret", read_timeout: float = HANG) -> httpx.Response:
        """Log in."""
        pair = {"clientId": "sandbox-client", "clientSecret": secret}
        return self.client.post(CONNECT, json=pair, timeout=httpx.Timeout(HANG, read=read_timeout))

    def token(self) -> dict[str, str]:
        """Log in and return the nine fields."""
        return fields(self.connect())

    def jwt(self) -> str:
        """Log in and return the JWT."""
        return self.token()["jwtToken"]

    def refresh(self, token: str) -> httpx.Response:
        """Renew."""
        return self.client.post(REFRESH, json={"refreshToken": token})

    def get(self, path: str, jwt: str) -> httpx.Response:
        """Read a resource."""
        return self.client.get(path, headers={"Authorization": f"Bearer {jwt}"})

    def register(self, jwt: str, body: bytes = b"{}") -> httpx.Response:
        """Write a resource."""
        headers = {"Authorization": f"Bearer {jwt}"}
        return self.client.post(REGISTER, content=body, headers=headers)


def fields(response: httpx.Response) -> dict[str, str]:
    """Return the nine fields of an accepted login."""
    assert response.status_code == 200, response.text

    return cast("dict[str, str]", response.json())


def in_thread(call: Callable[[], _T]) -> Future[_T]:
    """Start *call* in a thread; return the future of its result."""
    future: Future[_T] = Future()

    def run() -> None:
        try:
            future.set_result(call())
        except Exception as error:  # noqa: BLE001 - handed over
            future.set_exception(error)

    Thread(target=run).start()
    return future
