"""Starts a program the way an unkind parent would: hostile.py [blocked] [ignored] [descriptors] [closed] -- PROGRAM …"""
import os
import signal
import sys

split = sys.argv.index("--")
wishes, command = sys.argv[1:split], sys.argv[split + 1:]
if "ignored" in wishes:
    for number in signal.valid_signals():
        try:
            signal.signal(number, signal.SIG_IGN)
        except OSError:
            pass
if "blocked" in wishes:
    signal.pthread_sigmask(signal.SIG_SETMASK, signal.valid_signals())
if "descriptors" in wishes:
    for number in range(9, 14):
        os.dup2(os.open("/dev/zero", os.O_RDONLY), number)
if "closed" in wishes:
    os.closerange(0, 3)
os.execv(command[0], command)
