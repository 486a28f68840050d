"""An HTTP server on a port of the kernel's choice, or that of `port` if there is one, at 127.0.0.1 or `HOST`: answers every GET with the status that the file `status`
holds, 200 without one, and takes down who asks. Leaves on TERM."""

import http.server
import os
import signal
import socket
import sys
import time

signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))


def content(name, otherwise):
    try:
        with open(name) as file:
            return int(file.read() or otherwise)
    except FileNotFoundError:
        return otherwise


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        status = content("status", 200)
        with open("asked", "a") as log:
            log.write(f"{self.path} {status}\n")
        if status == 0:
            time.sleep(1000)
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


while os.path.exists("closed"):
    time.sleep(0.01)
os.write(2, b"opens\n")
host = os.environ.get("HOST", "127.0.0.1")
if ":" in host:
    http.server.ThreadingHTTPServer.address_family = socket.AF_INET6
server = http.server.ThreadingHTTPServer((host, int(sys.argv[1])), Handler)
server.daemon_threads = True
server.serve_forever()
