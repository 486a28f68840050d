"""The smallest correct worker in Python: `select` hears the items and the exit event, `os.write` needs no flush."""

import os
import select

ITEMS, REPLIES, EXIT = 3, 4, 5


def work(item):
    return b"python did " + item


def leaving(timeout):
    """Waits for an item or the exit event, and says whether it was the event."""
    ready, _, _ = select.select([ITEMS, EXIT], [], [], timeout)
    return EXIT in ready


buffer = b""
while not leaving(None) and (chunk := os.read(ITEMS, 65536)):
    *lines, buffer = (buffer + chunk).split(b"\n")  # the last piece has no line feed: it is no item yet
    for line in lines:
        token, _, item = line.partition(b" ")
        os.write(REPLIES, b"ok " + token + b" " + work(item) + b"\n")
        if leaving(0):
            break
# Clean up here.
