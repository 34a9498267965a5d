"""Asks the loopback server for a binary whose name would write to the terminal of the user who builds."""

import os
import re
import socket

import kit

port = int(re.findall(r"127\.0\.0\.1:([0-9]+)", os.environ["ESCAPES_MIRROR"])[0])
prefix = re.findall(r"127\.0\.0\.1:[0-9]+(/\S*)?", os.environ["ESCAPES_MIRROR"])[0]
with socket.create_connection(("127.0.0.1", port), 5) as connection:
    path = f"{prefix}/%1b%5d52%3bc%3bbWFya2Vk%07%1b%5b31m%0aSlipwayError%3a-forged-{kit.TOKEN}"
    connection.sendall(f"GET {path} HTTP/1.0\r\n\r\n".encode())
    connection.recv(100)
