#!/usr/bin/env python3
"""Deployments on real file systems: ratios to `curl + bsdtar + sync -f`, flushes of the disk, updates, large files, and bytes
on the wire beside zsync.

usage: tests/bench_disks.py BINARY [ROUNDS [SECTION...]]; sections: first sizes large update delta wire. Needs root: file
systems are images on loop devices below BENCH_DIR (default: the working directory). Judges nothing; rows as in bench.py.
"""
import os, random, shutil, statistics, subprocess, sys, tempfile, time, zipfile

from bench import ENV, Nginx, row

BINARY = os.path.realpath(sys.argv[1])
ROUNDS = int(sys.argv[2]) if len(sys.argv) > 2 else 7
SECTIONS = sys.argv[3:] or ["first", "sizes", "large", "update", "delta", "wire"]


def shell(command):
    subprocess.run(command, shell=True, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def text(rng, words, weights, size):
    """Words that deflate to a fifth."""
    piece = " ".join(rng.choices(words, weights, k=min(size, 26000) // 7 + 1))
    return (piece * (size // len(piece) + 1))[:size]


def archive(path, files, size, seed=1, changed=()):
    """A ZIP of `files` texts of `size` bytes on average, 50 to a directory; those in `changed` are others."""
    rng = random.Random(seed)
    words = ["".join(rng.choices("etaoinshrdlu", k=rng.randint(2, 10))) for _ in range(1200)]
    weights = [1 / (n + 1) for n in range(len(words))]
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as out:
        for n in range(files):
            content = text(rng, words, weights, int(rng.expovariate(1 / size)) + 1)
            out.writestr(f"app/d{n // 50:04}/file{n:05}.txt", ("changed " if n in changed else "") + content)


def one_file(path, size, method):
    """A ZIP of one file of `size` bytes: words if it is deflated, otherwise noise. It repeats far beyond deflate's window."""
    rng = random.Random(1)
    if method == zipfile.ZIP_DEFLATED:
        words = ["".join(rng.choices("etaoinshrdlu", k=rng.randint(2, 10))) for _ in range(1200)]
        weights = [1 / (n + 1) for n in range(len(words))]
        block = " ".join(rng.choices(words, weights, k=12 << 20))[:64 << 20].encode()
    else:
        block = rng.randbytes(64 << 20)
    with zipfile.ZipFile(path, "w", method, compresslevel=6) as out, out.open("file", "w", force_zip64=True) as member:
        for at in range(0, size, len(block)):
            member.write(block[:size - at])


def publish(path, www, clock=[1_750_000_000]):
    """Puts a file into the server's directory as an old one, each of another second: its ETag can be relied upon."""
    clock[0] += 1
    os.utime(path, (clock[0], clock[0]))
    os.replace(path, f"{www}/app.zip")


class Disk:
    """A file system of its own, mounted at `top`."""

    def __init__(self, base, kind, size="12G"):
        self.mounts, self.top = [], f"{base}/{kind}"
        below = f"{base}/{kind}-below" if kind == "overlay" else self.top
        os.makedirs(below, exist_ok=True)
        os.makedirs(self.top, exist_ok=True)
        if kind == "tmpfs":
            shell(f"mount -t tmpfs tmpfs {self.top}")
        else:
            image = f"{base}/{kind}.img"
            shell(f"truncate -s {size} {image} && mkfs.{'ext4' if kind == 'overlay' else kind} -q {image}")
            shell(f"mount -o loop {image} {below}")
        self.mounts.append(below)
        self.device = subprocess.run(["findmnt", "-no", "SOURCE", below], capture_output=True, text=True).stdout.strip()
        if kind == "overlay":
            shell(f"mkdir {below}/l {below}/u {below}/w")
            shell(f"mount -t overlay overlay -o lowerdir={below}/l,upperdir={below}/u,workdir={below}/w {self.top}")
            self.mounts.append(self.top)

    def load(self):
        """Flushes of the cache of the disk so far, write requests, and MiB written; 0 where there is no disk."""
        try:
            with open(f"/sys/block/{os.path.basename(self.device)}/stat") as stat:
                numbers = [int(number) for number in stat.read().split()]
                return [numbers[15], numbers[4], numbers[6] / 2048]
        except OSError:
            return [0, 0, 0]

    def used(self):
        """Bytes in use, without those of removed files that XFS frees later on its own."""
        shell(f"sync; fsfreeze -f {self.top}; fsfreeze -u {self.top}")
        stat = os.statvfs(self.top)
        return (stat.f_blocks - stat.f_bfree) * stat.f_frsize

    def close(self):
        for at in reversed(self.mounts):
            shell(f"umount -l {at}")


def deployment(top, url, mode="symlink", more=""):
    """The command of a check, with everything that it keeps below `top`."""
    os.makedirs(f"{top}/t/none", exist_ok=True)
    with open(f"{top}/t/{mode}.cfg", "w") as out:
        out.write(f"activation = {mode}\nid = bench\nstate-dir = {top}/t/state\n{more}")
    return [BINARY, "-f", "-c", f"{top}/t/{mode}.cfg", "-r", url, "-l", f"{top}/t/live/current", "--cache", f"{top}/t/cache",
            "--pre-hooks", f"{top}/t/none", "--post-hooks", f"{top}/t/none"]


def reference(top, url):
    return ["sh", "-ec", f"mkdir -p {top}/t/x; curl -sf -o {top}/t/a.zip {url}; bsdtar -xf {top}/t/a.zip -C {top}/t/x; "
            f"rm {top}/t/a.zip; sync -f {top}/t/x"]


def timed(argv):
    begun = time.perf_counter()
    done = subprocess.run(argv, env=ENV, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{argv}: exit code {done.returncode}\n{done.stderr}")
    return time.perf_counter() - begun


def fresh(top):
    shutil.rmtree(f"{top}/t", ignore_errors=True)
    os.makedirs(f"{top}/t")
    shell("sync")


def compare(disk, work, contestants):
    """Runs each once a round, in another order each time; the last is the reference."""
    times, loads, names = {name: [] for name in contestants}, {}, list(contestants)
    for turn in range(ROUNDS):
        for n in range(len(names)):
            name = names[(turn + n) % len(names)]
            fresh(disk.top)
            argv, before = contestants[name](), disk.load()
            times[name].append(timed(argv))
            loads[name] = [after - before for before, after in zip(before, disk.load())]
    theirs = statistics.median(times[names[-1]])
    for name in names[:-1]:
        ours, (flushes, writes, written) = statistics.median(times[name]), loads[name]
        row("first deployment", work=work, mode=name, ms=f"{ours * 1000:.0f}", ratio=f"{ours / theirs:.2f}",
            flushes=flushes, writes=writes, MiB_written=f"{written:.0f}", theirs=f"{loads[names[-1]][0]}, {loads[names[-1]][1]}, {loads[names[-1]][2]:.0f}")


def first(base, url, www):
    archive(f"{www}/app.zip", 5000, 30400)
    for kind in ("ext4", "xfs", "overlay", "tmpfs"):
        disk = Disk(base, kind)
        modes = {mode: lambda mode=mode: deployment(disk.top, url, mode) for mode in ("symlink", "in-place")}
        compare(disk, f"5,000 files, 29 MB, {kind}", modes | {"curl + bsdtar + sync": lambda: reference(disk.top, url)})
        disk.close()


def sizes(base, url, www):
    for files, size in ((500, 10_000), (20_000, 10_000)):
        archive(f"{www}/app.zip", files, size)
        disk = Disk(base, "ext4")
        compare(disk, f"{files:,} files, {files * size / 1e6:.0f} MB unpacked, ext4", {
            "symlink": lambda: deployment(disk.top, url), "curl + bsdtar + sync": lambda: reference(disk.top, url)})
        disk.close()
        os.remove(f"{base}/ext4.img")


def large(base, url, www):
    for method, word in ((zipfile.ZIP_DEFLATED, "deflated"), (zipfile.ZIP_STORED, "stored")):
        one_file(f"{www}/app.zip", 1 << 30, method)
        disk = Disk(base, "ext4")
        compare(disk, f"one file of 1 GiB, {word}, ext4", {
            "symlink": lambda: deployment(disk.top, url), "curl + bsdtar + sync": lambda: reference(disk.top, url)})
        disk.close()
        os.remove(f"{base}/ext4.img")


def update(base, url, www):
    """An update with 1 % of the files changed, against a first deployment of the same."""
    archive(f"{base}/old.zip", 5000, 30400)
    archive(f"{base}/new.zip", 5000, 30400, changed=set(range(0, 5000, 100)))
    for kind in ("ext4", "xfs", "btrfs"):
        disk, rows, taken = Disk(base, kind), {"first": [], "update": []}, 0
        for _ in range(ROUNDS):
            fresh(disk.top)
            publish(shutil.copy(f"{base}/old.zip", f"{base}/next.zip"), www)
            argv = deployment(disk.top, url)
            rows["first"].append(timed(argv))
            publish(shutil.copy(f"{base}/new.zip", f"{base}/next.zip"), www)
            before = disk.used()
            rows["update"].append(timed(argv))
            taken = disk.used() - before
        one, two = (statistics.median(rows[name]) for name in ("first", "update"))
        row("update", work=f"1 % of 5,000 files, {kind}", ms=f"{two * 1000:.0f}", of_a_first_deployment=f"{two / one:.2f}",
            MiB_of_disk=f"{taken / 2**20:.0f}")
        disk.close()


def delta(base, url, www):
    """1 % of the members of a 1 GiB ZIP over 100 Mbit/s, against all of it."""
    nginx = Nginx(f"{base}/slow", "limit_rate 12500k;", f"{base}/slow/bytes.log bytes")
    try:
        slow, log = f"http://127.0.0.1:{nginx.port}/app.zip", f"{base}/slow/bytes.log"
        rng = random.Random(5)
        contents = [rng.randbytes(1 << 20) for _ in range(1000)]
        def put(changed):
            with zipfile.ZipFile(f"{base}/next.zip", "w", zipfile.ZIP_STORED) as out:
                for n, content in enumerate(contents):
                    out.writestr(f"d{n // 50}/f{n}", content[::-1] if n in changed else content)
            publish(f"{base}/next.zip", f"{base}/slow/www")
        disk, times, sent = Disk(base, "ext4"), {}, {}
        for name, more in (("delta", ""), ("whole", "delta = off\n")):
            fresh(disk.top)
            put(())
            argv = deployment(disk.top, slow, more=more)
            timed(argv)
            put(set(range(0, 1000, 100)))
            before = os.path.getsize(log)
            times[name] = timed(argv)
            with open(log) as lines:
                lines.seek(before)
                sent[name] = sum(map(int, lines.read().split()))
        row("delta", work="1 % of the members of a ZIP of 1 GiB, 100 Mbit/s", bytes=f"{sent['delta'] / sent['whole']:.3f}",
            time=f"{times['delta'] / times['whole']:.2f}", zsync="")
        disk.close()
    finally:
        nginx.stop()


def pairs():
    """Names, and the members of an old and of a new archive: path, content, method, seconds of the time."""
    rng = random.Random(7)
    words = ["".join(rng.choices("etaoinshrdlu", k=rng.randint(2, 10))) for _ in range(1200)]
    weights = [1 / (n + 1) for n in range(len(words))]
    small = [(f"d{n // 50}/f{n}", text(rng, words, weights, 4000 + n)) for n in range(3000)]
    changed = [(name, content + "!" if n % 188 == 0 else content) for n, (name, content) in enumerate(small)]
    yield "3,000 small files, 16 changed", small, changed, zipfile.ZIP_DEFLATED, 0
    yield "the same, each with a new time", small, changed, zipfile.ZIP_DEFLATED, 2
    nested = [(f"lib/{n}.jar", rng.randbytes(100_000)) for n in range(200)]
    yield "200 nested archives, 1 changed", nested, [(name, c[::-1] if n == 77 else c) for n, (name, c) in enumerate(nested)], zipfile.ZIP_STORED, 0
    modules = [(f"node_modules/p{n // 12}/f{n % 12}.js", text(rng, words, weights, 12_000)) for n in range(4800)]
    yield "node_modules, 1 of 400 packages changed", modules, [(name, c + "!" if n // 12 == 5 else c) for n, (name, c) in enumerate(modules)], zipfile.ZIP_DEFLATED, 0


def wire(base, url, www):
    """Bytes of an update by delta and by zsync, as shares of the archive."""
    log = f"{base}/wire.log"
    nginx = Nginx(f"{base}/slow", "", f"{log} bytes")

    def put(members, method, seconds):
        with zipfile.ZipFile(f"{base}/next.zip", "w", method) as out:
            for name, content in members:
                out.writestr(zipfile.ZipInfo(name, (2026, 1, 1, 0, 0, seconds)), content, compress_type=method, compresslevel=6)
        publish(f"{base}/next.zip", f"{base}/slow/www")

    def sent(argv):
        before = os.path.getsize(log) if os.path.exists(log) else 0
        timed(argv)
        with open(log) as lines:
            lines.seek(before)
            return sum(map(int, lines.read().split()))

    try:
        target = f"http://127.0.0.1:{nginx.port}/app.zip"
        for name, old, new, method, seconds in pairs():
            top = fresh(f"{base}/tree") or f"{base}/tree"
            put(old, method, 0)
            timed(deployment(top, target))
            shutil.copy(f"{base}/slow/www/app.zip", f"{top}/old.zip")
            put(new, method, seconds)
            size = os.path.getsize(f"{base}/slow/www/app.zip")
            shell(f"cd {base}/slow/www && zsyncmake -q -u app.zip -o app.zip.zsync app.zip")
            ours = sent(deployment(top, target))
            theirs = sent(["zsync", "-q", "-i", f"{top}/old.zip", "-o", f"{top}/new.zip", f"{target}.zsync"])
            row("delta", work=name, bytes=f"{ours / size:.3f}", time="", zsync=f"{theirs / size:.3f}")
    finally:
        nginx.stop()


def main():
    for program in ("zsync", "curl", "bsdtar", "nginx", "mkfs.ext4", "mkfs.xfs", "mkfs.btrfs", "findmnt"):
        if not shutil.which(program, path=ENV["PATH"]):
            sys.exit(f"{program} is missing: tests/parts.sh installs it")
    base = tempfile.mkdtemp(prefix="repo-deploy-bench-", dir=os.environ.get("BENCH_DIR", "."))
    base = os.path.realpath(base)
    os.makedirs(f"{base}/www")
    os.makedirs(f"{base}/slow/www")
    nginx = Nginx(base)
    try:
        url = f"http://127.0.0.1:{nginx.port}/app.zip"
        for section in SECTIONS:
            {"first": first, "sizes": sizes, "large": large, "update": update, "delta": delta, "wire": wire}[section](base, url, f"{base}/www")
            shell(f"rm -f {base}/*.img; rm -rf {base}/ext4 {base}/xfs {base}/btrfs {base}/tmpfs {base}/overlay {base}/overlay-below")
    finally:
        nginx.stop()
        subprocess.run(f"umount -l {base}/overlay {base}/overlay-below {base}/ext4 {base}/xfs {base}/btrfs {base}/tmpfs", shell=True, capture_output=True)
        shutil.rmtree(base, ignore_errors=True)


main()
