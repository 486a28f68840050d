"""sd_notify(3) by hand: `say` sends each of its arguments as one datagram to the socket that NOTIFY_SOCKET names."""

import array
import os
import signal
import socket
import sys
import time


def channel():
    name = os.environ["NOTIFY_SOCKET"]
    chan = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    chan.connect("\0" + name[1:] if name[0] == "@" else name)
    return chan


def say(*words, fds=()):
    with channel() as chan:
        for word in words:
            rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
            chan.sendmsg([word if isinstance(word, bytes) else word.encode()], rights)


def log(word):
    os.write(2, (word + "\n").encode())


def wait_for(path):
    while not os.path.exists(path):
        time.sleep(0.01)


def stay():
    """Until TERM."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    while True:
        signal.pause()
