"""``python server.py PORT STATUS [BODY]``: answers every request with that status and body, /ping with 200."""

import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

BODY = "".join(sys.argv[3:]).encode()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1

    def do_GET(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_response(200 if self.path == "/ping" else int(sys.argv[2]))
        self.send_header("Content-Length", str(len(BODY)))
        self.end_headers()
        self.wfile.write(BODY)

    do_POST = do_GET

    def log_message(self, *_: object) -> None:
        return


ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
