"""Celery beside this project: a worker application, and launchers.

    celery -A celery_app worker ...
    python celery_app.py rate|trips|urgent COUNT
"""

import os
import sys
import time

from celery import Celery

url = os.environ["BROKER"]
app = Celery("celery_app", broker=url, backend=url)
app.conf.update(
    broker_transport_options={"queue_order_strategy": "priority"},
    worker_prefetch_multiplier=int(os.environ.get("PREFETCH", "4")),
    task_ignore_result=False,
)


@app.task
def add(a, b):
    return a + b


@app.task
def sleeps(micros):
    begun = time.monotonic_ns()
    time.sleep(micros / 1e6)
    return begun


def share(times, part):
    times.sort()
    return times[max(0, min(len(times) - 1, round(part * len(times)) - 1))]


def tell(*figures):
    print("figures", list(figures), flush=True)


def rate(count):
    [task.get() for task in [add.delay(n, 1) for n in range(50)]]
    print("begin", flush=True)
    begin, cpu = time.monotonic(), time.process_time()
    tasks = [add.delay(n, 1) for n in range(count)]
    for n, task in enumerate(tasks):
        assert task.get() == n + 1
    took = time.monotonic() - begin
    tell(count / took, (time.process_time() - cpu) * 1e6 / count)


def trips(count):
    times, launches = [], []
    for n in range(count + 50):
        begin = time.monotonic()
        task = add.delay(n, 1)
        launched = time.monotonic()
        assert task.get() == n + 1
        if n >= 50:
            times.append((time.monotonic() - begin) * 1e6)
            launches.append((launched - begin) * 1e6)
    begin = time.monotonic()
    tasks = [add.delay(n, 1) for n in range(count)]
    launch = (time.monotonic() - begin) * 1e6 / count
    [task.get() for task in tasks]
    tell(share(times, 0.5), share(times, 0.99), share(launches, 0.5), launch)


def urgent(count):
    for _ in range(10_000):
        sleeps.apply_async((1000,), priority=9)
    times = []
    for _ in range(count):
        time.sleep(0.01)
        launched = time.monotonic_ns()
        begun = sleeps.apply_async((0,), priority=0).get()
        times.append(max(0, begun - launched) / 1e3)
    tell(share(times, 0.5), share(times, 0.99))
    os._exit(0)


if __name__ == "__main__":
    globals()[sys.argv[1]](int(sys.argv[2]))
