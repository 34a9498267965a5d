"""Makes system calls by the kernel's other interfaces, i386 and x32, which a filter may forget."""

import ctypes
import mmap
from typing import Callable, Tuple

import kit


def machine_code(code: bytes) -> Tuple[mmap.mmap, Callable[[], int]]:
    place = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    place.write(code)
    address = ctypes.addressof(ctypes.c_char.from_buffer(place))
    return place, ctypes.CFUNCTYPE(ctypes.c_int)(address)


# i386: socketcall(102) is one number for connect, sendto and all others. Here socket(2, 1, 0).
arguments = mmap.mmap(-1, 4096, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x40)  # MAP_32BIT
numbers = (ctypes.c_uint * 3).from_buffer(arguments)
numbers[0], numbers[1], numbers[2] = 2, 1, 0
low = ctypes.addressof(numbers)
code = b"".join(
    (
        b"\x53",  # push rbx
        b"\xb8" + (102).to_bytes(4, "little"),  # mov eax, socketcall
        b"\xbb" + (1).to_bytes(4, "little"),  # mov ebx, SYS_SOCKET
        b"\xb9" + (low & 0xFFFFFFFF).to_bytes(4, "little"),  # mov ecx, arguments
        b"\xcd\x80\x5b\xc3",  # int 0x80; pop rbx; ret
    )
)
place, function = machine_code(code)
import os  # noqa: E402

child = os.fork()  # a kernel without i386 ends the process
if child == 0:
    done = function()
    kit.note("i386", done)
    if done >= 0:
        kit.reached(f"made a system call by the i386 interface: {done}")
    os._exit(0)
os.waitpid(child, 0)
done, error = kit.call(0x40000000 | 39)  # getpid by x32
kit.note("x32", done if done >= 0 else kit.name_of(error))
if done >= 0:
    kit.reached("made a system call by the x32 interface")
