"""Poll `/health` on one connection until terminated, and print the milliseconds of each answer."""

from __future__ import annotations

import http.client
import signal
import sys
import time


def main(port: int) -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    connection = http.client.HTTPConnection("127.0.0.1", port)
    while True:
        began_s = time.perf_counter()
        connection.request("GET", "/health")
        connection.getresponse().read()
        print(f"{(time.perf_counter() - began_s) * 1e3:.3f}", flush=True)
        time.sleep(0.005)


if __name__ == "__main__":
    main(int(sys.argv[1]))
