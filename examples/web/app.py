"""Counts visits in Redis. Says when it is ready, and leaves when it is told to, with the requests in hand finished."""

import http.server
import os
import socket
import socketserver
import sys
import threading
import time

NAME = os.environ["EXEUNT_INSTANCE"]
EXIT = int(os.environ["EXEUNT_EXIT_FD"])
READY = int(os.environ["EXEUNT_READY_FD"])


class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    request_queue_size = 128
    daemon_threads = False  # closing the server waits for the requests in hand


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path == "/slow":
            print(f"{NAME}: this takes a while", flush=True)
            time.sleep(3)
        body = f"visit {visits()}, served by {NAME}\n".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def visits():
    """INCR, without a library: one line there, one line back."""
    with socket.socket(socket.AF_UNIX) as redis:
        redis.connect("run/redis.sock")
        redis.sendall(b"INCR visits\r\n")
        return redis.makefile().readline().strip().lstrip(":")


def main():
    with Server(sys.argv[1], Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,)).start()
        os.write(READY, b"\n")
        os.read(EXIT, 100)  # returns when it is time to leave
        server.shutdown()  # no new requests; leaving the block waits for those in hand
    os.unlink(sys.argv[1])
    print(f"{NAME}: all requests are answered", flush=True)


main()
