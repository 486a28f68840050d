"""The story as it usually begins: a pool of workers, a queue, an exit event, and a Ctrl+C that nobody planned for.

Ctrl+C sends SIGINT to every process of the terminal's foreground group, so the workers are hit together with the parent
that was going to tell them to leave.
"""

import multiprocessing
import queue
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
    for worker in workers:
        worker.start()
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
