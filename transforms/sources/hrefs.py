"""Where the documents of a catalogue may point: what they name is opened with our rights.

An item is a document from elsewhere, and a worker may read files, private networks and the
metadata server of its cloud, which hands out credentials. So items and links may name

* local files below the folder of a local catalogue, symbolic links resolved; nothing else of the
  machine, and nothing at all where the catalogue is an API;
* objects, `gs://` and `s3://`: the rights of the worker's account decide;
* `https://` and `http://` on the internet, and on hosts that are trusted by name: those of the
  catalogue's own configuration and of the variable CLOUDLULC_HOSTS.

Neither GDAL's virtual files (`/vsizip/...`) nor its other drivers can be reached: paths are made
absolute, and files are opened as GeoTIFF or JPEG 2000 (`headers.open_asset`).
"""

from __future__ import annotations

import os
import re
import socket
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import NamedTuple
from urllib.parse import urlsplit

from transforms.scene import Scene
from transforms.store import is_local, local_path

HOSTS_VARIABLE = "CLOUDLULC_HOSTS"
"""Comma-separated hosts of one's own network that catalogues may name; the workers need it too."""

_HOST = re.compile(r"(?=.{1,253}$)([a-z0-9_-]{1,63}\.)*[a-z0-9_-]{1,63}")
_BUCKET = re.compile(r"[a-z0-9][a-z0-9._-]{1,220}", re.IGNORECASE)

# Names that resolve inside of a network only; `metadata.goog` is Google's metadata server.
_INNER = (".internal", ".local", ".localhost", ".localdomain", ".home.arpa", "metadata.goog")

# Metadata servers outside of the link-local range: Azure, Amazon and Google by IPv6.
_METADATA = {ip_address(a) for a in ("168.63.129.16", "fd00:ec2::254", "fd20:ce::254")}


class Reach(NamedTuple):
    """What the documents of one catalogue may name."""

    folder: str = ""  # absolute, of a local catalogue; "": no local files
    hosts: frozenset[str] = frozenset()  # trusted although they are not on the internet

    def check(self, href: str, name: str) -> None:
        """Check an address as it is spelled, and where symbolic links lead.

        Args:
          href: resolved: a local path or an address.
          name: of what names it, for errors.

        Raises:
          ValueError: it may not be named.
        """
        # "::" chains file systems of fsspec; in brackets it is a part of an IPv6 address.
        if not href.isprintable() or "::" in re.sub(r"://\[[^\]]*\]", "://", href):
            raise ValueError(f"{name}: {href!r} is neither a path nor an address")
        if "://" not in href:
            self._check_local(href, name)
            return
        scheme, parts = href.partition("://")[0], urlsplit(href)
        if scheme not in ("gs", "gcs", "s3", "https", "http"):
            raise ValueError(
                f"{name}: {href!r}, got {scheme}://, expected a local path, gs://, s3:// or "
                "https://"
            )
        host = (parts.hostname or "").rstrip(".")
        if parts.username is not None or set(href) & set("\\ "):
            raise ValueError(f"{name}: {href!r} holds a user name, or what no address holds")
        if not scheme.startswith("http"):
            if not _BUCKET.fullmatch(parts.netloc):
                raise ValueError(f"{name}: {href!r} names no bucket")
        elif host not in self.hosts and not (":" in host or _HOST.fullmatch(host)):
            raise ValueError(f"{name}: {href!r} names no host")
        elif host not in self.hosts and _is_inner(host):
            raise ValueError(
                f"{name}: {href!r} is an address of this machine, its network or its cloud, not "
                f"of the internet; if you trust the catalogue, set {HOSTS_VARIABLE}={host}"
            )

    def check_scene(self, scene: Scene) -> None:
        """Check the addresses of all bands of a scene; see `check`."""
        for asset in scene.assets:
            self.check(asset.href, f"item {scene.id!r}, band {asset.band}")

    def check_hosts(self, scene: Scene) -> None:
        """Check what the hosts of a scene's bands mean now, before they are asked.

        Raises:
          ValueError: a name means this machine or a metadata server.
        """
        for asset in scene.assets:
            if not asset.href.startswith("http"):
                continue
            host = (urlsplit(asset.href).hostname or "").rstrip(".")
            if host not in self.hosts and _means_metadata(host):
                raise ValueError(
                    f"item {scene.id!r}, band {asset.band}: host {host} means this machine or a "
                    "metadata server; the item is not to be trusted"
                )

    def _check_local(self, path: str, name: str) -> None:
        if not self.folder:
            raise ValueError(f"{name}: {path!r} is a local file, and its catalogue is not local")
        spelled = os.path.abspath(path)
        if spelled.startswith("/vsi"):
            raise ValueError(f"{name}: {path!r} is a virtual file of GDAL, expected a file")
        for where, root in ((spelled, self.folder), (_leads_to(spelled), _real(self.folder))):
            if os.path.commonpath([where, root]) != root:
                raise ValueError(
                    f"{name}: {path!r} lies outside of {root}, the folder of the catalogue; give "
                    "--source a folder or catalogue that lies above both"
                )


def reach_of(catalog: str, hosts: frozenset[str] = frozenset()) -> Reach:
    """What a catalogue of files may name; `hosts` are trusted beside those of the environment.

    Raises:
      ValueError: the catalogue is neither local nor under gs://.
    """
    if not is_local(catalog):
        if not catalog.startswith(("gs://", "gcs://")):
            raise ValueError(f"catalog {catalog}: expected a path or gs:// address")
        return Reach("", hosts | hosts_of_environment())
    path = os.path.abspath(local_path(catalog))
    return Reach(
        path if os.path.isdir(path) else os.path.dirname(path), hosts | hosts_of_environment()
    )


def hosts_of_environment() -> frozenset[str]:
    return frozenset(filter(None, os.environ.get(HOSTS_VARIABLE, "").lower().split(",")))


@lru_cache(maxsize=4096)
def _real(folder: str) -> str:
    return os.path.realpath(folder)


def _leads_to(path: str) -> str:
    """The file behind symbolic links; folders are looked at once, for catalogues are large."""
    path = os.path.join(_real(os.path.dirname(path)), os.path.basename(path))
    return os.path.realpath(path) if os.path.islink(path) else path


def _is_inner(host: str) -> bool:
    address = _address(host)
    if address:
        return not address.is_global or address in _METADATA
    return "." not in host or host.endswith(_INNER)


def _address(host: str) -> IPv4Address | IPv6Address | None:
    """The address that a host is spelled as, in any way that a client understands."""
    try:
        address = ip_address(host)
    except ValueError:
        try:
            return IPv4Address(socket.inet_aton(host))  # 2852039166, 0xa9fea9fe, 169.254.43518
        except OSError:
            return None
    return getattr(address, "ipv4_mapped", None) or address


@lru_cache(maxsize=1024)
def _means_metadata(host: str) -> bool:
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError:
        return False  # the reader finds out, and says so
    addresses = {_address(entry[4][0].partition("%")[0]) for entry in found}
    return any(
        a.is_loopback or a.is_link_local or a.is_unspecified or a in _METADATA for a in addresses
    )
