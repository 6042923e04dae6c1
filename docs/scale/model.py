#!/usr/bin/env python3
"""The figures of docs/scale.md that are calculated or simulated. Deterministic: the same output every time.

    docs/scale/model.py            # both tables; takes about a minute
    docs/scale/model.py capacity   # brokers for a rate, from what measure.py has measured
    docs/scale/model.py shards     # how many shards a node has to pull from
"""

import heapq
import random
import sys
from collections import deque

# Per call, as measured by measure.py, by replicas: CPU microseconds, bytes in, bytes out, and bytes to disk, summed over
# the servers.
MEASURED = {1: (53, 1_085, 1_100, 1_414), 3: (155, 4_188, 4_201, 7_038)}
# Bytes of memory per kept outcome and server, as measured.
KEPT = 2_500
# What a plan should use of a broker's CPUs.
USE = 0.6
CORES = 16
# Calls per second of one pair of streams. If nothing in a pair ran in parallel, 53 us would allow 18,900.
PER_SHARD = 10_000


def capacity():
    print(f"brokers of {CORES} CPUs, {USE:.0%} of them used; {PER_SHARD} calls/s per shard")
    print("calls/s  replicas  shards  CPUs  brokers  network each way  disk       memory for keep = 1 min, 1 h")
    for rate in (10_000, 100_000, 1_000_000):
        for replicas, (cpu, into, out, disk) in MEASURED.items():
            cpus = rate * cpu / 1e6
            brokers = max(replicas, -(-cpus // (USE * CORES)))
            network = rate * max(into, out) / brokers / 1e6
            files = rate * disk / brokers / 1e6
            memory = [rate * keep * KEPT * replicas / brokers / 1e9 for keep in (60, 3600)]
            print(f"{rate:<9}{replicas:<10}{-(-rate // PER_SHARD):<8}{cpus:<6.0f}{brokers:<9.0f}"
                  f"{network:5.0f} MB/s        {files:5.0f} MB/s {memory[0]:7.0f} GB {memory[1]:9.0f} GB")


def zipf(count, exponent):
    weights = [1 / (rank + 1) ** exponent for rank in range(count)]
    return [weight / sum(weights) for weight in weights]


class Cluster:
    """Nodes with slots pull from shards. Times in multiples of the mean run time."""

    def __init__(self, seed, shards, nodes, slots, pulls, load, skew, adapt):
        self.random = random.Random(seed)
        self.shards, self.nodes, self.pulls, self.adapt = shards, nodes, pulls, adapt
        self.free = [slots] * nodes
        self.waiting = [deque() for _ in range(shards)]
        self.idle = [deque() for _ in range(shards)]
        self.listed = [[False] * nodes for _ in range(shards)]
        # Each shard has equally many nodes, and the shards of a node are far apart.
        apart = shards // pulls
        self.pulls_from = [[(node + n * apart) % shards for n in range(pulls)] for node in range(nodes)]
        self.weights = zipf(shards, skew)
        self.rate = load * nodes * slots
        for node in range(nodes):
            self.offer(node)

    def offer(self, node):
        for shard in self.pulls_from[node]:
            if not self.listed[shard][node]:
                self.listed[shard][node] = True
                self.idle[shard].append(node)

    def idle_node(self, shard):
        idle = self.idle[shard]
        while idle:
            node = idle.popleft()
            self.listed[shard][node] = False
            if self.free[node] and shard in self.pulls_from[node]:
                return node
        return None

    def choose_shards(self, node):
        """Replaces the shard with the fewest waiting calls by a random one, if more wait there."""
        candidate = self.random.randrange(self.shards)
        mine = self.pulls_from[node]
        if candidate in mine:
            return
        least = min(range(len(mine)), key=lambda i: len(self.waiting[mine[i]]))
        if len(self.waiting[candidate]) > len(self.waiting[mine[least]]):
            mine[least] = candidate

    def run(self, calls):
        """Returns the sorted waiting times of the second half."""
        arrivals = self.random.choices(range(self.shards), weights=self.weights, k=calls)
        now, begun, ends, waits = 0.0, 0, [], []

        def begin(node, arrived):
            nonlocal begun
            begun += 1
            if begun > calls // 2:
                waits.append(now - arrived)
            heapq.heappush(ends, (now + self.random.expovariate(1), node))

        for shard in arrivals:
            arrival = now + self.random.expovariate(self.rate)
            while ends and ends[0][0] <= arrival:
                now, node = heapq.heappop(ends)
                if self.adapt and self.random.random() < 0.1:
                    self.choose_shards(node)
                full = [s for s in self.pulls_from[node] if self.waiting[s]]
                if full:
                    begin(node, self.waiting[min(full, key=lambda s: self.waiting[s][0])].popleft())
                else:
                    self.free[node] += 1
                    self.offer(node)
            now = arrival
            node = self.idle_node(shard)
            if node is None:
                self.waiting[shard].append(now)
                continue
            self.free[node] -= 1
            begin(node, now)
            if self.free[node]:
                self.offer(node)
        return sorted(waits)


def shards():
    print("100 shards, 1,000 nodes of 8 slots, exponential run times; waits in multiples of the mean run time")
    print("load  skew  nodes pull from        mean wait  p99 wait")
    for load in (0.8, 0.95):
        for skew in (0.0, 0.5):
            for pulls, adapt in ((1, False), (2, False), (4, False), (4, True), (100, False)):
                cluster = Cluster(7, 100, 1000, 8, pulls, load, skew, adapt)
                waits = cluster.run(200_000)
                mean, p99 = sum(waits) / len(waits), waits[len(waits) * 99 // 100]
                how = f"{pulls} of 100" + (", chosen by load" if adapt else "")
                print(f"{load:<6}{skew:<6}{how:<22}{mean:10.3f}{p99:10.2f}", flush=True)


if __name__ == "__main__":
    which = sys.argv[1:] or ["capacity", "shards"]
    for name in which:
        {"capacity": capacity, "shards": shards}[name]()
        print()
