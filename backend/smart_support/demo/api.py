"""The demo company as an ASGI application."""

from functools import cache
from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

from smart_support.demo.company import Call, CallLog, Company
from smart_support.demo.document import Document, describe
from smart_support.demo.faults import Fault
from smart_support.demo.operations import TheCompany, router
from smart_support.demo.problems import answer_crash, answer_refusal

behind_the_counter = APIRouter(include_in_schema=False)


def create_app(company: Company, address: str) -> FastAPI:
    """The API of `company`, described as being at `address` (a URL without a path)."""
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)
    app.state.company = company
    app.include_router(router)

    @cache
    def document() -> Document:
        return describe(router.routes, address, api_key=company.api_key is not None)

    @app.get("/openapi.json", include_in_schema=False)
    async def openapi_document() -> JSONResponse:
        return JSONResponse(document())

    app.include_router(behind_the_counter)
    app.add_middleware(CallLog, company=company)
    app.add_exception_handler(HTTPException, answer_refusal)
    app.add_exception_handler(RequestValidationError, answer_refusal)
    app.add_exception_handler(Exception, answer_crash)
    return app


@behind_the_counter.get("/_health")
async def health(company: TheCompany) -> dict[str, Any]:
    """Say that the shop is open, and since when."""
    state = company.store.state
    return {"status": "ok", "opened_at": state.opened_at, "orders": len(state.orders)}


@behind_the_counter.get("/_calls")
async def calls(company: TheCompany) -> list[Call]:
    """The calls received since the start, oldest first."""
    return list(company.calls)


@behind_the_counter.delete("/_calls", status_code=204)
async def forget_calls(company: TheCompany) -> None:
    """Begin a new list of calls."""
    company.calls.clear()


@behind_the_counter.get("/_faults")
async def faults(company: TheCompany) -> list[Fault]:
    """The faults still to come."""
    return company.faults.pending


@behind_the_counter.post("/_faults", status_code=201)
async def add_fault(company: TheCompany, fault: Fault) -> Fault:
    """Have the next calls go wrong."""
    company.faults.add(fault)
    return fault


@behind_the_counter.delete("/_faults", status_code=204)
async def clear_faults(company: TheCompany) -> None:
    """Behave again."""
    company.faults.clear()
