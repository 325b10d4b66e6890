"""Train on two nodes of this machine, kill one of them, start it again, and compare.

    python benchmarks/two_nodes.py FOLDER                  two agents of torchrun over loopback
    python benchmarks/two_nodes.py FOLDER --namespaces     each in a network namespace (needs root)

Each node is an agent of torchrun with one rank; they meet by the c10d rendezvous of the first one.
The second agent and its rank are killed (SIGKILL) in the middle of the training, and the agent is
started again by the same command. The training has to end on both nodes, and to equal one that was
not disturbed bit for bit. Exits with 1 if it does not.
"""

import argparse
import json
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

from elastic import RECIPE, epochs, workers
from equal_runs import difference

Process = subprocess.Popen[bytes]
ADDRESSES = ("10.77.0.1", "10.77.0.2")
HEARTBEATS = "keep_alive_interval=1,keep_alive_max_attempt=3,join_timeout=300"


def create_namespaces(stack: ExitStack) -> None:
    """Two network namespaces joined by a cable, removed at the end."""

    def ip(*words: str) -> None:
        subprocess.run(["ip", *words], check=True)

    for node in range(2):
        ip("netns", "add", f"node{node}")
        stack.callback(ip, "netns", "del", f"node{node}")
    ip("link", "add", "cable0", "type", "veth", "peer", "name", "cable1")
    for node, address in enumerate(ADDRESSES):
        inside = ("-n", f"node{node}")
        ip("link", "set", f"cable{node}", "netns", f"node{node}")
        ip(*inside, "address", "add", f"{address}/24", "dev", f"cable{node}")
        for device in ("lo", f"cable{node}"):
            ip(*inside, "link", "set", device, "up")


class Nodes:
    """The commands of two nodes, and the processes that run them."""

    def __init__(self, folder: Path, namespaces: bool) -> None:
        self.folder, self.namespaces = folder, namespaces
        host = ADDRESSES[0] if namespaces else "127.0.0.1"
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            self.endpoint = f"{host}:{listener.getsockname()[1]}"

    def start(self, node: int, run: Path) -> Process:
        """Start the agent of a node, in a session of its own; its rank is a child of it."""
        launcher = [sys.executable, "-m", "torch.distributed.run", "--nnodes", "2"]
        launcher += ["--nproc-per-node", "1", "--max-restarts", "3", "--rdzv-id", run.name]
        launcher += ["--rdzv-backend", "c10d", "--rdzv-endpoint", self.endpoint]
        launcher += ["--rdzv-conf", f"{HEARTBEATS},is_host={int(node == 0)}"]
        # torch 2.13 gives a machine that joins later no address of the store it shares otherwise.
        environment = os.environ | {"TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"}
        environment["OMP_NUM_THREADS"] = "1"
        if self.namespaces:
            launcher = ["ip", "netns", "exec", f"node{node}", *launcher]
            launcher += ["--local-addr", ADDRESSES[node]]
            environment["GLOO_SOCKET_IFNAME"] = f"cable{node}"
        recipe = str(self.folder / "recipe.json")
        words = [*launcher, "-m", "residua", "train", recipe, "--dir", str(run)]
        with (self.folder / f"{run.name}-node{node}.log").open("ab") as log:
            return subprocess.Popen(
                words, stdout=log, stderr=log, env=environment, start_new_session=True
            )


def lose(node: Process) -> None:
    """Kill an agent and its ranks, as when a machine vanishes."""
    for process in (node.pid, *workers(node)):
        os.kill(process, signal.SIGKILL)
    node.wait()


def main(folder: Path, namespaces: bool) -> int:
    """Train undisturbed and with a node lost; 1 if they differ."""
    folder.mkdir(parents=True)
    (folder / "recipe.json").write_text(json.dumps(RECIPE))
    with ExitStack() as stack:
        if namespaces:
            create_namespaces(stack)
        whole, disturbed = folder / "undisturbed", folder / "disturbed"
        nodes = Nodes(folder, namespaces)
        first = [nodes.start(node, whole) for node in range(2)]
        if sum(node.wait() for node in first):
            raise SystemExit((folder / "undisturbed-node0.log").read_text())
        nodes = Nodes(folder, namespaces)
        host, other = (nodes.start(node, disturbed) for node in range(2))
        while epochs(disturbed) < 3:
            time.sleep(0.01)
            if host.poll() is not None:
                raise SystemExit((folder / "disturbed-node0.log").read_text())
        lose(other)
        lost_after = epochs(disturbed)
        time.sleep(5)
        other = nodes.start(1, disturbed)
        statuses = [host.wait(), other.wait()]
    if any(statuses):
        raise SystemExit((folder / "disturbed-node0.log").read_text())
    found = difference(whole, disturbed)
    where = "in two network namespaces" if namespaces else "over loopback"
    verdict = f"DIFFERENT: {found}" if found else "equal bit for bit"
    print(
        f"two nodes {where}, one lost after epoch {lost_after} and started again 5 s later: exit "
        f"statuses {statuses}, {verdict}"
    )
    return int(found is not None)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--namespaces", action="store_true")
    arguments = parser.parse_args()
    sys.exit(main(arguments.folder, arguments.namespaces))
