#!/usr/bin/env python3
"""Measures what one call costs a NATS server: CPU time, messages, bytes.

Starts one nats-server, or three that replicate, with file storage, and repeats the exchanges of a call as
`atasker-nats` makes them: the same streams and consumers, the same headers, many calls in flight. It speaks the NATS
protocol itself, so the client's own costs are not part of the result. CPU time is that of the server processes.

    docs/scale/measure.py [--calls 40000] [--replicas 1] [--shards 1] [--storage file] [--window 256]

The default sizes are those of a function with a name of 20 characters, and 100 bytes of arguments and of result.

Needs nats-server in the PATH, and nothing else. `docs/scale.md` explains the results.
"""

import argparse
import json
import os
import select
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request

TICKS = os.sysconf("SC_CLK_TCK")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Server:
    """A nats-server with JetStream."""

    def __init__(self, directory, number, routes, route_port):
        self.port, self.monitor = free_port(), free_port()
        self.store = os.path.join(directory, f"store{number}")
        config = [
            f'server_name: "s{number}"',
            f'listen: "127.0.0.1:{self.port}"',
            f'http: "127.0.0.1:{self.monitor}"',
            f'jetstream {{ store_dir: "{self.store}", max_mem: 4GB, max_file: 20GB }}',
        ]
        if len(routes) > 1:
            listed = ", ".join(f'"nats://127.0.0.1:{port}"' for port in routes)
            config.append(f'cluster {{ name: "c", listen: "127.0.0.1:{route_port}", routes: [{listed}] }}')
        path = os.path.join(directory, f"s{number}.conf")
        with open(path, "w") as file:
            file.write("\n".join(config))
        log = open(os.path.join(directory, f"s{number}.log"), "w")
        self.process = subprocess.Popen(["nats-server", "-c", path], stdout=log, stderr=log)

    def cpu(self):
        """CPU seconds of all its threads."""
        with open(f"/proc/{self.process.pid}/stat") as file:
            fields = file.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def written(self):
        with open(f"/proc/{self.process.pid}/io") as file:
            return int(dict(line.split(": ") for line in file.read().splitlines())["write_bytes"])

    def memory(self):
        with open(f"/proc/{self.process.pid}/status") as file:
            return int(next(line for line in file if line.startswith("VmRSS")).split()[1]) * 1024

    def traffic(self):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.monitor}/varz") as reply:
            varz = json.load(reply)
        return [varz[name] for name in ("in_msgs", "out_msgs", "in_bytes", "out_bytes")]


class Client:
    """A connection. Incoming messages are counted by subject prefix, and kept where that is asked for."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.read = b""
        self.out = []
        self.sids = 0
        self.pongs = 0
        self.handlers = {}
        options = {"verbose": False, "pedantic": False, "headers": True, "no_responders": True, "protocol": 1}
        self.out.append(b"CONNECT " + json.dumps(options).encode() + b"\r\nPING\r\n")
        self.flush()

    def sync(self):
        """Returns once the server has read everything that was sent before."""
        before = self.pongs
        # The first one answers the PING of the constructor.
        self.out.append(b"PING\r\n")
        self.flush()
        while self.pongs < max(before + 1, 2):
            self.receive()

    def flush(self):
        if self.out:
            self.socket.sendall(b"".join(self.out))
            self.out.clear()

    def subscribe(self, subject, handler):
        self.sids += 1
        self.handlers[str(self.sids).encode()] = handler
        self.out.append(f"SUB {subject} {self.sids}\r\n".encode())

    def publish(self, subject, payload=b"", reply="", headers=None):
        if headers:
            head = b"NATS/1.0\r\n" + b"".join(f"{k}: {v}\r\n".encode() for k, v in headers) + b"\r\n"
            line = f"HPUB {subject} {reply} {len(head)} {len(head) + len(payload)}\r\n".encode()
            self.out.append(line + head + payload + b"\r\n")
        else:
            self.out.append(f"PUB {subject} {reply} {len(payload)}\r\n".encode() + payload + b"\r\n")

    def receive(self, limit=10):
        """Reads once and handles what is complete."""
        self.socket.settimeout(limit)
        self.read += self.socket.recv(1 << 20)
        at, read = 0, self.read
        while True:
            end = read.find(b"\r\n", at)
            if end < 0:
                break
            words = read[at:end].split()
            if words[0] in (b"MSG", b"HMSG"):
                size = int(words[-1])
                if len(read) < end + 2 + size + 2:
                    break
                payload = read[end + 2:end + 2 + size]
                head = 0
                if words[0] == b"HMSG":
                    head = int(words[-2])
                reply = words[3] if len(words) == (6 if words[0] == b"HMSG" else 5) else b""
                self.handlers[words[2]](words[1], reply, payload[:head], payload[head:])
                at = end + 2 + size + 2
                continue
            if words[0] == b"PING":
                self.out.append(b"PONG\r\n")
            elif words[0] == b"PONG":
                self.pongs += 1
            elif words[0] == b"-ERR":
                sys.exit(read[at:end].decode())
            at = end + 2
        self.read = read[at:]

    def ask(self, subject, body):
        """Sends a request to JetStream and returns the reply."""
        replies = []
        self.subscribe(f"_INBOX.ask{self.sids}", lambda s, r, h, payload: replies.append(payload))
        self.publish(subject, json.dumps(body).encode() if body is not None else b"", f"_INBOX.ask{self.sids - 1}")
        self.flush()
        while not replies:
            self.receive()
        reply = json.loads(replies[0] or b"{}")
        if "error" in reply:
            raise RuntimeError(f"{subject}: {reply['error']}")
        return reply


def windowed(client, total, window, send, done):
    """Sends `total` requests, with at most `window` of them unanswered. `done()` is the number of answers."""
    sent = 0
    while done() < total:
        while sent < total and sent - done() < window:
            send(sent)
            sent += 1
        client.flush()
        client.receive()


def windowed_pair(one, other, total, window, send, relayed):
    """The same for messages between two connections, each of which answers the other."""
    sent = 0
    while relayed[0] < 2 * total:
        while sent < total and 2 * sent - relayed[0] < window:
            send(sent)
            sent += 1
        one.flush()
        other.flush()
        for ready in select.select([one.socket, other.socket], [], [], 10)[0]:
            (one if ready is one.socket else other).receive()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=40_000)
    parser.add_argument("--replicas", type=int, default=1)
    parser.add_argument("--shards", type=int, default=1, help="pairs of streams")
    parser.add_argument("--storage", default="file")
    parser.add_argument("--window", type=int, default=256)
    parser.add_argument("--entry", type=int, default=245, help="bytes of an entry: head and arguments")
    parser.add_argument("--claim", type=int, default=165, help="bytes of a record that says who runs the call")
    parser.add_argument("--outcome", type=int, default=260, help="bytes of a record with the outcome")
    args = parser.parse_args()
    directory = tempfile.mkdtemp(prefix="atasker-scale-")
    servers = []
    try:
        routes = [free_port() for _ in range(args.replicas)]
        servers = [Server(directory, n, routes, routes[n]) for n in range(args.replicas)]
        run(args, servers)
    finally:
        for server in servers:
            server.process.kill()
            server.process.wait()
        shutil.rmtree(directory)


def connect(servers):
    """Connects as soon as JetStream answers."""
    until = time.monotonic() + 30
    while True:
        try:
            client = Client(servers[0].port)
            client.ask("$JS.API.INFO", None)
            return client
        except (OSError, RuntimeError, KeyError):
            if time.monotonic() > until:
                raise
            time.sleep(0.2)


def run(args, servers):
    client = connect(servers)
    shards = range(args.shards)
    second = 1_000_000_000
    for shard in shards:
        common = {
            "storage": args.storage, "num_replicas": args.replicas, "max_age": 24 * 3600 * second,
            "duplicate_window": 120 * second, "allow_direct": True, "max_msgs": -1, "max_bytes": -1,
        }
        create(client, {"name": f"S{shard}", "subjects": [f"a.{shard}.s.>"], "retention": "limits",
                        "max_msgs_per_subject": 1, "discard": "old", **common})
        create(client, {"name": f"Q{shard}", "subjects": [f"a.{shard}.q.>"], "retention": "workqueue",
                        "max_msgs_per_subject": -1, "discard": "new", **common})
        consumer = {"durable_name": "c", "deliver_policy": "all", "ack_policy": "explicit", "ack_wait": 30 * second,
                    "max_deliver": -1, "max_ack_pending": -1, "max_waiting": 16_384,
                    "filter_subject": f"a.{shard}.q.default.2.*", "replay_policy": "instant"}
        client.ask(f"$JS.API.CONSUMER.DURABLE.CREATE.Q{shard}.c", {"stream_name": f"Q{shard}", "config": consumer})

    # What the launcher hears of its calls: an ordered push consumer on the records.
    heard = [0]

    def on_record(subject, reply, head, payload):
        if head.startswith(b"NATS/1.0 100"):
            if reply:
                client.publish(reply.decode())
            return
        heard[0] += 1

    for shard in shards:
        client.subscribe(f"_INBOX.w{shard}", on_record)
        watch = {"deliver_subject": f"_INBOX.w{shard}", "ack_policy": "none", "max_deliver": 1,
                 "filter_subject": f"a.{shard}.s.c.o.*", "replay_policy": "instant", "flow_control": True,
                 "idle_heartbeat": 2 * second, "mem_storage": True, "num_replicas": 1, "deliver_policy": "new"}
        client.ask(f"$JS.API.CONSUMER.CREATE.S{shard}", {"stream_name": f"S{shard}", "config": watch})

    answers, numbers = [0], {}

    def on_answer(subject, reply, head, payload):
        answer = json.loads(payload)
        if "error" in answer:
            sys.exit(f"refused: {answer}")
        numbers[int(subject.rsplit(b".", 1)[1])] = answer["seq"]
        answers[0] += 1

    client.subscribe("_INBOX.r.*", on_answer)
    deliveries = []
    client.subscribe("_INBOX.p.*", lambda subject, reply, head, payload: reply and deliveries.append(reply.decode()))

    def measured(name, send, total, done):
        answers[0] = 0
        before = snapshot(servers)
        windowed(client, total, args.window, send, done)
        client.publish("_INBOX.r", b"")
        # What the servers do behind their answers.
        time.sleep(0.5)
        after = snapshot(servers)
        report(name, total, [b - a for a, b in zip(before, after)])
        return [b - a for a, b in zip(before, after)]

    n = args.calls
    entry, claim, outcome = (os.urandom(size) for size in (args.entry, args.claim, args.outcome))
    origin = "0123456789abcdef"
    print(f"{n} calls, {args.replicas} server(s), {args.shards} shard(s), {args.storage} storage, "
          f"window {args.window}; per call:")
    print(f"{'':36}{'CPU us':>8}{'s':>7}{'in':>7}{'out':>7}{'B in':>8}{'B out':>8}{'B to disk':>11}")
    idle = [server.memory() for server in servers]
    rows = []

    def submit(i):
        shard = i % args.shards
        client.publish(f"a.{shard}.q.default.2.{origin}-{i:x}", entry, f"_INBOX.r.{i}",
                       [("Nats-Msg-Id", f"{origin}-{i:x}")])

    rows.append(measured("launch: an entry is stored", submit, n, lambda: answers[0]))

    def pull(i):
        body = json.dumps({"batch": 1, "expires": 30 * second, "idle_heartbeat": 2 * second}).encode()
        client.publish(f"$JS.API.CONSUMER.MSG.NEXT.Q{i % args.shards}.c", body, f"_INBOX.p.{i}")

    rows.append(measured("a node takes it", pull, n, lambda: len(deliveries)))

    def write(step, payload, expected):
        def send(i):
            headers = [("Nats-Msg-Id", f"{origin}-{i:x}-{step}"),
                       ("Nats-Expected-Last-Subject-Sequence", str(expected(i)))]
            client.publish(f"a.{i % args.shards}.s.c.o.{i:x}", payload, f"_INBOX.r.{i}", headers)
        return send

    rows.append(measured("and claims it", write("1", claim, lambda i: 0), n, lambda: min(answers[0], heard[0])))
    heard[0] = 0
    claims = dict(numbers)
    relayed = [0]

    def on_relayed(subject, reply, head, payload):
        relayed[0] += 1

    client.subscribe("a.m.*", on_relayed)
    other = Client(servers[-1].port)
    other.subscribe("a.n.*", on_relayed)
    other.sync()
    client.sync()

    def relay(i):
        # Both ends are the same process here, on two connections.
        client.publish("a.n.0123456789abcdef", entry[:60])
        other.publish("a.m.0123456789abcdef", entry[:50])

    def relay_all():
        windowed_pair(client, other, n, args.window, relay, relayed)

    before = snapshot(servers)
    relay_all()
    after = snapshot(servers)
    rows.append([b - a for a, b in zip(before, after)])
    report("tells its process id, acknowledged", n, rows[-1])

    rows.append(measured("writes the outcome", write("2", outcome, lambda i: claims[i]), n,
                         lambda: min(answers[0], heard[0])))

    def acknowledge(i):
        client.publish(deliveries[i], b"+ACK")

    before = snapshot(servers)
    for i in range(n):
        acknowledge(i)
        if i % args.window == args.window - 1:
            # The server has read what was sent before when this comes back.
            client.publish("_INBOX.r.0", b'{"seq":0}')
            client.flush()
            client.receive()
    client.flush()

    def left():
        streams = [client.ask(f"$JS.API.STREAM.INFO.Q{shard}", None) for shard in shards]
        return sum(stream["state"]["messages"] for stream in streams)

    until = time.monotonic() + 60
    while left() and time.monotonic() < until:
        time.sleep(0.2)
    after = snapshot(servers)
    rows.append([b - a for a, b in zip(before, after)])
    report("acknowledges the entry", n, rows[-1])

    total = [sum(column) for column in zip(*rows)]
    report("in all", n, total)
    kept = sum(server.memory() for server in servers) - sum(idle)
    print(f"memory of the servers: {kept / n:.0f} B more per kept outcome")
    assert left() == 0, f"{left()} entries are left"


def create(client, config):
    until = time.monotonic() + 30
    while True:
        try:
            return client.ask(f"$JS.API.STREAM.CREATE.{config['name']}", config)
        except RuntimeError:
            # Servers that replicate have to find each other first.
            if time.monotonic() > until:
                raise
            time.sleep(0.5)


def snapshot(servers):
    traffic = [sum(column) for column in zip(*(server.traffic() for server in servers))]
    return [sum(s.cpu() for s in servers), time.monotonic(), *traffic, sum(s.written() for s in servers)]


def report(name, n, row):
    cpu, seconds, *traffic, written = row
    messages, size = [f"{count / n:.2f}" for count in traffic[:2]], [f"{count / n:.0f}" for count in traffic[2:]]
    print(f"{name:36}{cpu / n * 1e6:8.1f}{seconds:7.1f}{messages[0]:>7}{messages[1]:>7}{size[0]:>8}{size[1]:>8}"
          f"{written / n:11.0f}", flush=True)


if __name__ == "__main__":
    main()
