"""Prints the signals that this process ignores and blocks, as the kernel keeps them in /proc/self/status."""

import os
import signal
import sys


def names(mask):
    numbers = [number for number in range(1, 65) if mask >> (number - 1) & 1]
    known = {s.value: s.name.removeprefix("SIG") for s in signal.Signals}
    return " ".join(known.get(number, str(number)) for number in numbers) or "none"


with open("/proc/self/status", encoding="ascii") as status:
    fields = dict(line.split(":", 1) for line in status if ":" in line)
masks = {key: int(fields[key], 16) for key in ("SigIgn", "SigBlk")}
for number in (signal.SIGPIPE, signal.SIGXFSZ):
    masks["SigIgn"] &= ~(1 << (number - 1))  # Python's own doing, in every Python program

name = os.environ["EXEUNT_INSTANCE"]
sys.stdout.write(f"{name}: ignored {names(masks['SigIgn'])}; blocked {names(masks['SigBlk'])}\n")
