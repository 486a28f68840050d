"""What the Python workers of the tests share: the protocol, and words for the test to wait for."""
import os
import select

ITEMS, REPLIES, EXIT = 3, 4, 5


def say(*words):
    """One line on stderr, in one write."""
    os.write(2, (" ".join(map(str, words)) + "\n").encode())


def record(name, *words):
    """One line at the end of a file of the test's directory, in one write."""
    fd = os.open(name, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    os.write(fd, (" ".join(map(str, words)) + "\n").encode())
    os.close(fd)


def reply(*words):
    data = (" ".join(map(str, words)) + "\n").encode()
    while data:
        data = data[os.write(REPLIES, data):]


def told():
    """Whether the exit event has come."""
    return bool(select.select([EXIT], [], [], 0)[0])


def wait_for_event():
    """Blocks until the exit event; its line, or an empty one when exeunt died."""
    line = b""
    while not line.endswith(b"\n"):
        chunk = os.read(EXIT, 4096)
        if not chunk:
            break
        line += chunk
    return line.decode().rstrip("\n")


def wait_at(gate):
    """Blocks while the gate exists."""
    try:
        with open(gate) as fifo:
            fifo.read()
    except FileNotFoundError:
        pass


def orphan(count):
    """So many children of nobody, each dead at once. Answers the process that had them, which leaves with 0 if it could."""
    middle = os.fork()
    if middle == 0:
        for _ in range(count):
            if os.fork() == 0:
                os._exit(0)
        os._exit(0)
    return middle


def frames():
    """(token, payload) of every whole line, until the exit event or the end of the pipe."""
    buffer = b""
    while True:
        while b"\n" in buffer:
            line, buffer = buffer.split(b"\n", 1)
            token, payload = line.split(b" ", 1)
            yield token.decode(), payload.decode("utf-8", "surrogateescape")
            if told():
                return
        ready = select.select([ITEMS, EXIT], [], [])[0]
        if EXIT in ready:
            return
        chunk = os.read(ITEMS, 65536)
        if not chunk:
            return
        buffer += chunk
