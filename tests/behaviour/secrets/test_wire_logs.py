"""The known limit: httpcore logs the head of each answer at DEBUG, and httpx its reason phrase."""

from __future__ import annotations

import pytest

from taxizer_async import AuthError, Event
from taxizer_async.testing import Fault, Sandbox
from tests.support.callers import auth_of
from tests.support.canaries import ECHO, Exposed
from tests.support.policies import ONE_TRY


@pytest.mark.parametrize("status", [200, 307, 400, 503])
async def test_a_secret_in_a_header_is_seen_in_httpcores_own_log_at_most(
    sandbox: Sandbox, events: list[Event], log: list[tuple[str, str]], exposed: Exposed, status: int
) -> None:
    """A secret that the server puts into a header is in no line, event or error of ours."""
    sandbox.fail(
        "connect",
        Fault.status(
            status,
            headers={
                "Location": f"https://{ECHO}.example",
                "X-Echo": ECHO,
                "Set-Cookie": f"a={ECHO}",
                "Date": ECHO,
                "Retry-After": ECHO,
                "Content-Type": f"text/{ECHO}",
                "WWW-Authenticate": ECHO,
            },
        ),
    )
    auth = auth_of(sandbox, on_event=events.append, policy=ONE_TRY)
    with pytest.raises(AuthError) as caught:
        await auth.token()
    await auth.events_delivered()
    log[:] = [(name, text) for name, text in log if not name.startswith("httpcore.")]

    assert exposed(caught.value, auth, auth.status(), *events) == []
