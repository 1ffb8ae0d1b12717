"""A foreign web page gets nothing from a server without a key; programs are not affected."""

from __future__ import annotations

import asyncio
import json
import shutil
import socket
from collections.abc import Callable

import httpx2
import pytest

from tests.waiting import PATIENCE_S
from touchstone_rewards.reward_server.errors import Forbidden
from touchstone_rewards.reward_server.http.browser import BrowserGuard
from touchstone_rewards.reward_server.live_server import LiveServer

BODY = {"profile": "dummy", "samples": [{"id": "a", "response": "x"}]}


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},  # DNS rebinding: the page's own name now leads to 127.0.0.1
        {"Host": "evil.example:8700"},
        {"Host": "127.0.0.1.evil.example"},
        {"Host": "localhost.evil.example"},
        {"Host": "10.0.0.4"},
        {"Host": ""},
        {"Origin": "https://evil.example"},
        {"Origin": "http://localhost:3000"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
    ],
)
def test_a_foreign_page_is_refused(server: LiveServer, headers: dict[str, str]) -> None:
    for ask in (
        lambda: httpx2.post(f"{server.url}/score", json=BODY, headers=headers),
        lambda: httpx2.get(f"{server.url}/dashboard/data", headers=headers),
    ):
        answer = ask()
        assert (answer.status_code, answer.json()["error"]["code"]) == (403, "forbidden")


def test_the_servers_own_page_and_programs_are_served(server: LiveServer) -> None:
    for headers in (
        {},
        {"Origin": server.url, "Sec-Fetch-Site": "same-origin"},
        {"Host": f"localhost:{server.port}", "Origin": f"http://localhost:{server.port}"},
        {"Sec-Fetch-Site": "none"},
        {"Host": f"[::1]:{server.port}"},
    ):
        answer = httpx2.post(f"{server.url}/score", json=BODY, headers=headers)
        assert answer.status_code == 200, headers


async def test_plain_curl_keeps_working(server: LiveServer) -> None:
    curl = shutil.which("curl")
    if curl is None:
        pytest.skip("curl is not installed")
    process = await asyncio.create_subprocess_exec(
        curl, "-s", "-d", json.dumps(BODY), f"{server.url}/score", stdout=asyncio.subprocess.PIPE
    )
    out, _ = await process.communicate()
    assert json.loads(out)["results"][0]["status"] == "ok"


def test_a_configured_name_opens_and_a_key_makes_names_no_matter(
    start_server: Callable[..., LiveServer],
) -> None:
    named = start_server("--allowed_hosts", "reward.lan, other.lan")
    ask = {"Host": "reward.lan:8700"}
    assert httpx2.post(f"{named.url}/score", json=BODY, headers=ask).status_code == 200
    keyed = start_server(REWARD_API_KEY="k")
    ask = {"Host": "any.example", "X-API-Key": "k"}
    assert httpx2.post(f"{keyed.url}/score", json=BODY, headers=ask).status_code == 200
    ask["Sec-Fetch-Site"] = "cross-site"
    assert httpx2.post(f"{keyed.url}/score", json=BODY, headers=ask).status_code == 403


def test_an_insecure_server_goes_by_addresses_but_by_no_foreign_name() -> None:
    guard = BrowserGuard(keyless=True, hosts=["0.0.0.0"], addresses=True)
    guard.check({b"host": b"10.0.0.4:8700"})
    guard.check({b"host": b"[fe80::1]:8700"})
    with pytest.raises(Forbidden, match="allowed_hosts"):
        guard.check({b"host": b"evil.example:8700"})


@pytest.mark.parametrize("path", ["/score/", "/health/", "/docs/", "//evil.example/score"])
def test_no_redirect_repeats_the_host(server: LiveServer, path: str) -> None:
    head = f"GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"
    with socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE_S) as connection:
        connection.sendall(head.encode())
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    assert answer.startswith(b"HTTP/1.1 404"), answer[:200]
    assert b"location" not in answer.lower()


def test_a_wrong_method_is_told_the_right_one(server: LiveServer) -> None:
    answer = httpx2.get(f"{server.url}/score")
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
