"""Which stores are measured, and where: on a disk that is one, on a server of our own or on one that was named."""

import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import unquote

from benchmarks.databases import POSTGRES, SQLITE, STORES, Place
from fanwood.store.opening import without_password
from tests.postgres.binaries import MissingBinariesError, find
from tests.postgres.cluster import Cluster
from tests.postgres.shelter import ServerError

SCHEMES = {"sqlite:///": SQLITE, "postgresql://": POSTGRES, "postgres://": POSTGRES}


def stores_for(wanted: Iterable[str], url: str | None) -> tuple[list[str], str]:
    """The stores to measure, and a word on one that is left out.

    Raises:
        ValueError: there is no such store, or it isn't the URL's.
    """
    wanted = list(wanted)
    for name in wanted:
        if name not in STORES:
            raise ValueError(f"--store must be of {', '.join(STORES)}, and is {name!r}")
    if url is not None:
        store = _store_of(url)
        if wanted and wanted != [store]:
            raise ValueError(f"--store {','.join(wanted)} does not go with a --url of {store}")
        return [store], ""
    if wanted:
        return [store for store in STORES if store in wanted], ""
    try:
        find()
    except MissingBinariesError as error:
        return [SQLITE], f"PostgreSQL is left out. {error}"
    return list(STORES), ""


def _store_of(url: str) -> str:
    for scheme, store in SCHEMES.items():
        if url.startswith(scheme) and len(url) > len(scheme):
            return store
    raise ValueError(
        f"--url must be sqlite:///relative/path.db, sqlite:////absolute/path.db or "
        f"postgresql://user:password@host:port/database, and is {without_password(url)!r}"
    )


@contextmanager
def places(stores: Iterable[str], url: str | None, output: Path) -> Iterator[Mapping[str, Place]]:
    """Where the databases of each store go. Of our own the folder `output` holds all; nothing stays there.

    Raises:
        ValueError: the folder of the URL isn't there, or there is no server and none can be started.
    """
    with ExitStack() as stack:
        folder = _folder_of(url) if url and _store_of(url) == SQLITE else _made(output)
        inner = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-", dir=folder)))
        found = {SQLITE: Place(inner)}
        if POSTGRES in stores:
            found[POSTGRES] = Place(inner, url or _own_server(stack, folder))
        yield found


def here(found: Mapping[str, Place]) -> tuple[Path, str]:
    """A folder on the disk that is measured, and the server, if there is one."""
    place = found.get(POSTGRES, found[SQLITE])
    return place.folder, place.url


def _own_server(stack: ExitStack, folder: Path) -> str:
    """With the settings that a new server has, durable ones."""
    try:
        return stack.enter_context(Cluster(below=folder)).create_database()
    except (MissingBinariesError, ServerError) as error:
        raise ValueError(f"--store {POSTGRES}: {error} Or name a server that runs: --url postgresql://...") from None


def _made(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    return folder


def _folder_of(url: str) -> Path:
    folder = Path(unquote(url.removeprefix("sqlite:///"))).expanduser().absolute().parent
    if not folder.is_dir():
        raise ValueError(f"--url: there is no folder {folder}")
    return folder
