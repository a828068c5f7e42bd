"""`cloudlulc view`: products on a local web map."""

from __future__ import annotations

import argparse

from pipeline import EXIT_OK

DESCRIPTION = """\
Show products on a map in the browser: layers, legend, areas, the evidence of each pixel, and two
products or dates side by side. The server answers this machine alone and needs no network.

  cloudlulc view maps/ghana
  cloudlulc view maps/ghana-june maps/ghana-july

On a machine without a screen, forward its port: ssh -L 8000:localhost:8000 MACHINE, and there:
  cloudlulc view maps/ghana --port 8000 --no-browser
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "products",
        nargs="+",
        metavar="PRODUCT",
        help="output folder of a run, or its product/ folder (gs:// too)",
    )
    parser.add_argument("--port", type=int, default=0, help="to listen on (default: a free one)")
    parser.add_argument("--no-browser", action="store_true", help="only print the address")


def run(args: argparse.Namespace, beam_args: list[str]) -> int:
    """Serve the products until Ctrl-C."""
    from importlib.util import find_spec

    absent = [name for name in ("fastapi", "rio_tiler", "uvicorn") if find_spec(name) is None]
    if absent:
        raise ValueError(
            f"{', '.join(absent)} not installed; the viewer needs: pip install 'cloudlulc[view]'"
        )
    import webbrowser
    from contextlib import suppress

    from pipeline.progress import say
    from pipeline.viewer.products import open_products
    from pipeline.viewer.server import HOST, listen, viewer_server

    products = open_products(args.products)
    for product in products.values():
        say(f"{product.name}, {product.date}: {len(product.tiles)} product tile(s)")
        for notice in product.notices:
            say(f"  {notice}")
    with listen(args.port) as listener:
        # Whoever asks before the server runs waits in the socket's queue.
        listener.listen()
        address = f"http://{HOST}:{listener.getsockname()[1]}/"
        print(address, flush=True)
        say("Stop with Ctrl-C.")
        if not args.no_browser:
            webbrowser.open(address)
        # uvicorn ends in good order and then passes Ctrl-C on.
        with suppress(KeyboardInterrupt):
            viewer_server(products).run(sockets=[listener])
    return EXIT_OK
