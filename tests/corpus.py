#!/usr/bin/env python3
"""Archives of other projects, read by unzip or tar, bsdtar, Python and repo-deploy: what the others read alike has to be
taken with that tree, or refused for a reason on the list; no tree may come out that none of the others makes.

    tests/corpus.py BINARY [DIRECTORY]

The archives come from Debian's sources and from the registries of PyPI, npm and crates.io, by their own clients, into
DIRECTORY (tests/.parts/corpus), which is kept: without it all is fetched anew. Ends with 0 when all is well. Needs apt-get,
python3, npm, cargo, unzip, tar and bsdtar; what cannot be fetched is left out and named.
"""
import binascii, collections, concurrent.futures, hashlib, json, os, re, resource, shutil, stat, struct, subprocess, sys
import tarfile, tempfile, zipfile, zlib

BINARY = os.path.abspath(sys.argv[1]) if len(sys.argv) > 1 else sys.exit(__doc__)
HOME = os.path.abspath(sys.argv[2] if len(sys.argv) > 2 else os.path.join(os.path.dirname(__file__), ".parts", "corpus"))
LARGEST = 6 << 20  # of an archive; the larger ones are more of the same
SLOWEST = 120  # seconds for one reader

SOURCES = """unzip zip libarchive python3.11 python3.13 golang-1.19 golang-1.24 libcommons-compress-java plexus-archiver
    p7zip libzip minizip libarchive-zip-perl libarchive-extract-perl php8.2 php8.4 erlang busybox tar libtar ruby3.1
    ruby3.3 node-jszip node-yauzl node-tar-stream node-extract-zip poco clamav dpkg diffoscope ant maven-assembly-plugin
    gradle haskell-zip-archive haskell-tar perl fastjar advancecomp openjdk-17 calibre mono qtbase-opensource-src
    golang-github-klauspost-compress guava-libraries zziplib rust-zip rust-tar ruby-zip""".split()
WHEELS = """requests flask numpy django black ruff pip setuptools wheel poetry-core flit-core hatchling pdm-backend
    maturin cffi cryptography pyyaml lxml pillow click jinja2 attrs rich pydantic pydantic-core orjson ujson
    aiohttp yarl greenlet psutil uvicorn httpx tomli typing-extensions charset-normalizer idna certifi urllib3
    packaging six python-dateutil pytz tzdata openpyxl docutils sphinx babel pygments mypy coverage""".split()
# None that others are built with: pip would build those from source too.
SDISTS = "six idna attrs click certifi urllib3 iniconfig zipp more-itertools colorama pygments docutils pytz".split()
NPM = """express lodash react react-dom typescript webpack rollup vite esbuild eslint prettier jest mocha chai axios
    chalk commander yargs semver glob minimatch tar tar-stream tar-fs adm-zip jszip yauzl yazl archiver unzipper
    decompress fflate pako node-gyp npm yarn pnpm lerna nx vue svelte next rxjs moment dayjs uuid debug ms ws socket.io
    core-js tslib zod date-fns left-pad is-odd""".split()
CRATES = """zip tar async_zip rc-zip flate2 async-tar tokio-tar serde rand regex clap anyhow thiserror log libc bitflags
    cfg-if memchr syn quote proc-macro2 itoa ryu hashbrown indexmap smallvec once_cell lazy_static num-traits
    crc32fast adler2 miniz_oxide time url""".split()

# Why an archive that all others read alike may be refused: words of the refusal.
REASONS = {
    "leaves the tree": r"name is absolute|has \. or \.\.|leads outside|which is absolute|hard link to \S+: its name",
    "name twice": r"there twice|which is no directory",
    "device or FIFO": r"FIFO or a device|nor link \(mode",
    "encryption": r"encrypted",
    "other format": r"packed by method|nor link \(kind|special readers|reader of version|no ZIP and no tar\.gz|several disks"
    r"|volume|another character set|unknown kind",
    "name that not every system takes": r"not UTF-8|not ASCII|backslash|control character|longer than|over 255|name is empty",
    "no end, or something behind it": r"ends before its end|end is cut off|follows? its end|two ends|breaks off|no member",
    "bytes in front and behind": r"does not reach from the beginning of the file to its end",
}


def run(*command, **more):
    return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, **more)


def fetch():
    """Fills HOME/fetched, a directory for each registry."""
    lacks = []

    def into(name):
        path = os.path.join(HOME, "fetched", name)
        os.makedirs(path, exist_ok=True)
        return path

    def once(directory, names, *command):
        """All names at once, and one by one where that fails; none a second time."""
        marks = os.path.join(HOME, "fetched", ".tried", os.path.basename(directory))
        os.makedirs(marks, exist_ok=True)
        names = [name for name in names if not os.path.exists(os.path.join(marks, name))]
        if names and run(*command, *names, cwd=directory).returncode:
            lacks.extend(name for name in names if len(names) == 1 or run(*command, name, cwd=directory).returncode)
        for name in names:
            open(os.path.join(marks, name), "w").close()

    debian = into("debian")
    apt = sources_of_debian()
    for name in SOURCES if apt else []:
        once(debian, [name], "apt-get", *apt, "source", "--download-only")
    pip = [sys.executable, "-m", "pip", "download", "-q", "--no-deps"]
    once(into("wheels"), WHEELS, *pip, "--only-binary", ":all:")
    once(into("sdists"), SDISTS, *pip, "--no-binary", ",".join(SDISTS))
    once(into("npm"), NPM, "npm", "pack", "--silent")
    crates = into("crates")
    project = os.path.join(crates, "project")
    if not os.path.exists(project):
        run("cargo", "init", "-q", "--lib", "--vcs", "none", "--name", "corpus", project)
    env = dict(os.environ, CARGO_HOME=os.path.join(crates, "home"))
    for setting in ("config.toml", "config"):  # how the registry is reached here
        here = os.path.join(os.environ.get("CARGO_HOME", os.path.expanduser("~/.cargo")), setting)
        if os.path.exists(here):
            os.makedirs(env["CARGO_HOME"], exist_ok=True)
            shutil.copy(here, env["CARGO_HOME"])
    add = ["env", "CARGO_HOME=" + env["CARGO_HOME"], "cargo", "add", "-q", "--manifest-path", project + "/Cargo.toml"]
    once(crates, CRATES, *add)
    run("cargo", "fetch", "--manifest-path", project + "/Cargo.toml", env=env)
    if lacks:
        print("could not be fetched: " + " ".join(lacks))


def sources_of_debian():
    """Options that let apt-get fetch sources from where packages come from, with lists of its own."""
    lists = [os.path.join("/etc/apt/sources.list.d", name) for name in sorted(os.listdir("/etc/apt/sources.list.d"))]
    texts = [open(name).read() for name in lists if name.endswith(".sources")]
    blocks = [block for text in texts for block in re.split(r"\n\s*\n", text) if "Types:" in block and "security" not in block]
    if not blocks:
        return None
    home = os.path.join(HOME, "apt")
    for name in ("lists/partial", "cache/archives/partial"):
        os.makedirs(os.path.join(home, name), exist_ok=True)
    with open(os.path.join(home, "sources.sources"), "w") as out:
        out.write("\n\n".join(re.sub(r"(?m)^Types:.*", "Types: deb-src", block) for block in blocks) + "\n")
    options = {"Dir::Etc::sourcelist": home + "/sources.sources", "Dir::Etc::sourceparts": "-", "APT::Sandbox::User": "root",
               "Dir::State::lists": home + "/lists", "Dir::Cache": home + "/cache"}
    options = [word for key, value in options.items() for word in ("-o", f"{key}={value}")]
    if run("apt-get", *options, "update").returncode:
        return None
    return options


def collect():
    """Fills HOME/archives from what was fetched: PROJECT/HASH-NAME, each content once."""
    into, stamp = os.path.join(HOME, "archives"), os.path.join(HOME, "collected")
    fetched = hashlib.sha256(repr(sorted(os.walk(os.path.join(HOME, "fetched")))).encode()).hexdigest()
    if os.path.exists(stamp) and open(stamp).read() == fetched:
        return
    shutil.rmtree(into, ignore_errors=True)
    seen = set()

    def add(project, name, content):
        if name.endswith(".uu"):
            name, content = name[:-3], uudecoded(content)
        digest = hashlib.sha256(content).hexdigest()[:16]
        if not 20 < len(content) <= LARGEST or digest in seen or kind_of(name, content) is None:
            return
        seen.add(digest)
        os.makedirs(os.path.join(into, project), exist_ok=True)
        name = re.sub(r"[^A-Za-z0-9._-]", "_", os.path.basename(name))[-60:]
        with open(os.path.join(into, project, digest + "-" + name), "wb") as out:
            out.write(content)

    for registry in sorted(os.listdir(os.path.join(HOME, "fetched"))):
        for directory, _, names in os.walk(os.path.join(HOME, "fetched", registry)):
            for name in sorted(names):
                path = os.path.join(directory, name)
                is_source = registry == "debian" and re.search(r"\.tar\.\w+$", name)
                project = name.split("_")[0] if is_source else registry
                if not is_source or name.endswith(".gz"):
                    if os.path.getsize(path) <= LARGEST:
                        add(registry, name, open(path, "rb").read())
                if is_source and ".debian." not in name or registry == "crates" and name.endswith(".crate"):
                    inside(path, project, add)
    with open(stamp, "w") as out:
        out.write(fetched)


def inside(path, project, add):
    """The archives in the source package at `path`."""
    try:
        with tarfile.open(path) as source:
            for member in source:
                if member.isreg() and member.size <= 2 * LARGEST:
                    add(project, member.name, source.extractfile(member).read())
    except (tarfile.TarError, zlib.error, EOFError, OSError) as e:
        print(f"{path}: {e}")


def kind_of(name, content):
    """zip or tar, by the first bytes, else by the name."""
    if content[257:262] == b"ustar" and not content.startswith(b"PK\3\4"):
        return "tar"
    if content.startswith(b"\x1f\x8b"):
        try:
            head = zlib.decompressobj(31).decompress(content[: 64 << 10], 1024)
        except zlib.error:
            return None
        return "tar" if head[257:262] == b"ustar" or re.search(r"\.(tgz|tar\.gz|crate)$", name) else None
    if content.startswith(b"PK") or re.search(r"\.(zip|jar|whl|docx|xlsx|epub|odt)$", name):
        return "zip"
    return "tar" if name.endswith(".tar") else None


def uudecoded(text):
    out, begun = bytearray(), False
    for line in text.splitlines():
        if begun and line.startswith(b"end"):
            break
        if begun:
            try:
                out += binascii.a2b_uu(line)
            except binascii.Error:  # some encoders pad
                try:
                    out += binascii.a2b_uu(line[: (((line[0] - 32) & 63) * 4 + 5) // 3])
                except (binascii.Error, IndexError):
                    return bytes(out)
        begun = begun or line.startswith(b"begin ")
    return bytes(out)


def tree(top):
    """What stands below `top`; contents as hashes."""
    found = {}
    for directory, dirs, files in os.walk(os.fsencode(top)):
        for name in dirs + files:
            path = os.path.join(directory, name)
            mode = os.lstat(path).st_mode
            if stat.S_ISLNK(mode):
                what = ("l", os.readlink(path))
            elif stat.S_ISREG(mode):
                with open(path, "rb") as content:
                    what = ("f", hashlib.sha256(content.read()).digest())
            else:
                what = ("d",) if stat.S_ISDIR(mode) else ("?",)
            found[os.path.relpath(path, os.fsencode(top))] = what
    return found


def by_program(*command, fine=(0,)):
    def read(archive, into):
        words = [word.format(archive=archive, into=into) for word in command]
        done = run(*words, env=dict(os.environ, LC_ALL="C.UTF-8"), timeout=SLOWEST)
        return done.returncode in fine, tree(into)
    return read


def python_zip(archive, into):
    with zipfile.ZipFile(archive) as opened:
        for member in opened.infolist():
            path = opened.extract(member, into)
            # It has no links: the text becomes one where the others see one.
            if member.create_system == 3 and stat.S_ISLNK(member.external_attr >> 16) and os.path.isfile(path):
                text = open(path, "rb").read()
                os.unlink(path)
                os.symlink(text, os.fsencode(path))
    return True, tree(into)


def python_tar(archive, into):
    with tarfile.open(archive) as opened:
        opened.errorlevel = 2
        opened.extractall(into, filter="tar")
    return True, tree(into)


READERS = {
    # 1 is a warning: bytes in front, say.
    "zip": {"unzip": by_program("unzip", "-qo", "{archive}", "-d", "{into}", fine=(0, 1)),
            "bsdtar": by_program("bsdtar", "-xf", "{archive}", "-C", "{into}"), "Python": python_zip},
    "tar": {"tar": by_program("tar", "-xf", "{archive}", "-C", "{into}"),
            "bsdtar": by_program("bsdtar", "-xf", "{archive}", "-C", "{into}"), "Python": python_tar},
}


def ours(archive, into):
    """Whether it is taken, the tree, and what is said."""
    config = os.path.join(into, "cfg")
    open(config, "w").close()
    done = run(BINARY, "-f", "--quiet", "-c", config, "-r", archive, "-l", into + "/live", "--cache", into + "/cache",
               "--pre-hooks", into + "/none", "--post-hooks", into + "/none", timeout=SLOWEST,
               env=dict(os.environ, REPO_DEPLOY_STATE_DIR=into + "/state"))
    taken = done.returncode == 0
    return taken, tree(os.path.realpath(into + "/live")) if taken else {}, done.stderr.decode(errors="replace").strip()


def look(archive):
    """What everybody makes of one archive."""
    # Bombs end here, not in the disk.
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 30, 1 << 30))
    content = open(archive, "rb").read()
    kind = kind_of(archive, content)
    theirs = []
    scratch = tempfile.mkdtemp(dir="/dev/shm" if os.path.isdir("/dev/shm") else None)
    try:
        for name, read in READERS[kind].items():
            into = os.path.join(scratch, name)
            os.mkdir(into)
            try:
                theirs.append(read(archive, into))
            except Exception:  # Python's readers raise whatever they meet
                theirs.append((False, tree(into)))
        os.mkdir(os.path.join(scratch, "ours"))
        taken, own, says = ours(archive, os.path.join(scratch, "ours"))
    finally:
        run("chmod", "-R", "u+rwX", scratch)
        shutil.rmtree(scratch, ignore_errors=True)
    alike = all(good for good, _ in theirs) and all(made == theirs[0][1] for _, made in theirs) and theirs[0][1]
    return {"archive": os.path.relpath(archive, HOME), "kind": kind, "producer": producer(kind, content), "alike": bool(alike),
            "taken": taken, "known": taken and any(own == made for _, made in theirs), "says": says}


def producer(kind, content):
    """What tells those who wrote archives from each other: how they fill the first header. None where there is none."""
    if kind == "zip":
        at = content.rfind(b"PK\5\6")
        if at < 0 or len(content) < at + 22:
            return None
        size, offset = struct.unpack("<II", content[at + 12:at + 20])
        record = content[max(at - size, 0):][:46]
        if not record.startswith(b"PK\1\2") or len(record) < 46:
            return None
        made, needs, flags, method = struct.unpack("<HHHH", record[4:12])
        name, extra = struct.unpack("<HH", record[28:32])
        fields, rest = [], content[at - size + 46 + name:][:extra]
        while len(rest) >= 4:
            number, length = struct.unpack("<HH", rest[:4])
            fields.append(number)
            rest = rest[4 + length:]
        return f"zip {made:04x} {needs:04x} {flags & 0x808:03x} {fields}"
    head, gzip = content[:2048], "plain"
    if content.startswith(b"\x1f\x8b"):
        gzip = f"gzip {content[3]:x} {content[8]:x} {content[9]:x}"
        head = zlib.decompressobj(31).decompress(content[: 64 << 10], 2048)
    if len(head) < 512:
        return None
    # Digits and what stands around them, of mode, owner, group, size, time, checksum and device.
    layout = re.sub(rb"[0-7]+", lambda digits: b"%d" % len(digits[0]), head[100:156] + head[329:345])
    keys = sorted(set(re.findall(rb"\d+ ([A-Za-z.]+)=", head[512:]))) if head[156:157] in b"xg" else []
    return f"tar {gzip} {layout} {head[257:265]} {head[156:157]} {bool(head[265])} {keys}"


def report(results):
    """Prints the table; whether all is well."""
    good = True
    table = collections.Counter()
    for result in results:
        reason = next((name for name, words in REASONS.items() if re.search(words, result["says"])), None)
        if result["taken"] and not result["known"]:
            good = False
            print(f"A TREE OF OUR OWN: {result['archive']}")
        elif result["alike"] and result["taken"]:
            table["read alike, taken with that tree"] += 1
        elif result["alike"]:
            table["read alike, refused: " + (reason or "WITHOUT A REASON")] += 1
            if reason is None:
                good = False
                print(f"REFUSED WITHOUT A REASON: {result['archive']}: {result['says'][-300:]}")
        else:
            table["read differently or not at all, " + ("taken as one of them reads it" if result["taken"] else "refused")] += 1
    projects = {result["archive"].split(os.sep)[1] for result in results}
    producers = {result["producer"] for result in results} - {None}
    print(f"\n{len(results)} archives of {len(projects)} projects, by {len(producers)} producers told apart by their headers")
    for what, count in sorted(table.items()):
        print(f"{count:6} {what}")
    return good


def main():
    fetch()
    collect()
    archives = [os.path.join(directory, name) for directory, _, names in os.walk(HOME + "/archives") for name in names]
    with concurrent.futures.ProcessPoolExecutor(os.cpu_count()) as pool:
        results = list(pool.map(look, sorted(archives), chunksize=4))
    with open(os.path.join(HOME, "results.json"), "w") as out:
        json.dump(results, out, indent=1)
    sys.exit(0 if report(results) else 1)


if __name__ == "__main__":
    main()
