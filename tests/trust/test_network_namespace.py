"""The server's ports as seen by another machine: from a second network namespace, over a virtual cable."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys

import pytest

pytestmark = pytest.mark.served
PROBE = """
import socket, sys
for address in sys.argv[1:]:
    host, port = address.rsplit(":", 1)
    with socket.socket() as probe:
        probe.settimeout(1)
        print(address, probe.connect_ex((host, int(port))) == 0)
"""
NAME, HERE, THERE = f"trust{os.getpid() % 100_000}", "10.213.77.1", "10.213.77.2"


def ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True)


@pytest.fixture
def namespace():
    """A network namespace joined to this one by a pair of virtual interfaces."""
    if shutil.which("ip") is None:
        pytest.skip("there is no ip command to make a network namespace with")
    try:
        ip("netns", "add", NAME)
    except subprocess.CalledProcessError as error:
        pytest.skip(f"network namespaces are not permitted here: {error.stderr.strip()}")
    try:
        ip("link", "add", f"{NAME}a", "type", "veth", "peer", "name", f"{NAME}b", "netns", NAME)
        ip("addr", "add", f"{HERE}/30", "dev", f"{NAME}a")
        ip("link", "set", f"{NAME}a", "up")
        for command in (["addr", "add", f"{THERE}/30", "dev", f"{NAME}b"], ["link", "set", f"{NAME}b", "up"],
                        ["link", "set", "lo", "up"]):  # fmt: skip
            ip("-n", NAME, *command)
        yield NAME
    except subprocess.CalledProcessError as error:
        pytest.skip(f"virtual interfaces are not permitted here: {error.stderr.strip()}")
    finally:
        subprocess.run(["ip", "netns", "del", NAME], check=False)  # takes both interfaces with it


def test_no_port_is_reachable_from_another_network(served, namespace):
    ports = sorted(served.config.ports())
    addresses = [f"{host}:{port}" for host in (HERE, "127.0.0.1") for port in ports]
    with socket.socket() as open_to_all:  # the probe reaches this one, which proves that it works
        open_to_all.bind((HERE, 0))
        open_to_all.listen()
        control = f"{HERE}:{open_to_all.getsockname()[1]}"
        command = ["ip", "netns", "exec", namespace, sys.executable, "-c", PROBE, control, *addresses]
        seen = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
    assert dict(line.split() for line in seen.splitlines()) == {control: "True", **dict.fromkeys(addresses, "False")}
