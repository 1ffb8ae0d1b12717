"""Traces of a real server, read by a collector of the exporter's posts."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.checkout import ROOT, clean_environment, live_server
from tests.waiting import PATIENCE_S, wait_until
from touchstone_rewards.reward_server.app import create_app
from touchstone_rewards.reward_server.live_server import LiveServer, free_port
from touchstone_rewards.reward_server.settings import Settings

OTEL = "OpenTelemetry is not installed: pip install '.[otel]' in the checkout"
pytest.importorskip("opentelemetry.exporter.otlp.proto.http", reason=OTEL)
from opentelemetry import trace  # noqa: E402
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (  # noqa: E402
    ExportTraceServiceRequest,
)
from opentelemetry.sdk.trace import TracerProvider  # noqa: E402
from opentelemetry.sdk.trace.export import SimpleSpanProcessor  # noqa: E402
from opentelemetry.sdk.trace.export.in_memory_span_exporter import (  # noqa: E402
    InMemorySpanExporter,
)

from touchstone_rewards.reward_server.telemetry.tracing import new_provider  # noqa: E402

SECRET = "what no trace may say"
CALLERS_TRACE, CALLERS_SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
PROFILES = {
    "mixed": "scorers: {math: {}, format: {weight: 0}}\nshadow: math_strict\n",
    "neural": "scorers: {dying: {scorer: 'tests.reward_server.dying_model:DyingScorer'}}\n",
    "hostile": "scorers: {hostile: {scorer: 'tests.reward_server.hostile_scorers:Hostile'}}\n",
}


class Collector(ThreadingHTTPServer):
    """Keep the posted spans, and the bytes that they came in."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Taking)
        self.spans: list[Any] = []
        self.bodies: list[bytes] = []
        self.services: set[str] = set()
        self.paths: set[str] = set()

    def of(self, request_id: str, count: int) -> list[Any]:
        """Return the spans of a request's trace, the outermost first, as soon as there are this
        many.
        """

        def found() -> list[Any]:
            asked = {s.trace_id for s in self.spans if about(s).get("request_id") == request_id}
            return [span for span in list(self.spans) if span.trace_id in asked]

        wait_until(lambda: len(found()) >= count)
        return sorted(found(), key=lambda span: span.start_time_unix_nano)


class _Taking(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        assert isinstance(self.server, Collector)
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.bodies.append(body)
        self.server.paths.add(self.path)
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            self.server.services |= {
                a.value.string_value
                for a in resource.resource.attributes
                if a.key == "service.name"
            }
            for scope in resource.scope_spans:
                self.server.spans += scope.spans
        self.send_response(200)
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 (its name there)
        return


def about(span: Any) -> dict[str, Any]:
    """Return a span's attributes, without their prefix."""
    return {
        a.key.removeprefix("touchstone."): getattr(a.value, a.value.WhichOneof("value"))
        for a in span.attributes
    }


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    collector = Collector()
    threading.Thread(target=collector.serve_forever, daemon=True).start()
    yield collector
    collector.shutdown()


@pytest.fixture(scope="module")
def live(collector: Collector, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    folder = tmp_path_factory.mktemp("profiles")
    for name, content in PROFILES.items():
        (folder / f"{name}.yaml").write_text(content)
    environment = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{collector.server_port}",
        "OTEL_BSP_SCHEDULE_DELAY": "50",
        "REWARD_API_KEY": "sesame",
    }
    flags = ["--traces", "--profiles_dir", str(folder)]
    live = live_server(folder / "log", *flags, **environment).start()
    yield live
    live.kill()


def post(
    live: LiveServer, request_id: str, profile: str, samples: list[dict[str, Any]], **headers: str
) -> httpx2.Response:
    sent = {"x-api-key": "sesame", "x-request-id": request_id, **headers}
    body = {"profile": profile, "samples": samples}
    return httpx2.post(f"{live.url}/score", json=body, headers=sent)


def samples(count: int, **fields: Any) -> list[dict[str, Any]]:
    text = f"{SECRET} \\boxed{{46}}"
    return [
        {"id": f"{i}", "prompt": SECRET, "response": f"{text} {i}", "ground_truth": "46", **fields}
        for i in range(count)
    ]


def test_a_request_is_a_trace_of_its_scorers_and_their_workers(
    live: LiveServer, collector: Collector
) -> None:
    assert post(live, "first", "mixed", samples(3)).status_code == 200
    spans = {span.name: span for span in collector.of("first", 4)}
    assert set(spans) == {"POST /score", "scorer math", "scorer format", "workers"}
    request, math = spans["POST /score"], spans["scorer math"]
    assert about(request) == {
        "http.request.method": "POST",
        "http.route": "/score",
        "http.response.status_code": 200,
        "request_id": "first",
        "key": "default",
        "profile": "mixed",
        "samples": 3,
        "failures": 0,
    }
    shared = {"samples": 3, "failures": 0}
    assert about(math) == {**shared, "scorer": "math", "runs_in": "worker", "cache_hits": 0}
    assert about(spans["scorer format"]) == {**shared, "scorer": "format", "runs_in": "inline"}
    assert about(spans["workers"]) == {"samples": 3}
    assert not request.parent_span_id
    assert {spans["scorer format"].parent_span_id, math.parent_span_id} == {request.span_id}
    assert spans["workers"].parent_span_id == math.span_id
    assert request.end_time_unix_nano >= math.end_time_unix_nano
    assert (collector.services, collector.paths) == ({"touchstone-reward-server"}, {"/v1/traces"})


def test_a_cached_verdict_is_a_hit_and_no_call_of_the_workers(
    live: LiveServer, collector: Collector
) -> None:
    post(live, "before", "math", samples(2, ground_truth="45"))
    post(live, "again", "math", samples(3, ground_truth="45"))
    spans = {span.name: span for span in collector.of("again", 4)}
    assert about(spans["scorer math"])["cache_hits"] == 2
    assert about(spans["workers"])["samples"] == 1
    post(live, "once-more", "math", samples(3, ground_truth="45"))
    names = {span.name for span in collector.of("once-more", 3)}
    assert names == {"POST /score", "scorer math", "scorer format"}


def test_the_callers_trace_goes_on_here(live: LiveServer, collector: Collector) -> None:
    sent = f"00-{CALLERS_TRACE}-{CALLERS_SPAN}-01"
    post(live, "traced", "dummy", samples(1), traceparent=sent)
    [request, scorer] = collector.of("traced", 2)
    assert request.trace_id.hex() == scorer.trace_id.hex() == CALLERS_TRACE
    assert request.parent_span_id.hex() == CALLERS_SPAN
    post(live, "not-traced", "dummy", samples(1), traceparent="00-what-is-this")
    assert collector.of("not-traced", 2)[0].trace_id.hex() != CALLERS_TRACE
    post(live, "unsampled", "dummy", samples(1), traceparent=sent[:-1] + "0")
    post(live, "after", "dummy", samples(1))
    collector.of("after", 2)
    assert "unsampled" not in {about(span).get("request_id") for span in collector.spans}


def test_the_wait_for_a_model_is_a_span(live: LiveServer, collector: Collector) -> None:
    post(live, "model", "neural", samples(2))
    names = [span.name for span in collector.of("model", 3)]
    assert names == ["POST /score", "scorer dying", "model dying"]


def test_refusals_are_spans_and_health_is_none(live: LiveServer, collector: Collector) -> None:
    httpx2.get(f"{live.url}/health")
    assert post(live, "refused", "mixed", samples(1), **{"x-api-key": "no"}).status_code == 401
    assert post(live, "unknown", "nowhere", samples(1)).status_code == 404
    [refused] = collector.of("refused", 1)
    assert (about(refused)["http.response.status_code"], about(refused)["key"]) == (401, "")
    [unknown] = collector.of("unknown", 1)
    assert about(unknown)["http.response.status_code"] == 404
    assert not any("health" in span.name for span in collector.spans)


def test_no_trace_says_what_a_sample_or_an_exception_about_it_says(
    live: LiveServer, collector: Collector
) -> None:
    failed = post(live, "hostile", "hostile", samples(1)).json()["results"][0]
    assert SECRET in failed["error"]["message"]  # that scorer repeats it
    spans = collector.of("hostile", 3)
    assert [about(span)["failures"] for span in spans[:2]] == [1, 1]
    assert len(collector.bodies) > 3
    assert not any(SECRET.encode() in body for body in collector.bodies)


def test_what_a_shadow_scores_in_the_background_is_in_no_trace(
    live: LiveServer, collector: Collector
) -> None:
    post(live, "shadowed", "mixed", samples(2))
    url, key = f"{live.url}/metrics", {"x-api-key": "sesame"}
    counted = 'reward_shadow_samples_total{profile="mixed"}'
    wait_until(lambda: counted in httpx2.get(url, headers=key).text)
    roots = [span for span in collector.spans if not span.parent_span_id]
    assert {span.name for span in roots} == {"POST /score"}


def test_a_collector_that_is_not_there_costs_no_request_and_holds_up_no_end(tmp_path: Path) -> None:
    nowhere = f"http://127.0.0.1:{free_port()}"
    environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": nowhere, "OTEL_EXPORTER_OTLP_TIMEOUT": "1"}
    live = live_server(tmp_path / "log", "--traces", **environment).start()
    for at in range(3):
        assert post(live, f"{at}", "dummy", samples(1)).json()["results"][0]["status"] == "ok"
    assert live.stop() == 0  # within a minute


@pytest.mark.parametrize(
    "variable",
    [{"OTEL_SERVICE_NAME": "mine"}, {"OTEL_RESOURCE_ATTRIBUTES": "service.name=mine,team=a"}],
)
def test_the_standard_variables_name_the_service(
    variable: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "none")
    for name, value in variable.items():
        monkeypatch.setenv(name, value)
    assert new_provider().resource.attributes["service.name"] == "mine"


async def test_a_process_that_traces_already_gets_the_spans_with_its_own() -> None:
    kept = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(kept))
    trace.set_tracer_provider(provider)
    app = create_app(Settings(traces=True, workers=1))
    transport = httpx2.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx2.AsyncClient(transport=transport, base_url="http://localhost") as client,
    ):
        with provider.get_tracer("trainer").start_as_current_span("step"):
            body = {"profile": "math", "samples": samples(1)}
            assert (await client.post("/score", json=body)).status_code == 200
    names = [span.name for span in kept.get_finished_spans()]
    assert sorted(names) == ["POST /score", "scorer format", "scorer math", "step", "workers"]


def test_without_the_setting_nothing_of_it_is_imported() -> None:
    code = (
        "import sys; from touchstone_rewards.reward_server.app import create_app; "
        "from touchstone_rewards.reward_server.settings import Settings; create_app(Settings()); "
        "unwanted = ('opentelemetry.sdk', 'reward_server.tracing'); "
        "sys.exit(any(name.endswith(unwanted) for name in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=clean_environment())
    assert done.returncode == 0


@pytest.mark.parametrize(
    ("before", "variables", "said"),
    [
        (
            "sys.modules['opentelemetry.sdk'] = None",
            {},
            "pip install '.[server,otel]' in the checkout",
        ),
        ("pass", {"OTEL_TRACES_EXPORTER": "pigeon"}, "OTEL_TRACES_EXPORTER is 'pigeon'"),
    ],
)
def test_what_cannot_trace_says_so_on_one_line(
    before: str, variables: dict[str, str], said: str
) -> None:
    code = (
        f"import sys; {before}; from touchstone_rewards.reward_server.__main__ import main; "
        "sys.argv = ['reward-server', 'serve', '--port', '0', '--traces']; sys.exit(main())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**clean_environment(), **variables},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr
