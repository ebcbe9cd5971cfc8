"""What an operator watches of deliveries, for Prometheus. Labels are ids of bodies and states, never a person."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

from gateway import outbox, recipients
from gateway.unit_of_work import UnitOfWork

ATTEMPTS = Counter(
    "maillon_delivery_attempts", "Attempts, by recipient and by what was answered", ["recipient", "outcome"]
)
SECONDS = Histogram(
    "maillon_delivery_attempt_seconds", "Duration of one attempt", ["recipient"],
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120),
)  # fmt: skip
AGE = Histogram(
    "maillon_delivery_age_seconds", "From promised to delivered", ["recipient"],
    buckets=(0.1, 0.5, 1, 5, 15, 60, 300, 1800, 3600, 14400, 86400, 259200),
)  # fmt: skip
WAITING = Gauge(
    "maillon_deliveries", "Deliveries that are not finished, by recipient and state", ["recipient", "state"],
    multiprocess_mode="mostrecent",
)  # fmt: skip
STOPPED = Gauge(
    "maillon_recipient_stopped", "1 when a recipient is paused by hand or left alone", ["recipient", "why"],
    multiprocess_mode="mostrecent",
)  # fmt: skip
TAKEOVERS = Counter("maillon_delivery_lost_leases", "Deliveries whose lease passed to another worker", ["recipient"])

STATES = ("queued", "claimed", "waiting", "dead")


def observe(work: UnitOfWork) -> None:
    """Read the gauges from the outbox; every process shows the same, so that what waits is seen when no worker runs."""
    found = outbox.counts(work)
    seen = {recipient for recipient, _ in found} | {labels[0] for labels in list(WAITING._metrics)}
    for recipient in seen:
        for state in STATES:
            WAITING.labels(recipient, state).set(found.get((recipient, state), 0))
    for recipient, (paused, ailing) in recipients.states(work).items():
        STOPPED.labels(recipient, "paused").set(paused)
        STOPPED.labels(recipient, "ailing").set(ailing)
