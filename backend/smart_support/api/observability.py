"""What operators and their machines read of the running program: metrics, alerts, debug mode."""

import hmac
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Request, Response
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic import BaseModel, ConfigDict, Field

from smart_support.api.access import Operator
from smart_support.api.parts import Running
from smart_support.errors import NotAllowed, NotSignedIn
from smart_support.events.records import ThreadId
from smart_support.identity.people import Role
from smart_support.telemetry import metrics
from smart_support.telemetry.alerts import Notice
from smart_support.telemetry.debug import DEBUG, LONGEST_SECONDS, MOST_THREADS

metrics_router = APIRouter(tags=["observability"])
router = APIRouter(prefix="/api/observability", tags=["observability"])

_bearer = HTTPBearer(auto_error=False, description="The metrics token, or an operator's.")


def may_scrape(
    parts: Running,
    credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)],
) -> None:
    """Let operators read the metrics, and who has the token for it.

    Raises:
        NotSignedIn: neither.
        NotAllowed: somebody else.
    """
    if credentials is None:
        raise NotSignedIn("no Authorization header with a bearer token")
    token = parts.settings.smart_support_metrics_token
    given = credentials.credentials.encode()
    if token is not None and hmac.compare_digest(given, token.get_secret_value().encode()):
        return
    person = parts.sign_ins.read(credentials.credentials).person
    if person.role is not Role.OPERATOR:
        raise NotAllowed(f"{person.role.value} {person.id} reads no metrics")


@metrics_router.get(
    "/metrics",
    summary="Metrics for Prometheus",
    response_class=Response,
    responses={200: {"content": {"text/plain": {}}}},
    dependencies=[Depends(may_scrape)],
)
def read_metrics(request: Request, parts: Running) -> Response:
    """Everything that is counted, over all worker processes, as Prometheus or OpenMetrics text."""
    parts.watch.monitor.measure()
    body, content_type = metrics.exposition(request.headers.get("accept"))
    return Response(body, media_type=content_type)


class Measured(BaseModel):
    """One value of a metric."""

    name: str
    labels: Mapping[str, str]
    value: float | None = Field(description="None for what is no number.")


class MetricFamily(BaseModel):
    """A metric with its values."""

    name: str
    type: str
    help: str
    samples: list[Measured]


@router.get("/metrics", summary="Metrics as JSON", dependencies=[Depends(may_scrape)])
def export_metrics(parts: Running) -> list[MetricFamily]:
    """The same as /metrics, for programs that read no Prometheus text."""
    parts.watch.monitor.measure()
    return [MetricFamily.model_validate(family) for family in metrics.as_json()]


class Alert(BaseModel):
    """An alert that holds, or held."""

    model_config = ConfigDict(from_attributes=True)

    key: str
    rule: str
    state: Literal["firing", "recovered"]
    severity: str
    summary: str
    value: float
    threshold: float
    began_at: datetime
    at: datetime
    source: str

    @classmethod
    def of(cls, notice: Notice) -> "Alert":
        return cls(
            key=notice.key,
            rule=notice.rule,
            state=notice.state,
            severity=notice.severity.value,
            summary=notice.summary,
            value=notice.value,
            threshold=notice.threshold,
            began_at=notice.began_at,
            at=notice.at,
            source=notice.source,
        )


class AlertsNow(BaseModel):
    """The alerts of the process that answers."""

    firing: list[Alert]
    history: list[Alert] = Field(description="What began and ended, newest first.")
    mean_seconds_to_recovery: float | None = Field(
        description="Over all that ended, as far back as the history goes."
    )


@router.get("/alerts", summary="Alerts that hold now, and the last ones")
async def read_alerts(person: Operator, parts: Running) -> AlertsNow:  # noqa: ARG001
    """As the process that answers has judged them."""
    alerts = parts.watch.alerts
    ended = [notice.seconds for notice in alerts.history if notice.state == "recovered"]
    return AlertsNow(
        firing=[Alert.of(notice) for notice in alerts.firing],
        history=[Alert.of(notice) for notice in alerts.history],
        mean_seconds_to_recovery=sum(ended) / len(ended) if ended else None,
    )


class Debug(BaseModel):
    """What is told in detail in the log: stack traces, timings, retries, memory."""

    whole: bool = Field(description="Everything.")
    threads: list[ThreadId] = Field(max_length=MOST_THREADS, description="Only these threads.")
    seconds: float = Field(
        900.0, ge=0, le=LONGEST_SECONDS, description="For how long; it ends by itself."
    )


@router.get("/debug", summary="What is logged in detail")
async def read_debug(person: Operator) -> Debug:  # noqa: ARG001
    """In the process that answers."""
    return _debug()


@router.put("/debug", summary="Log everything, or single threads, in detail for a while")
async def switch_debug(wanted: Debug, person: Operator) -> Debug:  # noqa: ARG001
    """In the process that answers; `seconds` 0, or neither of the two, ends it."""
    on = wanted.seconds > 0
    DEBUG.switch(
        whole=wanted.whole and on,
        threads=wanted.threads if on else (),
        seconds=wanted.seconds or 1.0,
    )
    return _debug()


def _debug() -> Debug:
    return Debug(whole=DEBUG.whole, threads=sorted(DEBUG.threads), seconds=DEBUG.seconds_left)
