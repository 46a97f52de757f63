"""A service that real servers run; it reads its settings from the environment."""

from __future__ import annotations

import os

from fastapi import FastAPI

from taxizer_async import TaxizerClient
from taxizer_async.fastapi import Taxizer, add_exception_handlers, health_router, taxizer_lifespan
from taxizer_async.stores.file import FileTokenStore


def make_client() -> TaxizerClient:
    """Return a client that shares its token with all workers."""
    return TaxizerClient.from_env(store=FileTokenStore(os.environ["TAXIZER_STORE_PATH"]))


app = FastAPI(lifespan=taxizer_lifespan(make_client))
add_exception_handlers(app)
app.include_router(health_router())


@app.post("/invoices")
async def submit(taxizer: Taxizer) -> dict[str, int]:
    """Send a request on; return the status, this worker and its logins."""
    response = await taxizer.post("/v1/Invoices/GenerateInvoice", json={})
    return {
        "status": response.status_code,
        "worker": os.getpid(),
        "logins": taxizer.auth.status().logins,
    }
