"""The smallest correct worker in Python: `select` hears the items and the exit event, `os.write` needs no flush."""

import os
import select
import sys

ITEMS, REPLIES, EXIT = 3, 4, 5
REPLY_MAX = 4096


def work(item):
    return b"python did " + item  # its result is one line


def cleanup():
    sys.stderr.write("python cleaned up\n")


def leaving(timeout):
    """Waits for an item or the exit event, and says whether it was the event."""
    ready, _, _ = select.select([ITEMS, EXIT], [], [], timeout)
    return EXIT in ready


def answer(token, result):
    reply = b"ok %b %b\n" % (token, result)
    if len(reply) > REPLY_MAX:
        reply = b"fail %b a result of %d bytes does not fit in a reply\n" % (token, len(result))
    os.write(REPLIES, reply)


def main():
    buffer = b""
    while not leaving(None) and (chunk := os.read(ITEMS, 65536)):
        *lines, buffer = (buffer + chunk).split(b"\n")  # the last piece has no line feed: it is no item yet
        for line in lines:
            token, _, item = line.partition(b" ")
            answer(token, work(item))
            if leaving(0):
                return


try:
    main()
except BrokenPipeError:
    pass  # exeunt was killed
finally:
    cleanup()
