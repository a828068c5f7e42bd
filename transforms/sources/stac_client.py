"""The catalogue of a STAC API, by pystac-client: landing page, collections, paged item search."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

from pystac.errors import STACError, STACTypeError
from pystac_client import Client
from pystac_client.conformance import ConformanceClasses
from pystac_client.errors import ClientTypeError
from pystac_client.exceptions import APIError
from pystac_client.stac_api_io import StacApiIO

from transforms.period import Period
from transforms.scene import Bounds, SourceUnavailable
from transforms.sources.hrefs import Reach, hosts_of_environment
from transforms.sources.patience import Patience, Transient
from transforms.sources.presets import Catalog, Product


class CatalogClient:
    """Asks one API; it is connected on first use.

    Attributes:
      catalog: the API.
    """

    def __init__(self, catalog: Catalog, patience: Patience, timeout: float):
        self.catalog = catalog
        self._io = _PatientIO(catalog.url, patience, timeout)
        self._opened: Client | None = None
        self._checked: set[str] = set()

    def items(self, product: Product, bounds: Bounds, period: Period) -> Iterator[dict]:
        """Items of the product's collections: one search per collection, page by page.

        Raises:
          SourceUnavailable: the API is down, or refuses the search.
        """
        for collection in product.collections:
            with self._naming(f"search of {collection}"):
                search = self._client().search(
                    collections=[collection],
                    datetime=f"{period.start}T00:00:00Z/{period.end}T00:00:00Z",
                    limit=self.catalog.page,
                    **_area(bounds),
                )
                yield from search.items_as_dicts()

    def check(self, product: Product) -> None:
        """Ask for the landing page and the product's collections, once.

        Raises:
          SourceUnavailable: the API is down.
          ValueError: it offers no item search, or no such collection.
        """
        with self._naming("landing page"):
            client = self._client()
        if not client.conforms_to(ConformanceClasses.ITEM_SEARCH):
            raise ValueError(
                f"{self.catalog.name}: {self.catalog.url} offers no item search; expected the "
                f"landing page of a STAC API"
            )
        for collection in sorted(set(product.collections) - self._checked):
            with self._naming(f"collection {collection}"):
                found = client.get_collection(collection)
            if found is None:
                raise ValueError(
                    f"{self.catalog.name}: {self.catalog.url} has no collection {collection!r}; "
                    f"correct the configuration"
                )
            self._checked.add(collection)

    def _client(self) -> Client:
        if self._opened is None:
            self._opened = Client.open(self.catalog.url, stac_io=self._io)
        return self._opened

    @contextmanager
    def _naming(self, what: str) -> Iterator[None]:
        """Failures of pystac-client in our words."""
        where = f"{self.catalog.name}, {what}"
        try:
            yield
        except SourceUnavailable as error:
            raise SourceUnavailable(f"{where}: {error}") from error
        except APIError as error:
            status = getattr(error, "status_code", None)
            if status == 404:
                raise ValueError(
                    f"{where}: {self.catalog.url} has none; correct the configuration"
                ) from error
            raise SourceUnavailable(
                f"{where}: {self.catalog.url} answers {status}: {str(error)[:200]}"
            ) from error
        except (ClientTypeError, STACError, STACTypeError) as error:
            raise ValueError(
                f"{where}: {self.catalog.url} is not the landing page of a STAC API: {error}"
            ) from error


class _PatientIO(StacApiIO):
    """pystac-client's requests, each one tried again by itself: a page, not the whole search."""

    def __init__(self, url: str, patience: Patience, timeout: float):
        super().__init__(timeout=timeout)
        self._patience = patience
        own = urlsplit(url).hostname or ""
        self._reach = Reach("", frozenset([own]) | hosts_of_environment())

    def request(self, href, method=None, headers=None, parameters=None) -> str:
        self._reach.check(href, "link of the API")  # the next page is where the API says

        def once() -> str:
            try:
                text = super(_PatientIO, self).request(href, method, headers, parameters)
            except APIError as error:
                status = getattr(error, "status_code", None)
                if status is None or status in (408, 429) or status >= 500:
                    raise Transient(f"{href} answers {status or ''} {str(error)[:200]}") from error
                raise
            if not text.rstrip().endswith("}"):
                raise Transient(f"{href} answers a document that is cut short")
            return text

        return self._patience(once)


def _area(bounds: Bounds) -> dict:
    """The search's area; one that crosses the antimeridian as a polygon with two parts.

    A box with west > east is valid by RFC 7946, but not all APIs know.
    """
    west, south, east, north = bounds
    if west <= east:
        return {"bbox": list(bounds)}
    rings = [
        [[[w, south], [e, south], [e, north], [w, north], [w, south]]]
        for w, e in ((west, 180.0), (-180.0, east))
    ]
    return {"intersects": {"type": "MultiPolygon", "coordinates": rings}}
