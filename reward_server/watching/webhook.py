"""Deliver alarms to a webhook by POST, as JSON.

Alarms are sent in order with a few tries each. Nothing waits for delivery; alarms that arrive too
fast are dropped and counted. The log shows only the host of the address, which may be a secret; the
key is sent in a header and appears nowhere else.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter, deque
from urllib.parse import urlsplit

import httpx2
import msgspec
from prometheus_client.core import CounterMetricFamily

from touchstone_rewards.reward_server.alarms import Alarm
from touchstone_rewards.reward_server.remote.http1 import BrokenAnswer, EndpointAnswer, Http1Client
from touchstone_rewards.reward_server.remote.policy import RetryPolicy, is_retried, retry_after_s
from touchstone_rewards.reward_server.telemetry.metrics import MetricReading

MOST_WAITING = 64
TRY_S = 10.0
MAX_ANSWER_BYTES = 2**16

logger = logging.getLogger(__name__)


class Webhook:
    """Delivers alarms while `run` is running. `counts`: alarms `delivered`, `failed` and `dropped`.

    The body is the alarm without its samples' texts, plus `text`, its message as shown by chat
    services.
    """

    def __init__(self, url: str, key: str | None, retry: RetryPolicy | None = None) -> None:
        self.counts = Counter(delivered=0, failed=0, dropped=0)
        self._url = url
        self._host = urlsplit(url).hostname
        self._headers = {"Content-Type": "application/json"}
        if key is not None:
            self._headers["Authorization"] = f"Bearer {key}"
        self._retry = retry or RetryPolicy(max_tries=5, first_delay_s=0.5, max_delay_s=10.0)
        self._waiting: deque[Alarm] = deque()
        self._came = asyncio.Event()

    def take(self, alarm: Alarm) -> None:
        """Queue an alarm for delivery."""
        if len(self._waiting) >= MOST_WAITING:
            self.counts["dropped"] += 1
            return
        self._waiting.append(alarm)
        self._came.set()

    async def run(self) -> None:
        """Deliver queued alarms until cancelled."""
        client = Http1Client(self._headers, MAX_ANSWER_BYTES)
        try:
            while True:
                if not self._waiting:
                    self._came.clear()
                    await self._came.wait()
                await self._deliver(client, self._waiting.popleft())
        finally:
            client.close()

    async def _deliver(self, client: Http1Client, alarm: Alarm) -> None:
        body = msgspec.json.encode({**msgspec.to_builtins(alarm), "text": alarm.message})
        why = ""
        for attempt in range(self._retry.max_tries):
            answer, why = await self._try(client, body)
            if answer is not None and 200 <= answer.status < 300:
                self.counts["delivered"] += 1
                return
            if answer is not None and not is_retried(answer.status):
                break
            if attempt + 1 < self._retry.max_tries:
                asked_s = retry_after_s(answer.retry_after, time.time()) if answer else 0.0
                await asyncio.sleep(max(self._retry.delay_s(attempt), min(asked_s, 60.0)))
        self.counts["failed"] += 1
        logger.error("alarm %s was not delivered to %s: %s", alarm.id, self._host, why)

    async def _try(self, client: Http1Client, body: bytes) -> tuple[EndpointAnswer | None, str]:
        try:
            async with asyncio.timeout(TRY_S):
                answer = await client.send("POST", self._url, body)
        except (OSError, BrokenAnswer, httpx2.InvalidURL) as error:
            return None, type(error).__name__  # the error's text may contain the address
        return answer, f"it answered {answer.status}"

    def readings(self) -> list[MetricReading]:
        """Return the webhook's metrics."""
        text = "Alarms for the webhook, by outcome"
        return [
            MetricReading(
                CounterMetricFamily,
                "reward_alarm_webhook",
                text,
                "outcome",
                lambda: dict(self.counts),
            )
        ]
