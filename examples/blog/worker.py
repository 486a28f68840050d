"""The lazy worker, under exeunt: it waits for an item for a second at a time, does it, and leaves when it is told to.

It touches no signal. The exit event is a descriptor like the items are, so one `select` hears both.
"""

import os
import select
import sys
import time

ITEMS = int(os.environ["EXEUNT_ITEM_FD"])  # 3
REPLIES = int(os.environ["EXEUNT_REPLY_FD"])  # 4
EXIT = int(os.environ["EXEUNT_EXIT_FD"])  # 5
NAME = os.environ["EXEUNT_INSTANCE"]


def main():
    say("here")
    try:
        for token, number in items():
            time.sleep(0.3)  # the work
            os.write(REPLIES, b"ok " + token + b"\n")
            say(f"did {number.decode()}")
    finally:
        say("cleaned up")


def items():
    """The items as (token, payload), until the exit event or the end of the items."""
    buffer = b""
    while not exit_event_is_set():
        line, newline, rest = buffer.partition(b"\n")
        if newline:
            buffer = rest
            token, _, payload = line.partition(b" ")
            yield token, payload
            continue
        ready, _, _ = select.select([ITEMS, EXIT], [], [], 1.0)
        if not ready:
            say("nothing to do")
        elif ITEMS in ready:
            chunk = os.read(ITEMS, 65536)
            if not chunk:
                return  # what is left in the buffer has no line feed: it is no item
            buffer += chunk


def exit_event_is_set():
    """Like `multiprocessing.Event.is_set()`: the descriptor becomes readable once and stays so."""
    ready, _, _ = select.select([EXIT], [], [], 0)
    return bool(ready)


def say(text):
    sys.stdout.write(f"{NAME}: {text}\n")  # one write for a whole line, so that the lines of two workers do not mix


main()
