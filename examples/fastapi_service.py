"""
An HTTP service that submits invoices to Taxizer.

`uvicorn fastapi_service:app --workers 4`, or `python fastapi_service.py` for one process. Its environment
is `TAXIZER_CLIENT_ID`, `TAXIZER_CLIENT_SECRET`, `TAXIZER_BASE_URL`, and `TAXIZER_STORE_PATH`: a directory
where all workers share one login.
"""

from __future__ import annotations

import os

from typing import Annotated, Any

import httpx
import uvicorn

from fastapi import Body, FastAPI, HTTPException, Response

from taxizer_async import TaxizerClient
from taxizer_async.fastapi import (
    Taxizer,
    add_exception_handlers,
    health_router,
    taxizer_lifespan,
)
from taxizer_async.stores.file import FileTokenStore


def make_client() -> TaxizerClient:
    """Return the client of this process."""
    path = os.environ.get("TAXIZER_STORE_PATH")
    return TaxizerClient.from_env(store=FileTokenStore(path) if path else None, timeout=30)


app = FastAPI(title="Invoices", lifespan=taxizer_lifespan(make_client))
add_exception_handlers(app)
app.include_router(health_router())


@app.post("/invoices")
async def submit(invoice: Annotated[dict[str, Any], Body()], taxizer: Taxizer) -> Response:
    """Submit an invoice, once: whether one that got no answer was taken is for its sender to find out."""
    try:
        response = await taxizer.post("/v1/Invoices/GenerateInvoice", json=invoice)
        response.raise_for_status()
    except httpx.HTTPStatusError as error:
        raise HTTPException(502, f"Taxizer answered {error.response.status_code}") from error
    except httpx.TransportError as error:
        raise HTTPException(504, f"no answer from Taxizer: {type(error).__name__}") from error
    return Response(response.content, media_type="application/json")


if __name__ == "__main__":
    uvicorn.run(
        app, host=os.environ.get("HOST", "127.0.0.1"), port=int(os.environ.get("PORT", "8000"))
    )
