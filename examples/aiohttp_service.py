"""
The same service on aiohttp.

`python aiohttp_service.py`. Its environment is `TAXIZER_CLIENT_ID`, `TAXIZER_CLIENT_SECRET`,
`TAXIZER_BASE_URL`, and `TAXIZER_STORE_PATH`: a directory where several processes share one login.
"""

from __future__ import annotations

import os

import aiohttp
import httpx

from aiohttp import web

from taxizer_async import DEFAULT_BASE_URL, AuthError, Credentials, TaxizerAuth
from taxizer_async.aiohttp import TAXIZER_AUTH, TAXIZER_SESSION, taxizer_ctx
from taxizer_async.invoices import InvoiceError, read_outcome
from taxizer_async.stores.file import FileTokenStore


routes = web.RouteTableDef()


@routes.post("/invoices")
async def submit(request: web.Request) -> web.Response:
    """
    Submit an invoice, once: whether one that got no answer was taken is for its sender to find out.

    Its body is the API's: uuid, deviceId, invoiceNumber and signedXmlInvoice (base64).
    """
    invoice = await request.read()
    try:
        async with request.app[TAXIZER_SESSION].post(
            "/v1/Invoices/GenerateInvoiceFromXml",
            data=invoice,
            headers={"Content-Type": "application/json"},
        ) as response:
            answer = httpx.Response(response.status, content=await response.read())
        outcome = read_outcome(answer)
    except AuthError as error:
        status = 503 if error.retryable else 502
        return web.json_response({"detail": "the login at Taxizer does not work"}, status=status)
    except (aiohttp.ClientError, TimeoutError) as error:
        detail = f"no answer from Taxizer: {type(error).__name__}"
        return web.json_response({"detail": detail}, status=502)
    except InvoiceError as error:
        return web.json_response({"detail": str(error)}, status=502)
    codes = [each.code for each in (*outcome.errors, *outcome.warnings)]
    content = {"status": outcome.status, "codes": codes}
    return web.json_response(content, status=422 if outcome.is_refused else 200)


@routes.get("/health/live")
async def live(_: web.Request) -> web.Response:
    """Tell that the process answers, whatever Taxizer does."""
    return web.json_response({"live": True})


@routes.get("/health/ready")
async def ready(request: web.Request) -> web.Response:
    """Tell whether there is a token, or no reason yet to think that there will be none."""
    status = request.app[TAXIZER_AUTH].status()
    is_ready = status.usable or status.last_error is None
    content = {"ready": is_ready, "state": status.state, "last_error": status.last_error}
    return web.json_response(content, status=200 if is_ready else 503)


def make_auth() -> TaxizerAuth:
    """Return the auth of this process."""
    Credentials.from_env()  # what is missing is said at the start
    path = os.environ.get("TAXIZER_STORE_PATH")
    return TaxizerAuth(
        Credentials.from_env,
        base_url=os.environ.get("TAXIZER_BASE_URL") or DEFAULT_BASE_URL,
        store=FileTokenStore(path) if path else None,
    )


def make_app() -> web.Application:
    """Return the application."""
    app = web.Application()
    app.cleanup_ctx.append(taxizer_ctx(make_auth, timeout=aiohttp.ClientTimeout(30)))
    app.add_routes(routes)
    return app


if __name__ == "__main__":
    web.run_app(
        make_app(),
        host=os.environ.get("HOST", "127.0.0.1"),
        port=int(os.environ.get("PORT", "8000")),
    )
