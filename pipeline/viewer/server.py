"""The viewer's server: the products it was given, nothing else, to this machine alone."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pipeline
from pipeline.viewer.products import Product
from transforms.layers import LAYERS

if TYPE_CHECKING:
    import uvicorn
    from fastapi import FastAPI

STATIC = Path(__file__).parent / "static"

HOST = "127.0.0.1"

DEEPEST_ZOOM = 20

HEADERS = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' data:; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-cache",
}
"""A page from elsewhere can neither read what is served here nor frame it."""


def viewer_app(products: dict[str, Product]) -> FastAPI:
    """The web application: the page, map tiles, pixels and areas of these products.

    Requests that name another host are refused: a page from elsewhere could otherwise reach this
    server by a host name of its own that leads to this machine (DNS rebinding).
    """
    from fastapi import FastAPI, HTTPException, Query, Response
    from fastapi.staticfiles import StaticFiles
    from starlette.middleware.trustedhost import TrustedHostMiddleware

    from pipeline.viewer import styles
    from pipeline.viewer.areas import class_areas
    from pipeline.viewer.background import countries
    from pipeline.viewer.pixel import pixel_at
    from pipeline.viewer.tiles import tile_png

    # The pages of FastAPI's own documentation load scripts from elsewhere.
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=[HOST, "localhost"])

    @app.middleware("http")
    async def add_headers(request, call_next):
        response = await call_next(request)
        response.headers.update(HEADERS)
        return response

    def product_of(key: str) -> Product:
        if key not in products:
            raise HTTPException(404, f"product {key!r}: shown are {', '.join(products)}")
        return products[key]

    def read(work: Callable[..., Any], *args: Any) -> Any:
        """What `work` reads of a product; storage that refuses is named to the reader."""
        from transforms.store import storage_errors

        try:
            return work(*args)
        except storage_errors() as error:
            raise HTTPException(502, f"a file of the product cannot be read: {error}") from error

    @app.get("/api/products")
    def describe() -> dict[str, Any]:
        return {
            "version": pipeline.__version__,
            "layers": {name: styles.legend(name) for name in LAYERS},
            "products": [_described(product) for product in products.values()],
        }

    @app.get("/api/{key}/tiles/{layer}/{z}/{x}/{y}.png")
    def tile(key: str, layer: str, z: int, x: int, y: int):
        product = product_of(key)
        if layer not in product.layers:
            have = ", ".join(product.layers)
            raise HTTPException(404, f"layer {layer!r}: product {key} has {have}")
        if not (0 <= z <= DEEPEST_ZOOM and 0 <= x < 2**z and 0 <= y < 2**z):
            raise HTTPException(404, f"map tile {z}/{x}/{y}: there is none")
        return Response(read(tile_png, product, layer, z, x, y), media_type="image/png")

    @app.get("/api/{key}/pixel")
    def pixel(
        key: str, lon: float = Query(ge=-180, le=180), lat: float = Query(ge=-90, le=90)
    ) -> dict[str, Any]:
        return read(pixel_at, product_of(key), lon, lat)

    @app.get("/api/{key}/areas")
    def areas(
        key: str,
        west: float = Query(ge=-720, le=720),
        south: float = Query(ge=-90, le=90),
        east: float = Query(ge=-720, le=720),
        north: float = Query(ge=-90, le=90),
    ) -> dict[str, Any]:
        product = product_of(key)
        if not (west < east and south < north):
            raise HTTPException(422, "west, south, east, north: the view has no area")
        found = read(class_areas, product, (west, south, east, north))
        classes = [c | {"km2": found.km2.get(c["code"], 0.0)} for c in product.classes]
        return {"classes": classes, "coarser": found.coarser}

    @app.get("/api/countries")
    def background():
        # Every browser reads gzip: it is packed once, not for each request.
        packed = {"Content-Encoding": "gzip"}
        return Response(countries(), media_type="application/geo+json", headers=packed)

    app.mount("/", StaticFiles(directory=STATIC, html=True))
    return app


def _described(product: Product) -> dict[str, Any]:
    first = product.tiles[0].properties
    return {
        "key": product.key,
        "name": product.name,
        "date": product.date,
        "layers": product.layers,
        "classes": product.classes,
        "tiles": [{"name": tile.name, "bounds": tile.bounds} for tile in product.tiles],
        "crs": first["proj:code"],
        "checkpoint": first["cloudlulc:checkpoint"],
        "attribution": next(
            (p["description"] for p in first["providers"] if "licensor" in p["roles"]), ""
        ),
        "license": first["license"],
        "notices": product.notices,
    }


def listen(port: int) -> socket.socket:
    """A socket of this machine alone; port 0 takes a free one.

    Raises:
      ValueError: the port is taken, or not ours to take.
    """
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((HOST, port))
    except (OSError, OverflowError) as error:
        listener.close()
        raise ValueError(f"--port {port}: {error}; choose another, or 0 for a free one") from error
    return listener


def viewer_server(products: dict[str, Product]) -> uvicorn.Server:
    """A server of these products, yet to be run on a socket."""
    import rio_tiler.mosaic  # noqa: F401, takes seconds: not while the first tile is waited for
    import uvicorn

    return uvicorn.Server(
        uvicorn.Config(viewer_app(products), log_level="warning", access_log=False)
    )
