#!/usr/bin/env python3
"""Writes what bench.py and bench_disks.py measured into a page, between `<!-- bench -->` and `<!-- end -->`.

usage: tests/bench_page.py ROWS PAGE BINARY
"""
import datetime, json, platform, re, subprocess, sys, textwrap

rows, page, binary = sys.argv[1:]


def first_line(command):
    output = subprocess.run(command, shell=True, capture_output=True, text=True)
    return (output.stdout + output.stderr).strip().splitlines()[0]


def machine():
    with open("/proc/cpuinfo") as cpus, open("/proc/meminfo") as memory:
        models = [line.split(":", 1)[1].strip() for line in cpus if line.startswith("model name")]
        kib = int(re.search(r"MemTotal: *(\d+)", memory.read()).group(1))
    load = open("/proc/loadavg").read().split()[0]
    return f"{len(models)} cores of {models[0]}, {kib / 2**20:.0f} GiB, Linux {platform.release()}, load {load} at the end"


def versions():
    asked = {"repo-deploy": f"{binary} version | head -1", "curl": "curl --version | cut -d' ' -f1-2", "bsdtar": "bsdtar --version | cut -d' ' -f1-2",
             "unzip": "unzip -v | head -1 | cut -d' ' -f1-2", "git": "git --version", "zsync": "zsync -V", "nginx": "nginx -v"}
    return "; ".join(first_line(command) for command in asked.values())


def table(name, rows):
    columns = list(dict.fromkeys(column for row in rows for column in row))
    lines = [" | ".join(columns), "|".join("---" for _ in columns)] + [" | ".join(row.get(c, "") for c in columns) for row in rows]
    return f"### {name[0].upper()}{name[1:]}\n\n" + "\n".join(f"| {line} |" if "---" not in line else f"|{line}|" for line in lines)


tables = {}
with open(rows) as lines:
    for line in lines:
        name, cells = json.loads(line)
        tables.setdefault(name, []).append(cells)
with open("tests/golden/counts.txt") as counts:
    for line in counts:
        work, _, what = line.strip().partition(": ")
        number, _, unit = what.partition(" ")
        tables.setdefault("counts", []).append({"work": work, "count": f"{int(number):,} {unit}"})
date = datetime.date.today().isoformat()
heads = [f"`make bench` on {date}; {machine()}.", versions() + "."]
parts = [textwrap.fill(head, 118) for head in heads] + [table(name, rows) for name, rows in tables.items()]
text = open(page).read()
begin, end = "<!-- bench -->\n", "<!-- end -->"
before, rest = text.split(begin)
after = rest.split(end, 1)[1]
with open(page, "w") as out:
    out.write(before + begin + "\n\n".join(parts) + "\n" + end + after)
