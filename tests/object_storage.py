"""An S3 server on the loopback, whose connections a test can cut."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

BUCKET = "texts"
ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_MAX_ATTEMPTS": "1",  # what is tested is what we try again
}


REFUSALS = {"denied": ("403 Forbidden", "AccessDenied"), "gone": ("404 Not Found", "NoSuchKey")}


class ObjectStorage:
    """A server with one bucket.

    Attributes:
        fault: given method and path of each request, what is wrong with the answer: "cut" after half of it, or
            one of `REFUSALS` in its place.
        requests: method and path of all requests so far.
    """

    def __init__(self, app: Callable):
        self._app = app
        self.fault: Callable[[str, str], str | None] = lambda method, path: None
        self.requests: list[tuple[str, str]] = []

    def __call__(self, environ: dict, start: Callable) -> Iterator[bytes]:
        method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
        self.requests.append((method, path))
        fault = self.fault(method, path)
        if fault in REFUSALS:
            status, code = REFUSALS[fault]
            start(status, [("Content-Type", "application/xml")])
            yield f"<Error><Code>{code}</Code><Message>{code}</Message></Error>".encode()
            return
        content = b"".join(self._app(environ, start))
        yield content[: len(content) // 2] if fault == "cut" else content

    def files(self):
        """The file system of this storage."""
        import s3fs

        system = s3fs.S3FileSystem()
        system.invalidate_cache()
        return system

    def read(self, name: str) -> bytes:
        return self.files().cat_file(f"{BUCKET}/{name}")

    def write(self, name: str, content: bytes) -> str:
        self.files().pipe_file(f"{BUCKET}/{name}", content)
        return f"s3://{BUCKET}/{name}"

    def remove(self, name: str) -> None:
        self.files().rm(f"{BUCKET}/{name}", recursive=True)

    def names(self, folder: str) -> list[str]:
        prefix = f"{BUCKET}/{folder}/"
        return sorted(name.removeprefix(prefix) for name in self.files().find(prefix))

    def clear(self) -> None:
        """Remove all objects and faults."""
        self.fault = lambda method, path: None
        if found := self.files().find(BUCKET):
            self.files().rm(found)
        self.requests.clear()

    def upload(self, folder, name: str) -> str:
        """Copy a local folder's files, and return the address."""
        paths = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != ".lock"]
        self.files().pipe({f"{BUCKET}/{name}/{path.relative_to(folder)}": path.read_bytes() for path in paths})
        return f"s3://{BUCKET}/{name}"


@contextmanager
def served() -> Iterator[ObjectStorage]:
    """Serve a storage for the block, in which this process and those that it starts find it by the environment."""
    for module in ("moto", "s3fs", "flask_cors"):
        pytest.importorskip(module, reason="no server of object storage here; pip install 'bertsmith[dev]'")
    from moto.server import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import WSGIRequestHandler, make_server

    class Quiet(WSGIRequestHandler):
        def log(self, *arguments) -> None:
            pass

    storage = ObjectStorage(DomainDispatcherApplication(create_backend_app))
    server = make_server("127.0.0.1", 0, storage, threaded=True, request_handler=Quiet)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (ENVIRONMENT | {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{server.port}"}).items():
            patch.setenv(name, value)
        storage.files().mkdir(BUCKET)
        yield storage
    server.shutdown()
    thread.join()
    server.server_close()
