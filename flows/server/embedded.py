"""`python -m flows.server.embedded DESCRIPTOR`: Prefect's server for one flow, on a listening socket that it inherits.

It ends when its standard input closes, which the end of the flow does, however that came about.
"""

from __future__ import annotations

import argparse
import gc
import os
import socket
import sys
import threading


def main(descriptor: int) -> None:
    """Serve until standard input closes."""
    gc.disable()  # a quarter of the time that these imports take, and nothing of theirs would be collected
    import uvicorn
    from prefect.server.api.server import create_app

    app = create_app(ephemeral=True, final=True)
    server = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="on"))
    gc.freeze()
    gc.enable()

    def end_with_the_flow() -> None:
        sys.stdin.buffer.read()
        server.should_exit = True

    threading.Thread(target=end_with_the_flow, daemon=True).start()
    server.run(sockets=[socket.socket(fileno=descriptor)])
    sys.stderr.flush()
    os._exit(0 if server.started else 1)  # to take every module down would last another second


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m flows.server.embedded", description="Serve one flow.")
    parser.add_argument("descriptor", type=int, metavar="DESCRIPTOR", help="of a listening socket")
    main(parser.parse_args().descriptor)
