# The pools of Python's standard library, and mpire. Reads one command per line and replies with one or several figures.
import concurrent.futures
import multiprocessing
import os
import sys
import time


def add(a, b):
    return a + b


def echo(data):
    return data


def busy(nanos):
    begin = time.perf_counter_ns()
    while time.perf_counter_ns() - begin < nanos:
        pass
    return nanos


class Pool:
    def __init__(self, workers):
        self.pool = multiprocessing.Pool(workers)

    def submit(self, function, *args):
        return self.pool.apply_async(function, args)

    def result(self, handle):
        return handle.get()

    def close(self):
        self.pool.close()
        self.pool.join()


class Executor:
    def __init__(self, workers):
        self.pool = concurrent.futures.ProcessPoolExecutor(workers)

    def submit(self, function, *args):
        return self.pool.submit(function, *args)

    def result(self, handle):
        return handle.result()

    def close(self):
        self.pool.shutdown()


class Mpire:
    def __init__(self, workers):
        import mpire

        self.pool = mpire.WorkerPool(workers, keep_alive=True)

    def close(self):
        self.pool.stop_and_join()


def maps(pool, items, nanos):
    begin = time.perf_counter()
    results = pool.pool.map(busy, [nanos] * items)
    assert sum(results) == items * nanos
    return items / (time.perf_counter() - begin) / 1e3


def burst(pool, calls):
    begin = time.perf_counter()
    handles = [pool.submit(add, i, i + 1) for i in range(calls)]
    for i, handle in enumerate(handles):
        assert pool.result(handle) == 2 * i + 1
    return calls / (time.perf_counter() - begin) / 1e3


def starmap(pool, calls):
    begin = time.perf_counter()
    sums = pool.pool.starmap(add, [(i, i + 1) for i in range(calls)], chunksize=calls // 8)
    assert sums == [2 * i + 1 for i in range(calls)]
    return calls / (time.perf_counter() - begin) / 1e3


def trips(pool, calls):
    begin = time.perf_counter()
    for i in range(calls):
        assert pool.result(pool.submit(add, i, i + 1)) == 2 * i + 1
    return (time.perf_counter() - begin) * 1e6 / calls


def latencies(pool, calls):
    times = []
    for i in range(calls):
        begin = time.perf_counter()
        assert pool.result(pool.submit(add, i, i + 1)) == 2 * i + 1
        times.append(f"{(time.perf_counter() - begin) * 1e6:.3f}")
    return " ".join(times)


def echoes(pool, size, calls):
    data = bytes(i % 251 for i in range(min(size, 4096))) * (-(-size // 4096))
    data = data[:size]
    begin = time.perf_counter()
    oldest = None
    for _ in range(calls):
        newest = pool.submit(echo, data)
        if oldest is not None:
            assert len(pool.result(oldest)) == size
        oldest = newest
    assert pool.result(oldest) == data
    return 2 * size * calls / (time.perf_counter() - begin) / 1e6


def fresh(pool, calls):
    pool = multiprocessing.Pool(2, maxtasksperchild=1)
    assert pool.apply(add, (20, 22)) == 42
    begin = time.perf_counter()
    oldest = None
    for _ in range(calls):
        newest = pool.apply_async(add, (20, 22))
        if oldest is not None:
            assert oldest.get() == 42
        oldest = newest
    assert oldest.get() == 42
    rate = calls / (time.perf_counter() - begin)
    pool.close()
    pool.join()
    return rate


def first(kind):
    begin = time.perf_counter()
    pool = kind(1)
    assert pool.result(pool.submit(add, 20, 22)) == 42
    taken = time.perf_counter() - begin
    pool.close()
    return taken * 1e3


def memory(kind):
    pool = kind(1)
    pid = pool.result(pool.submit(os.getpid))
    time.sleep(0.05)
    with open(f"/proc/{pid}/smaps_rollup") as lines:
        kib = next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    pool.close()
    return kib / 1024


def main():
    kind = {"pool": Pool, "executor": Executor, "mpire": Mpire}[sys.argv[1]]
    pool = None
    for line in sys.stdin:
        command, *numbers = line.split()
        numbers = [int(number) for number in numbers]
        if command in ("first", "memory"):
            figure = globals()[command](kind)
        else:
            pool = pool or kind(2)
            figure = globals()[command](pool, *numbers)
        print(figure, flush=True)
    if pool:
        pool.close()


main()
