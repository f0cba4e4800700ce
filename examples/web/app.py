"""A web application that starts work, shows how far it is, and lets it be cancelled.

    uvicorn examples.web.app:app

By itself it is its own worker, with a SQLite file. With FANWOOD_DATABASE_URL=postgresql://... the work is done by
worker processes, on any number of machines, and no request waits for it.
"""
# pyright: basic, reportMissingImports=false

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

from fastapi import FastAPI, Header, Request
from fastapi.responses import JSONResponse, StreamingResponse
from pydantic import BaseModel

from examples.web.tasks import Order, fanwood, make_report
from fanwood import RunNotFoundError


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    yield
    await fanwood.aio_close()  # what this process executes is handed back, and goes on after the next start


app = FastAPI(lifespan=lifespan)


class Shown(BaseModel):
    id: str
    status: str
    done: int
    total: int
    result: Any = None
    error: str | None = None


@app.post("/reports", status_code=202)
async def start(order: Order, idempotency_key: Annotated[str | None, Header()] = None) -> dict[str, str]:
    """A client that asks twice with one key, because the first answer was lost, gets the same report."""
    run = await make_report.aio_run_no_wait(order, idempotency_key=idempotency_key)
    return {"id": run.id}


@app.get("/reports/{run_id}")
async def show(run_id: str) -> Shown:
    run = await fanwood.runs.aio_get(run_id)
    counts = await fanwood.runs.aio_counts(run_id)
    return Shown(
        id=run.id,
        status=run.status.name,
        done=counts.ended,
        total=counts.total,
        result=run.output,
        error=run.error,
    )


@app.get("/reports/{run_id}/events")
async def events(run_id: str) -> StreamingResponse:
    """Progress as server-sent events, until the end."""
    await fanwood.runs.aio_get_status(run_id)  # there is one, or 404

    async def stream() -> AsyncIterator[str]:
        async for counts in fanwood.runs.watch(run_id):
            news = {"status": counts.status.name, "done": counts.ended, "total": counts.total}
            yield f"data: {json.dumps(news)}\n\n"

    return StreamingResponse(stream(), media_type="text/event-stream")


@app.delete("/reports/{run_id}", status_code=204)
async def cancel(run_id: str) -> None:
    await fanwood.runs.aio_cancel(run_id)


@app.exception_handler(RunNotFoundError)
async def not_found(request: Request, error: Exception) -> JSONResponse:
    return JSONResponse({"detail": str(error)}, status_code=404)
