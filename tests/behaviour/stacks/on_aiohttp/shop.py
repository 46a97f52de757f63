"""An aiohttp server that calls Taxizer for each request; as a program it prints its port and its end."""

from __future__ import annotations

import socket
import sys

from typing import Final

from aiohttp import web

from taxizer_async.aiohttp import TAXIZER_AUTH, TAXIZER_SESSION, taxizer_ctx


# Of its own, as it is run as a file, with nothing of the tests on its path.
PATH: Final = "/v1/Invoices/GenerateInvoice"


#: The requests that are under way, each with a query of its own.
SELLING: Final = web.AppKey("SELLING", set[str])


async def sell(request: web.Request) -> web.Response:
    """Submit an invoice; answer as Taxizer does."""
    session, selling = request.app[TAXIZER_SESSION], request.app[SELLING]
    selling.add(request.path_qs)
    async with session.post(PATH, json={}) as answer:
        selling.discard(request.path_qs)
        return web.Response(status=answer.status, body=await answer.read())


async def health(request: web.Request) -> web.Response:
    """Tell how the token stands."""
    status = request.app[TAXIZER_AUTH].status()
    selling = len(request.app[SELLING])
    return web.json_response(
        {"state": status.state.value, "keep_fresh": status.keep_fresh_running, "selling": selling}
    )


def make_app() -> web.Application:
    app = web.Application()
    app[SELLING] = set()
    app.cleanup_ctx.append(taxizer_ctx())
    app.router.add_post("/sell", sell)
    app.router.add_get("/health", health)
    return app


def main() -> None:
    listener = socket.create_server(("127.0.0.1", 0))

    def tell(what: object) -> None:
        sys.stdout.write(f"{what}\n")
        sys.stdout.flush()

    async def tell_end(_: web.Application) -> None:
        tell("ending")

    app = make_app()
    app.on_shutdown.append(tell_end)
    port = listener.getsockname()[1]
    web.run_app(app, sock=listener, print=lambda _: tell(port), access_log=None)


if __name__ == "__main__":
    main()
