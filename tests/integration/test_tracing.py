"""Traces as a collector receives them: from the starting statement to the server that is called."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from durproxy.embedded import free_port
from tests.fix_http import Web
from tests.fix_serve import ServeWith
from tests.store.asking import value
from tests.waiting import wait_until

pytestmark = pytest.mark.one_postgres

TRACE, CLIENT = "5bd66ef5095369c7b0d1f8f4bd33716a", "c532cb4098ac3dd2"
COMMENT = f"/*framework='x',traceparent='00-{TRACE}-{CLIENT}-01'*/"


class Collector:
    """Takes spans over OTLP."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        self.services: set[str] = set()
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                collector.take(ExportTraceServiceRequest.FromString(body))
                self.send_response(200)
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)

    @property
    def variables(self) -> dict[str, str]:
        return {
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{self.server.server_port}",
            "OTEL_BSP_SCHEDULE_DELAY": "50",
        }

    def take(self, request: ExportTraceServiceRequest) -> None:
        for resource in request.resource_spans:
            told = {item.key: item.value.string_value for item in resource.resource.attributes}
            self.services.add(told["service.name"])
            for scope in resource.scope_spans:
                self.spans += scope.spans

    def of(self, instance: str) -> list[Span]:
        return [span for span in self.spans if attributes(span)["durproxy.instance"] == instance]

    def whole(self, instance: str) -> dict[str, Span]:
        """By name and node, once the workflow's own has come."""

        def found() -> bool:
            return any(span.name == "durproxy.instance" for span in self.of(instance))

        wait_until(found, "its span has come")
        return {f"{span.name} {attributes(span).get('durproxy.node', '')}".strip(): span
                for span in self.of(instance)}  # fmt: skip


def attributes(span: Span) -> dict[str, str]:
    return {item.key: item.value.string_value or str(item.value.int_value)
            for item in span.attributes}  # fmt: skip


@pytest.fixture
def collector() -> Iterator[Collector]:
    found = Collector()
    thread = threading.Thread(target=found.server.serve_forever, args=(0.01,))
    thread.start()
    yield found
    found.server.shutdown()
    thread.join()
    found.server.server_close()


def test_a_trace_goes_from_the_statement_to_the_server_that_is_called(
    serve_with: ServeWith, collector: Collector, web: Web
) -> None:
    serve = serve_with(env=collector.variables, http_allow_private=True)
    with serve.connect() as client:
        steps = f"'SELECT 1' ~> 'SELECT 2' ~> df.http('{web.url}/echo') ~> 'SELECT 1/0'"
        instance = value(client, f"SELECT df.start({steps}, 'billing') {COMMENT}")
        assert value(client, "SELECT df.await_instance(%s)", [instance]) == "failed"
        unsampled = COMMENT.replace("-01'", "-00'")
        quiet = value(client, f"SELECT df.start({steps.partition(' ~> df')[0]}) {unsampled}")
        assert value(client, "SELECT df.await_instance(%s)", [quiet]) == "completed"
        own = value(client, f"SELECT df.start({steps.partition(' ~> df')[0]})")
    spans = collector.whole(instance)
    whole = spans["durproxy.instance"]
    assert (whole.trace_id.hex(), whole.parent_span_id.hex()) == (TRACE, CLIENT)
    assert attributes(whole)["durproxy.label"] == "billing"
    assert (whole.status.code, whole.status.message) == (
        Status.STATUS_CODE_ERROR, "division by zero",
    )  # fmt: skip
    steps_of = {name: span for name, span in spans.items() if span is not whole}
    assert Counter(name.rpartition(" ")[0] for name in steps_of) == {
        "durproxy.step sql": 3, "durproxy.step http": 1,
    }  # fmt: skip
    for span in steps_of.values():
        assert (span.trace_id, span.parent_span_id) == (whole.trace_id, whole.span_id)
        assert whole.start_time_unix_nano - 10**9 < span.start_time_unix_nano
        assert span.start_time_unix_nano <= span.end_time_unix_nano
    [http] = [span for name, span in steps_of.items() if "http" in name]
    assert http.kind == Span.SPAN_KIND_CLIENT
    [asked] = web.asked
    assert asked.headers["traceparent"] == f"00-{TRACE}-{http.span_id.hex()}-01"
    [failed] = [span for span in steps_of.values() if "durproxy.sqlstate" in attributes(span)]
    assert (failed.status.message, attributes(failed)["durproxy.sqlstate"]) == (
        "division by zero", "22012",
    )  # fmt: skip
    root = collector.whole(own)["durproxy.instance"]
    assert root.parent_span_id == b""
    assert root.trace_id != whole.trace_id
    assert collector.services == {"durproxy"}
    assert not collector.of(quiet)


def test_a_crash_leaves_each_step_one_span(
    serve_with: ServeWith, collector: Collector, web: Web
) -> None:
    serve = serve_with(env=collector.variables, http_allow_private=True)
    with serve.connect() as client:
        steps = f"'SELECT 1' ~> df.http('{web.url}/hold') ~> 'SELECT 2'"
        instance = value(client, f"SELECT df.start({steps}) {COMMENT}")
        wait_until(lambda: web.asked, "the server is asked")
        wait_until(lambda: collector.of(instance), "the first step's span has come")
        serve.kill_engine()
        wait_until(lambda: len(web.asked) == 2, "it is asked again")
        web.released.set()
        assert value(client, "SELECT df.await_instance(%s)", [instance]) == "completed"
    spans = collector.whole(instance)
    assert Counter(span.span_id for span in collector.of(instance)).most_common(1)[0][1] == 1
    assert len(spans) == 4
    first, second = (asked.headers["traceparent"] for asked in web.asked)
    assert first == second
    assert spans["durproxy.step http 4"].span_id.hex() in first


def test_a_collector_that_is_away_keeps_nothing_waiting(serve_with: ServeWith) -> None:
    away = {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{free_port()}"}
    serve = serve_with(env=away | {"OTEL_BSP_SCHEDULE_DELAY": "50"})
    with serve.connect() as client:
        for _ in range(3):
            instance = value(client, "SELECT df.start('SELECT 1' ~> 'SELECT 2')")
            assert value(client, "SELECT df.await_instance(%s)", [instance]) == "completed"
    assert serve.stop() == 0
    assert not serve.events("child.crashed")


def test_without_a_collector_a_trace_goes_on_as_it_is(serve_with: ServeWith, web: Web) -> None:
    serve = serve_with(http_allow_private=True)
    with serve.connect() as client:
        call = f"df.http('{web.url}/echo')"
        mine = f"df.http('{web.url}/echo?own', headers => '{{\"Traceparent\": \"x\"}}')"
        for text in (f"{call}) {COMMENT}", f"{call})", f"{mine}) {COMMENT}"):
            instance = value(client, f"SELECT df.start({text}")
            assert value(client, "SELECT df.await_instance(%s)", [instance]) == "completed"
    given, nothing, own = (asked.headers.get("traceparent") for asked in web.asked)
    assert (given, nothing, own) == (f"00-{TRACE}-{CLIENT}-01", None, "x")
