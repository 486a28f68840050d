"""The story with its usual cure: SIGINT is ignored before the workers are started, so that they inherit that, and is restored
in the parent afterwards.

Now every worker finishes the number in hand and cleans up. The numbers that still wait in the queue are lost without a word.
"""

import multiprocessing
import queue
import signal
import time


def lazy_worker(name, items, exit_event):
    print(f"{name}: here", flush=True)
    while not exit_event.is_set():
        try:
            number = items.get(timeout=1)
        except queue.Empty:
            print(f"{name}: nothing to do", flush=True)
            continue
        print(f"{name}: takes {number}", flush=True)
        time.sleep(0.3)  # the work
        print(f"{name}: did {number}", flush=True)
    print(f"{name}: cleaned up", flush=True)


def main():
    items = multiprocessing.Queue()
    exit_event = multiprocessing.Event()
    workers = [
        multiprocessing.Process(target=lazy_worker, args=(f"lazy.{i}", items, exit_event))
        for i in range(2)
    ]
    parents_own = signal.signal(signal.SIGINT, signal.SIG_IGN)
    for worker in workers:
        worker.start()
    signal.signal(signal.SIGINT, parents_own)
    for number in range(1, 101):
        items.put(number)
    try:
        while any(worker.is_alive() for worker in workers):
            time.sleep(0.1)
    except KeyboardInterrupt:
        print("parent: telling the workers to leave", flush=True)
        exit_event.set()
    for worker in workers:
        worker.join()
    print("parent: everybody has left", flush=True)


if __name__ == "__main__":
    main()
