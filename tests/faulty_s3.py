"""An S3 server on this machine that can be made to fail."""

import logging
import threading
from collections.abc import Callable, Iterable
from typing import Any

from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server

ANSWER = b'<?xml version="1.0"?><Error><Code>%s</Code><Message>no</Message></Error>'
STATUS = {"SlowDown": "503 Slow Down", "InternalError": "500 Internal Server Error"}


class FaultyS3:
    """Passes requests on to an S3 server, and from one on answers each with an error.

    Attributes:
        code: S3's name of the error.
        methods: of the requests that are counted and fail.
        part: of the paths of those; "" = of any path.
        number_left: of those that are answered before; None = all are.
    """

    def __init__(self) -> None:
        self.code = "SlowDown"
        self.methods: tuple[str, ...] = ()
        self.part = ""
        self.number_left: int | None = None
        self.app = DomainDispatcherApplication(create_backend_app)
        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        self.server = make_server("127.0.0.1", 0, self, threaded=True)
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()

    @property
    def access(self) -> dict[str, Any]:
        """The options with which fsspec reaches it, and tries nothing twice by itself."""
        address = f"http://127.0.0.1:{self.server.server_port}"
        return {
            "key": "a",
            "secret": "b",
            "client_kwargs": {"endpoint_url": address},
            "config_kwargs": {"retries": {"total_max_attempts": 1}},
        }

    def __call__(self, environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        """Answer a request."""
        method = environ["REQUEST_METHOD"]
        is_counted = method in self.methods and self.part in environ["PATH_INFO"]
        if self.number_left is None or not is_counted:
            return self.app(environ, start)
        self.number_left -= 1
        if self.number_left >= 0:
            return self.app(environ, start)
        environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        body = b"" if method == "HEAD" else ANSWER % self.code.encode()
        start(STATUS[self.code], [("Content-Length", str(len(body)))])
        return [body]

    def stop(self) -> None:
        """Stop the server."""
        self.server.shutdown()
        self.thread.join(10)
        self.server.server_close()
