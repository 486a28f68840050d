#!/usr/bin/env python3
"""Writes order.ld anew: what runs in every run, to stand together at the front of the program.

    examples/scratch/order.py        wants valgrind, nm and a C compiler; takes some minutes

A page of a program is mapped together with its neighbours when it is first touched. In the compiler's order what runs is strewn over
the whole program, so that nearly all of it is mapped; in this order it is not. Names are written without the hashes that every
compiler makes anew. A name that is not there any more is passed over: a stale list costs memory and nothing else. cargo does not know of the list:
what was built with the old one has to be removed before it is linked again.
"""

import os
import re
import signal
import subprocess
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.join(HERE, "..", "..")
TARGET = os.path.join(ROOT, "target", "order")

# Of long names, those of instances of generic functions, the beginning will do.
LONGEST = 120

SERVICES = """
[worker.service]
replicas = 10
command = ["/bin/sh", "-c", "echo up; exec sleep 1000"]
"""


# What no profile tells: where the program enters, and what a forked child does before it becomes another program.
UNSEEN = """
    *crt*.o(.text .text.*) *(.text.main)
    *(.text*._ZN6exeunt3sys5child* .text*._ZN6exeunt3sys8identity* .text*._ZN6exeunt3sys6secret* .text*._ZN6exeunt3sys8numbered*)
    *libc.a:setsid.o(.text) *libc.a:setpgid.o(.text) *libc.a:dup2.o(.text) *libc.a:fchdir.o(.text) *libc.a:execve.o(.text)
    *libm*.a:e_log*.o(.text .text.*)
""".splitlines()[1:]


def build():
    environment = {**os.environ, "CARGO_PROFILE_RELEASE_STRIP": "none"}
    script = os.path.join(HERE, "build.sh")
    return subprocess.run([script, TARGET], env=environment, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()


def profiled(words, stdin=b"", lines=None):
    """The functions that ran, by the linker's names. With `lines`, TERM comes after so many lines of stdout."""
    with tempfile.TemporaryDirectory() as directory:
        out = os.path.join(directory, "out")
        tool = ["valgrind", "--tool=callgrind", "--demangle=no", "--callgrind-out-file=" + out]
        pipe, nothing = subprocess.PIPE, subprocess.DEVNULL
        child = subprocess.Popen(tool + words, stdin=pipe, stdout=pipe, stderr=nothing, cwd=ROOT)
        if lines is None:
            child.communicate(stdin)
        else:
            for _ in range(lines):
                child.stdout.readline()
            child.send_signal(signal.SIGTERM)
            child.communicate()
        with open(out, encoding="utf-8") as file:
            names = (re.match(r"c?fn=\(\d+\) (.+)", line) for line in file)
            return {re.sub(r"'\d+$", "", name[1].strip()) for name in names if name}


def is_rust(name):
    return name.startswith(("_ZN", "_R"))


def pattern(name):
    """Of the section that holds the function, in the linker's wildcards."""
    name = re.sub(r"17h[0-9a-f]{16}E.*$", "17h*", name)
    name = re.sub(r"Cs[0-9A-Za-z]+_", "Cs*_", name)
    name = re.sub(r"(?<=[0-9A-Za-z_])\.\d+$", "*", name)
    # What is cold is in `.text.unlikely`.
    return ".text*." + (name if len(name) <= LONGEST else name[:LONGEST] + "*")


def members(library):
    """Of a library, by the names of their functions."""
    path = subprocess.run(["cc", "-print-file-name=" + library], check=True, stdout=subprocess.PIPE, text=True).stdout.strip()
    listed = subprocess.run(["nm", "-A", "--defined-only", path], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    found = {}
    for line in listed.stdout.splitlines():
        place, kind, name = line.rsplit(" ", 2)
        if kind in "TtWi":
            found.setdefault(name, set()).add(place.split(":")[1])
    return found


def written(names, libc):
    rust = sorted({pattern(name) for name in names if is_rust(name)})
    objects = {one for name in names if len(libc.get(name, ())) == 1 for one in libc[name]}
    # Newer processors have functions of their own for the same.
    for one in list(objects):
        objects |= {re.sub("-avx2?(?=[-.])", newer, one) for newer in ("-evex", "-avx512")}
    return [f"    *({one})" for one in rust] + [f"    *libc.a:{one}(.text .text.*)" for one in sorted(objects)]


def main():
    program = build()
    names = "\n".join(sorted(os.listdir(os.path.join(ROOT, "src", "shell")))).encode()
    with tempfile.NamedTemporaryFile("w", suffix=".toml") as services:
        services.write(SERVICES)
        services.flush()
        tiers = [
            profiled([program, "init", "--", "/bin/true"]),
            profiled([program, "run", services.name], lines=10),
            profiled([program, "run", "examples/checksums/exeunt.toml"], stdin=names),
        ]
    libc = members("libc.a")
    lines = list(UNSEEN)
    for tier in tiers:
        lines += [line for line in written(tier, libc) if line not in lines]
    with open(os.path.join(HERE, "order.ld"), "w", encoding="utf-8") as file:
        file.write("/* Written by order.py: what runs in every run stands together. */\n")
        file.write("SECTIONS\n{\n  .text.first :\n  {\n" + "\n".join(lines) + "\n  }\n}\nINSERT BEFORE .text;\n")


if __name__ == "__main__":
    main()
