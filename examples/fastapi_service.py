"""
An HTTP service that submits signed invoices to Taxizer.

`uvicorn fastapi_service:app --workers 4`, or `python fastapi_service.py` for one process. Its environment
is `TAXIZER_CLIENT_ID`, `TAXIZER_CLIENT_SECRET`, `TAXIZER_BASE_URL`, and `TAXIZER_STORE_PATH`: a directory
where all workers share one login.
"""

from __future__ import annotations

import os

from uuid import UUID

import uvicorn

from fastapi import FastAPI, HTTPException
from fastapi.responses import JSONResponse
from pydantic import Base64Bytes, BaseModel, ConfigDict
from pydantic.alias_generators import to_camel

from taxizer_async import TaxizerClient
from taxizer_async.fastapi import (
    Taxizer,
    add_exception_handlers,
    health_router,
    taxizer_lifespan,
)
from taxizer_async.invoices import InvoiceError, InvoiceNotSentError, submit_signed_xml
from taxizer_async.stores.file import FileTokenStore


def make_client() -> TaxizerClient:
    """Return the client of this process."""
    path = os.environ.get("TAXIZER_STORE_PATH")
    return TaxizerClient.from_env(store=FileTokenStore(path) if path else None, timeout=30)


app = FastAPI(title="Invoices", lifespan=taxizer_lifespan(make_client))
add_exception_handlers(app)
app.include_router(health_router())


class Invoice(BaseModel):
    """A signed invoice, in the API's own words."""

    model_config = ConfigDict(alias_generator=to_camel)

    uuid: UUID
    device_id: UUID
    invoice_number: str
    signed_xml_invoice: Base64Bytes


@app.post("/invoices")
async def submit(invoice: Invoice, taxizer: Taxizer) -> JSONResponse:
    """Submit an invoice, once: whether one that got no answer was taken is for its sender to find out."""
    try:
        outcome = await submit_signed_xml(
            taxizer,
            uuid=invoice.uuid,
            device_id=invoice.device_id,
            invoice_number=invoice.invoice_number,
            xml=invoice.signed_xml_invoice,
        )
    except InvoiceNotSentError as error:
        raise HTTPException(503, str(error)) from error
    except InvoiceError as error:
        raise HTTPException(502, str(error)) from error
    codes = [each.code for each in (*outcome.errors, *outcome.warnings)]
    content = {"status": outcome.status, "codes": codes}
    return JSONResponse(content, status_code=422 if outcome.is_refused else 200)


if __name__ == "__main__":
    uvicorn.run(
        app, host=os.environ.get("HOST", "127.0.0.1"), port=int(os.environ.get("PORT", "8000"))
    )
