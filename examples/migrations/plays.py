"""Serves the plays. It relies on a column that only the newest migration brings."""

import http.server
import os
import sqlite3


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        database = sqlite3.connect(os.environ["DATABASE"])
        rows = database.execute("select year, title from plays order by year").fetchall()
        body = "".join(f"{year} {title}\n" for year, title in rows).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


with http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler) as server:
    print(f"plays: on port {server.server_port}", flush=True)
    os.write(int(os.environ["EXEUNT_READY_FD"]), b"\n")
    server.serve_forever()
